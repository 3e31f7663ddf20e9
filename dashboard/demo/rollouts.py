"""Made-up rollouts, many at a time: what was written, what was decided, and what became of it."""

from dataclasses import dataclass

import numpy as np

from dashboard.demo.bodies import Bodies, Pool, cut, make_bodies
from dashboard.demo.problems import MadeProblem
from dashboard.demo.shape import (
    BRANCHY_LIMIT,
    BUDGET,
    CAP,
    GENERATORS,
    GROUP,
    MAX_LAG,
    TEMPLATES,
    TOKEN_MS,
    Shape,
    odds_to_share,
)

CORRECT, WRONG, NO_ANSWER, ERROR, TIMEOUT = range(5)
VERDICTS = ("correct", "wrong", "no_answer", "error", "timeout")
STOP, LENGTH, ABORT = range(3)
FINISHES = ("stop", "length", "abort")
_REASONS = ("aborted", "truncated", "verifier_timeout", "verifier_error", "no_answer", "wrong")
REASONS = (*_REASONS, "over_budget", "branchy", "duplicate")
ACCEPTED = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What all rollouts of a run have in common."""

    shape: Shape
    problems: list[MadeProblem]
    pool: Pool
    difficulty: np.ndarray
    times_us: np.ndarray
    order: np.ndarray
    """The problem of each ticket."""


def make_world(shape: Shape, problems: list[MadeProblem]) -> World:
    rng = np.random.default_rng((shape.seed, 2))
    passes = -(-shape.groups // len(problems))
    order = np.concatenate([rng.permutation(len(problems)) for _ in range(passes)])
    return World(
        shape=shape,
        problems=problems,
        pool=Pool(problems),
        difficulty=np.array([problem.difficulty for problem in problems]),
        times_us=shape.step_times_us(),
        order=order[: shape.groups],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """One entry a rollout in every array; groups stand together, in ticket order."""

    ticket: np.ndarray
    attempt: np.ndarray
    sample: np.ndarray
    problem: np.ndarray
    step: np.ndarray
    """The optimizer step that takes its group; beyond the last one it waits."""
    first: np.ndarray
    last: np.ndarray
    generator: np.ndarray
    template: np.ndarray
    start_us: np.ndarray
    end_us: np.ndarray
    settled_us: np.ndarray
    verify_ms: np.ndarray
    n_tokens: np.ndarray
    n_think: np.ndarray
    """-1: it never ended."""
    finish: np.ndarray
    verdict: np.ndarray
    ending: np.ndarray
    """Number of its last sentence in the pool; -1: it was cut off before."""
    reason: np.ndarray
    branchy: np.ndarray
    first_same: np.ndarray
    """The row of its group's first rollout that says the same, word for word."""
    would_stay: np.ndarray
    """Passes the step ``duplicate``, were it to come so far."""
    logp: np.ndarray
    entropy: np.ndarray
    repetition: np.ndarray
    bodies: Bodies
    body: np.ndarray
    """Its place in ``bodies``."""

    def __len__(self) -> int:
        return len(self.ticket)

    def text(self, pool: Pool, row: int) -> str:
        thoughts = self.bodies.text(pool, self.body[row])
        if self.ending[row] < 0:
            return cut(thoughts, int(self.n_tokens[row]))
        whole = thoughts + pool.texts[self.ending[row]]
        return whole if self.finish[row] == STOP else cut(whole, int(self.n_tokens[row]))


def make_rollouts(world: World, first_group: int, end_group: int) -> Rollouts:
    """Of the tickets from ``first_group`` to before ``end_group``, older attempts included."""
    shape, rng = world.shape, np.random.default_rng((world.shape.seed, 3, first_group))
    ticket, attempt = _attempts(shape, first_group, end_group, rng)
    groups = len(ticket)
    step = ticket // shape.groups_per_step
    taken_at = np.minimum(step, shape.steps - 1)
    lag = rng.choice(MAX_LAG + 1, groups, p=(0.2, 0.62, 0.18))
    lag = np.where(rng.random(groups) < 0.004, MAX_LAG + 1, lag)
    first = np.maximum(0, taken_at - lag)

    row = np.repeat(np.arange(groups), GROUP)
    sample = np.tile(np.arange(GROUP), groups)
    copied = (sample > 0) & (rng.random(len(row)) < 0.012)
    body = np.where(copied, np.arange(len(row)) - sample, np.arange(len(row)))
    problem = world.order[ticket][row]
    bodies, written = write_answers(world, problem, first[row], rng, cap=CAP)
    written = {name: values[body] for name, values in written.items()}
    extras = written.pop("extras")
    first_same = _first_same(bodies.signature[body], written)
    reason, would_stay = _decide(written, first_same < np.arange(len(row)))
    progress = first[row] / shape.steps
    logp = -(0.34 - 0.13 * progress) * rng.lognormal(0, 0.22, len(row))
    return Rollouts(
        ticket=ticket[row],
        attempt=attempt[row],
        sample=sample,
        problem=problem,
        step=step[row],
        first=first[row],
        generator=rng.integers(0, len(GENERATORS), groups)[row],
        template=rng.integers(0, len(TEMPLATES), groups)[row],
        reason=reason,
        first_same=first_same,
        would_stay=would_stay,
        logp=logp,
        entropy=-logp * rng.normal(1.03, 0.03, len(row)),
        repetition=np.clip(extras / 90 + rng.normal(0.03, 0.02, len(row)), 0, 1),
        bodies=bodies,
        body=body,
        **_times(world, row, taken_at, first, written, rng),
        **written,
    )


