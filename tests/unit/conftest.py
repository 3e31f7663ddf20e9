"""The command line in this process: another one would import everything anew."""

import sys

import pytest

from cluster.main import main
from tests.said import Laconic, Said


@pytest.fixture
def laconic(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Laconic:
    """``laconic("check", "runs/a")``: what that command prints, and its exit code."""

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["laconic", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Said(code=ended.value.code or 0, stdout=printed.out, stderr=printed.err)  # pyright: ignore[reportArgumentType]

    return run
