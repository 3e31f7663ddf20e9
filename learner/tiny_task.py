"""The tiny task: chains of additions and subtractions, and a teacher who solves them like a model
that thinks too long: fillers, re-checks, whole re-dos, and now and then a slip that stays.

    Let a=72, b=a-2, c=b+8. Find c.
    <think>
    b=a-2=72-2=70. c=b+8=70+8=78. So I get 78.
    </think>
    The answer is \\boxed{78}.
"""

import random
import zlib
from dataclasses import dataclass

LOWEST, HIGHEST = 0, 99
NAMES = "abcdefg"
MIN_STEPS, MAX_STEPS = 3, 6
HELDOUT_SHARE = 8
"""One expression in this many is held out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    sign: int
    """1 adds, -1 subtracts."""
    operand: int

    def apply(self, value: int) -> int:
        return value + self.sign * self.operand

    def __str__(self) -> str:
        return f"{'+' if self.sign > 0 else '-'}{self.operand}"

    @property
    def inverse(self) -> "Step":
        return Step(sign=-self.sign, operand=self.operand)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """One problem: a start value and the steps that lead from it to the answer."""

    start: int
    steps: tuple[Step, ...]

    @property
    def values(self) -> tuple[int, ...]:
        """The value of every name, the start included."""
        values = [self.start]
        for step in self.steps:
            values.append(step.apply(values[-1]))
        return tuple(values)

    @property
    def answer(self) -> int:
        return self.values[-1]

    @property
    def expression(self) -> str:
        parts = [f"a={self.start}"]
        for before, name, step in zip(NAMES, NAMES[1:], self.steps, strict=False):
            parts.append(f"{name}={before}{step}")
        return ", ".join(parts)

    @property
    def question(self) -> str:
        return f"Let {self.expression}. Find {NAMES[len(self.steps)]}."

    @property
    def heldout(self) -> bool:
        """Decided by the expression alone, so training and held-out problems never meet."""
        return zlib.crc32(self.expression.encode()) % HELDOUT_SHARE == 0


def draw(rng: random.Random, *, heldout: bool) -> Chain:
    while True:
        chain = _any_chain(rng)
        if chain.heldout == heldout:
            return chain


def draw_distinct(rng: random.Random, count: int, *, heldout: bool) -> list[Chain]:
    chains: dict[str, Chain] = {}
    while len(chains) < count:
        chain = draw(rng, heldout=heldout)
        chains.setdefault(chain.expression, chain)
    return list(chains.values())


def _any_chain(rng: random.Random) -> Chain:
    start = rng.randint(10, 90)
    return walk(rng, start, rng.randint(MIN_STEPS, MAX_STEPS), operands=(2, 9))


def walk(rng: random.Random, start: int, num_steps: int, operands: tuple[int, int]) -> Chain:
    """Steps that keep every value in range."""
    value = start
    steps: list[Step] = []
    while len(steps) < num_steps:
        step = Step(sign=rng.choice((1, -1)), operand=rng.randint(*operands))
        if LOWEST <= step.apply(value) <= HIGHEST:
            value = step.apply(value)
            steps.append(step)
    return Chain(start=start, steps=tuple(steps))


OPENINGS = (
    "Okay, let me work through this step by step, and I should be careful here.",
    "Alright, I need to follow the chain from the start, one step at a time.",
    "Let me see what is asked here, so that I do not miss anything on the way.",
)
LEADS = (
    "Now on to {name}, which is the next one.",
    "The next thing I need is {name}.",
    "So what is {name}? Let me work it out.",
)
CHECKS = (
    "Wait, let me check {name}: {value}{inverse}={before}, right.",
    "Hmm, is {name} right? {name}={before}{step}={value}. Yes, I think so.",
    "Let me make sure once more: {name}={before}{step}={value}. It is {value}, good.",
    "OK, so far I have {name}={value}, and that looks good to me.",
)
CORRECTIONS = (
    "Wait, let me check {name}: no, {name}={before}{step}={value}.",
    "Hmm, is {name} right? No, {name}={before}{step}={value}.",
)
CLOSINGS = (
    "That should be all, but I want to be sure before I answer.",
    "Hmm, I am not fully sure yet, so let me think again.",
)
REDOS = (
    "But let me redo it from the start.",
    "Wait, let me go over the whole thing again.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """Writes solutions. Verbosity, 0 to 1, moves every habit from "never" to the rates below."""

    slip: float = 0.025
    """Chance that a step gets a wrong value."""
    catch: float = 0.5
    """Chance that a check of a wrong value notices and corrects it."""
    doubt: float = 0.005
    """Chance that a check of a right value "corrects" it to a wrong one."""
    filler: float = 0.5
    check: float = 0.75
    redo: float = 0.9
    max_checks: int = 3
    max_redos: int = 2
    patience: int = 29
    """Sentences after which it begins no more rambling, so that solutions fit the context."""

    def solve(self, chain: Chain, rng: random.Random, verbosity: float) -> str:
        return _Solution(self, chain, rng, verbosity).text()

    @property
    def flawless(self) -> "Teacher":
        return Teacher(slip=0.0, doubt=0.0)


def draw_verbosity(rng: random.Random) -> float:
    """Some solutions are terse, most ramble, whatever the problem: else nothing can be selected."""
    return rng.uniform(0.0, 0.08) if rng.random() < 0.2 else rng.uniform(0.5, 1.0)


class _Solution:
    """One solution in the making."""

    def __init__(
        self, teacher: Teacher, chain: Chain, rng: random.Random, verbosity: float
    ) -> None:
        self._teacher = teacher
        self._chain = chain
        self._rng = rng
        self._verbosity = verbosity
        self._sentences: list[str] = []

    def text(self) -> str:
        teacher = self._teacher
        self._perhaps(OPENINGS, teacher.filler * 1.5)
        result = self._walk()
        self._say(f"So I get {result}.")
        for _ in range(self._repeats(teacher.redo, teacher.max_redos)):
            self._perhaps(CLOSINGS, teacher.filler)
            self._say(self._rng.choice(REDOS))
            again = self._walk()
            verdict = ", the same as before." if again == result else f", not {result}."
            self._say(f"So I get {again}{verdict}")
            result = again
        thoughts = " ".join(self._sentences)
        return f"<think>\n{thoughts}\n</think>\nThe answer is \\boxed{{{result}}}."

    def _walk(self) -> int:
        """Go through the chain once; later steps build on the value this walk arrived at."""
        value = self._chain.start
        for before, name, step in zip(NAMES, NAMES[1:], self._chain.steps, strict=False):
            self._perhaps(LEADS, self._teacher.filler, name=name)
            value = self._take(before, name, step, value)
        return value

    def _take(self, before: str, name: str, step: Step, value: int) -> int:
        truth = step.apply(value)
        found = self._slipped(truth) if self._chance(self._teacher.slip) else truth
        self._say(f"{name}={before}{step}={value}{step}={found}.")
        for _ in range(self._repeats(self._teacher.check, self._teacher.max_checks)):
            found = self._check(name, step, value, found)
        return found

    def _check(self, name: str, step: Step, before: int, found: int) -> int:
        truth = step.apply(before)
        if found != truth and self._chance(self._teacher.catch):
            value, phrases = truth, CORRECTIONS
        elif found == truth and self._chance(self._teacher.doubt):
            value, phrases = self._slipped(truth), CORRECTIONS
        else:
            value, phrases = found, CHECKS
        phrase = self._rng.choice(phrases)
        self._say(
            phrase.format(name=name, before=before, step=step, inverse=step.inverse, value=value)
        )
        return value

    def _slipped(self, truth: int) -> int:
        near = (truth - 1, truth + 1, truth - 10, truth + 10, truth - 2, truth + 2)
        return self._rng.choice([value for value in near if LOWEST <= value <= HIGHEST])

    def _repeats(self, rate: float, most: int) -> int:
        count = 0
        while count < most and self._rambles(rate):
            count += 1
        return count

    def _perhaps(self, phrases: tuple[str, ...], rate: float, **words: str) -> None:
        if self._rambles(rate):
            self._say(self._rng.choice(phrases).format(**words))

    def _rambles(self, rate: float) -> bool:
        tired = len(self._sentences) >= self._teacher.patience
        return not tired and self._chance(rate * self._verbosity)

    def _say(self, sentence: str) -> None:
        self._sentences.append(sentence)

    def _chance(self, probability: float) -> bool:
        return self._rng.random() < probability