def _attempts(
    shape: Shape, first_group: int, end_group: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Tickets and attempts: where a machine went down, some groups were written twice."""
    tickets = np.arange(first_group, end_group)
    at_restart = tickets // shape.groups_per_step == shape.restart_step
    twice = rng.random(len(tickets)) < np.where(at_restart, 0.3, 0.001)
    times = 1 + twice
    ticket = np.repeat(tickets, times)
    starts = np.cumsum(times) - times
    return ticket, np.arange(len(ticket)) - np.repeat(starts, times)


def write_answers(
    world: World, problem: np.ndarray, version: np.ndarray, rng: np.random.Generator, *, cap: int
) -> tuple[Bodies, dict[str, np.ndarray]]:
    """What the weights of each ``version`` say to each ``problem``, cut off at ``cap`` tokens."""
    shape, pool, count = world.shape, world.pool, len(problem)
    hard = world.difficulty[problem]
    right = rng.random(count) < odds_to_share(2.3 - 3.9 * hard + shape.skill(version))
    wanted = 330 * shape.length(version) * (0.62 + 0.85 * hard) * rng.lognormal(0, 0.42, count)
    wanted = wanted * np.where(right, 1.0, 1.22)
    steps_tokens = 26 * (pool.steps[problem, 1] - pool.steps[problem, 0])
    extras = (np.clip((wanted - steps_tokens) / 17, 1, 90) + 2 * rng.random(count)).astype(np.int64)
    bodies = make_bodies(pool, problem, extras, rng)

    endings, chance = pool.endings[problem], rng.random(count)
    num_wrong = endings[:, 1] - endings[:, 0] - 2
    wrong = endings[:, 0] + 1 + (rng.random(count) * num_wrong).astype(np.int64)
    verdict = np.where(right, CORRECT, np.where(chance < 0.06, NO_ANSWER, WRONG))
    ending = np.where(right, endings[:, 0], np.where(chance < 0.06, endings[:, 1] - 1, wrong))
    odd = rng.random(count)
    verdict = np.where(odd < 0.0012, TIMEOUT, np.where(odd > 0.9996, ERROR, verdict))

    thinking = pool.head_tokens + bodies.tokens
    whole = thinking + pool.tokens[ending]
    finish = np.where(whole + 1 > cap, LENGTH, STOP)
    given_up = (finish == STOP) & (rng.random(count) < 0.003)
    finish = np.where(given_up, ABORT, finish)
    is_stopped = finish == STOP
    part = np.maximum(1, (whole * rng.random(count)).astype(np.int64))
    n_tokens = np.where(is_stopped, whole + 1, np.where(finish == LENGTH, cap, part))
    ended = n_tokens >= thinking + pool.think_end_tokens
    verdict = np.where(is_stopped, verdict, NO_ANSWER)
    return bodies, {
        "extras": extras,
        "n_tokens": n_tokens,
        "n_think": np.where(ended, thinking + pool.think_end_tokens, -1),
        "finish": finish,
        "verdict": verdict,
        "ending": np.where(ended | (n_tokens > thinking), ending, -1),
        "branchy": 1000 * bodies.cues / np.maximum(1, n_tokens),
        "verify_ms": np.where(verdict == TIMEOUT, 5000.0, rng.lognormal(1.2, 0.6, count)),
    }


def _first_same(signature: np.ndarray, written: dict[str, np.ndarray]) -> np.ndarray:
    same = signature + written["n_tokens"].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    same = (same + (written["ending"] + 2).astype(np.uint64)).reshape(-1, GROUP)
    first = (same[:, :, None] == same[:, None, :]).argmax(axis=2)
    return (first + GROUP * np.arange(len(first))[:, None]).ravel()


def _decide(written: dict[str, np.ndarray], duplicate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each the first reason that holds, and whether the step ``duplicate`` lets it pass."""
    verdict, finish = written["verdict"], written["finish"]
    found = np.select(
        [
            finish == ABORT,
            finish == LENGTH,
            verdict == TIMEOUT,
            verdict == ERROR,
            verdict == NO_ANSWER,
            verdict == WRONG,
            written["n_tokens"] > BUDGET,
            written["branchy"] > BRANCHY_LIMIT,
        ],
        list(range(8)),
        ACCEPTED,
    )
    rejected = duplicate & (found == ACCEPTED)
    return np.where(rejected, REASONS.index("duplicate"), found), ~rejected


def _times(
    world: World,
    row: np.ndarray,
    taken_at: np.ndarray,
    first: np.ndarray,
    written: dict[str, np.ndarray],
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """A group begins while its first version serves, and is settled before its step begins."""
    times, groups = world.times_us, len(taken_at)
    turn = times[first + 1] - times[first]
    is_own = first == taken_at
    begin = times[first] + (turn * rng.random(groups) * np.where(is_own, 0.04, 0.92)).astype(int)
    leased = times[taken_at] + (0.4 * (times[taken_at + 1] - times[taken_at])).astype(int)
    start = begin[row] + rng.integers(0, 40_000, len(row))
    speed = TOKEN_MS * 1000 * rng.lognormal(0, 0.1, len(row))
    verify = (written["verify_ms"] * 1000).astype(np.int64)
    latest = leased[row] - np.minimum(verify, 100_000) - 50_000
    end = np.minimum(start + (written["n_tokens"] * speed).astype(np.int64), latest)
    end = np.maximum(end, start + 1000)
    settled = np.maximum.reduceat(end, np.flatnonzero(np.diff(row, prepend=-1))) + 30_000
    last = np.searchsorted(times, end, side="right") - 1
    return {
        "start_us": start,
        "end_us": end,
        "settled_us": settled[row],
        "last": np.clip(last, first[row], taken_at[row]),
    }
