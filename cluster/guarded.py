"""A run's guardrail at work: who is asked, what follows, and what of it is on disk.

What is on disk is never ahead of the weights: that a version is good is written down at once, that
the run went back only with the checkpoint of the weights that it went back to. Whoever resumes in
between looks again, and comes to the same.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from cluster.run_dir import replace_file
from configs.guardrail import GuardrailConfig
from configs.run_files import GUARDRAIL
from evaluation.guardrail import Guardrail, Look, Step, shares_right
from verifiers.types import EvalSample

Ask = Callable[[], Awaitable[Sequence[EvalSample]]]
"""The probe's problems, of the weights that the engines hold."""


class Budgets(Protocol):
    def pause_budgets(self, version: int) -> None: ...
    def unpause_budgets(self, version: int) -> None: ...


class Reports(Protocol):
    async def looked(self, look: Look, what_next: Step) -> None: ...


class Guarded:
    """``look`` at versions; then the loop asks ``wants_back`` after its next step."""

    def __init__(
        self, config: GuardrailConfig, run_dir: Path, ask: Ask, budgets: Budgets, reports: Reports
    ) -> None:
        self._path = run_dir / GUARDRAIL
        self._ask = ask
        self._budgets = budgets
        self._reports = reports
        self._guardrail = Guardrail(config=config)
        self.wants_back = False
        """The weights are to be those of the newest good version again."""
        self._back_at: int | None = None
        """The version in which they are, while no checkpoint has it."""

    @property
    def is_on(self) -> bool:
        return self._guardrail.is_on

    @property
    def is_over(self) -> bool:
        """The run is to end as it is: it has the last good weights again."""
        return self._guardrail.is_over and not self.wants_back

    @property
    def knows_first(self) -> bool:
        """Whether the first model was looked at."""
        return bool(self._guardrail.base)

    @property
    def good(self) -> list[int]:
        """Versions that were found good, in their order."""
        return self._guardrail.good

    @property
    def ends_paused(self) -> bool:
        return self._guardrail.is_paused and self._guardrail.config.action == "pause"

    def is_point(self, version: int) -> bool:
        return self._guardrail.is_point(version)

    def resume(self, step: int) -> None:
        """Know what the run's earlier processes saw, up to the step that it goes on from."""
        if not self.is_on or not self._path.is_file():
            return
        state = json.loads(self._path.read_text())
        self._guardrail = Guardrail.restored(self._guardrail.config, state)
        self.forget_after(step)

    def forget_after(self, step: int) -> None:
        """Steps after it are taken again, from a checkpoint of it, whose budgets may be those of
        before the last look."""
        self._guardrail.forget_after(step)
        if self._back_at is not None and self._back_at > step:
            self._back_at, self.wants_back = None, True
        if step in self.good:
            self.wants_back = False
        if self._guardrail.is_paused:
            self._budgets.pause_budgets(self.good[-1] if self.good else 0)
        else:
            self._budgets.unpause_budgets(step)

    async def look(self, version: int) -> None:
        """At what the engines hold, which is this version, unless it is known to be good."""
        if not self.is_on or self.wants_back or self.is_over or version in self.good:
            return
        last_good = self.good[-1] if self.good else 0
        look, what_next = self._guardrail.look(version, shares_right(await self._ask()))
        self.wants_back = what_next in ("go_back", "end")
        if look.is_breach:
            self._budgets.pause_budgets(last_good)
        elif what_next == "resume":
            self._budgets.unpause_budgets(version)
        if not self.wants_back:
            self._write_down()
        await self._reports.looked(look, what_next)

    def went_back(self, version: int) -> None:
        """The learner holds the good weights, as this version."""
        self.wants_back, self._back_at = False, version

    def committed(self, step: int) -> None:
        """A checkpoint of this version is whole."""
        if self._back_at is None or step < self._back_at:
            return
        if step == self._back_at:
            self._guardrail.is_good(step)
        self._back_at = None
        self._write_down()

    def summary(self) -> dict[str, Any]:
        state = self._guardrail.state()
        base = state.pop("base")
        return state | {"problems": len(base)}

    def _write_down(self) -> None:
        replace_file(self._path, json.dumps(self._guardrail.state()))
