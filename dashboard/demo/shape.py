"""How large a made-up run is, and what its policy learns: every figure in one place."""

from dataclasses import dataclass

import numpy as np

GROUP = 8
BUDGET = 512
"""Length budget L of every rollout."""
CAP = 768
"""Tokens after which the engine cuts a response off."""
MAX_LAG = 2
GENERATORS = ("generator-0", "generator-1", "generator-2", "generator-3")
TEMPLATES = ("0", "1", "2")
BRANCHY_LIMIT = 24.0
"""Cues per 1000 tokens that ``filter.steps`` allows."""
TOKEN_MS = 11.0
"""Milliseconds that an engine takes for a token of one response."""
BEGAN_US = 1_760_000_000_000_000
"""When every made-up run begins: the same arguments give the same files."""
STEP_S = 24.0
FIRST_STEP_S = 95.0
"""From the start to the first optimizer step: loading, and the evaluation before."""
HELDOUT = 200
EVAL_SAMPLES = 4
EVAL_CAP = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    rollouts: int
    seed: int

    @property
    def steps(self) -> int:
        return int(np.clip(self.rollouts // (GROUP * 32), 4, 1000))

    @property
    def groups_per_step(self) -> int:
        """Of a full step; the last groups of the run wait for a step that does not come."""
        return max(1, self.groups // (self.steps + 1))

    @property
    def groups(self) -> int:
        return max(1, self.rollouts // GROUP)

    @property
    def problems(self) -> int:
        return int(np.clip(self.rollouts // 160, 40, 6000))

    @property
    def bad_step(self) -> int:
        """Its gradient was not finite: its rollouts were given back."""
        return self.steps // 3

    @property
    def restart_step(self) -> int:
        """Here the machine went down, and ``--resume`` went on."""
        return self.steps // 2

    @property
    def eval_every(self) -> int:
        return max(1, self.steps // 8)

    @property
    def eval_versions(self) -> list[int]:
        between = range(self.eval_every, self.steps, self.eval_every)
        return [0, *between, self.steps]

    def step_times_us(self) -> np.ndarray:
        """When each version was published: ``steps + 1`` times, that of version 0 first."""
        rng = np.random.default_rng((self.seed, 1))
        seconds = STEP_S * (0.62 + 0.38 * self.length(np.arange(self.steps)))
        seconds = seconds * rng.lognormal(0, 0.08, self.steps)
        if self.steps > 8:
            seconds[self.restart_step] += 180.0
        first = BEGAN_US + int(FIRST_STEP_S * 1e6)
        return first + np.concatenate([[0], np.cumsum(seconds * 1e6)]).astype(np.int64)

    def length(self, version: np.ndarray) -> np.ndarray:
        """Of the answers, with those of version 0 as 1."""
        return 1 - 0.52 * (1 - np.exp(-3.2 * version / self.steps))

    def skill(self, version: np.ndarray) -> np.ndarray:
        """What is added to the log-odds of a right answer."""
        x = version / self.steps
        return 0.55 * (1 - np.exp(-4 * x)) - 0.25 * np.exp(-(((x - 0.3) / 0.08) ** 2))


def odds_to_share(log_odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-log_odds))
