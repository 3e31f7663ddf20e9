"""What the page is told when there is no answer."""

from typing import Literal

Code = Literal[
    "unauthorized",
    "forbidden",
    "bad_host",
    "bad_filter",
    "bad_request",
    "no_such_run",
    "no_such_rollout",
    "no_such_problem",
    "no_such_file",
    "unreadable",
    "newer_version",
    "deleted",
    "sql",
    "timeout",
    "too_large",
    "read_only",
    "not_found",
]

STATUS: dict[Code, int] = {
    "unauthorized": 401,
    "forbidden": 403,
    "bad_host": 421,
    "no_such_run": 404,
    "no_such_rollout": 404,
    "no_such_problem": 404,
    "no_such_file": 404,
    "not_found": 404,
    "read_only": 409,
    "unreadable": 503,
    "newer_version": 503,
    "deleted": 503,
    "timeout": 503,
    "too_large": 503,
}
"""Of the others 400: the question was wrong."""


class Refused(Exception):
    """One line for people, a code for the page."""

    def __init__(self, code: Code, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.code: Code = code
        self.parameter = parameter

    @property
    def status(self) -> int:
        return STATUS.get(self.code, 400)

    def as_dict(self) -> dict[str, dict[str, str]]:
        error = {"code": self.code, "message": str(self)}
        if self.parameter is not None:
            error["parameter"] = self.parameter
        return {"error": error}
