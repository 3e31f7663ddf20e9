"""What the user can mend, and what the run can."""


class PartDied(RuntimeError):
    """The part that was asked is gone and answers nothing any more. Not that it refused, or that
    something behind it failed: another part of the same kind may be asked instead."""


class LeaseLost(RuntimeError):
    """The queue knows nothing of this lease: it was started again, or took the step back. What was
    lent is leased anew."""


class UserError(ValueError):
    """Something the user wrote or has cannot be run with. The message is one line: what, the value,
    the way out. Commands print it and exit with 2; nothing was started, nothing half-written."""
