"""Tells when judges fail more often than answers can explain."""

from dataclasses import dataclass

from verifiers.pool_stats import PoolStats

LIMIT = 0.01
"""Share of failed verdicts, errors and time-outs, from which something is wrong with the judge, the
references or the machine."""

CALM = LIMIT / 2
MIN_VERDICTS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    is_on: bool
    share: float
    text: str


class JudgeAlarm:
    """``look`` at every heartbeat. It speaks when the alarm begins and when it ends."""

    def __init__(self) -> None:
        self._before: PoolStats | None = None
        self._is_on = False

    def look(self, now: PoolStats) -> Alarm | None:
        before = self._before or PoolStats(judged=0, cached=0, killed=0, errors=0, workers=0)
        num_new = now.judged - before.judged
        if num_new < 0:  # a judge was started again, and counts from zero
            self._before = now
            return None
        if num_new < MIN_VERDICTS:
            return None
        errors, killed = now.errors - before.errors, now.killed - before.killed
        share = (errors + killed) / num_new
        self._before = now
        if self._is_on == (share > (CALM if self._is_on else LIMIT)):
            return None
        self._is_on = not self._is_on
        state = "judges fail" if self._is_on else "judges work again"
        text = f"{state}: {errors} errors and {killed} time-outs in {num_new} verdicts"
        if self._is_on:
            text += "; see verdicts.jsonl and logs/judge*.log"
        return Alarm(is_on=self._is_on, share=share, text=text)
