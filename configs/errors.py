"""What the user can mend."""


class UserError(ValueError):
    """Something the user wrote or has cannot be run with. The message is one line: what, the value,
    the way out. Commands print it and exit with 2; nothing was started, nothing half-written."""
