"""Texts of made-up answers: which sentences, how many tokens, and the text itself.

A token is a word, a digit or a sign: the engine's own tokens would need its tokenizer.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.demo.problems import FILLERS, OPENING, THINK_END, MadeProblem

_PIECE = re.compile(r" ?\\?[A-Za-z]+|\d|.", re.DOTALL)
_CUE = re.compile(r"\b(?:Wait|Alternatively|But|Hmm|However|Actually)\b", re.IGNORECASE)
NO_BOX = "\nI am not sure which of the two it is."


def pieces(text: str) -> list[str]:
    return _PIECE.findall(text)


class Pool:
    """All sentences of all problems, by number, with what can be counted about them."""

    def __init__(self, problems: Sequence[MadeProblem]) -> None:
        self.texts: list[str] = list(FILLERS)
        spans = [
            (self._add(p.steps), self._add(p.checks), self._add(_endings(p))) for p in problems
        ]
        self.steps, self.checks, self.endings = (
            np.array([span[kind] for span in spans]) for kind in range(3)
        )
        """Of each problem: the first and one past the last. The first ending is the right one, the
        last has no answer in it."""
        self.tokens = np.array([len(pieces(text)) for text in self.texts])
        self.cues = np.array([len(_CUE.findall(text)) for text in self.texts])
        names = np.random.default_rng(0).integers(1, 2**62, len(self.texts), dtype=np.uint64)
        self.names = names | np.uint64(1)
        self.head_tokens = len(pieces(OPENING))
        self.think_end_tokens = len(pieces(THINK_END))

    def _add(self, sentences: Sequence[str]) -> tuple[int, int]:
        start = len(self.texts)
        self.texts += sentences
        return start, len(self.texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bodies:
    """The thoughts of many answers, one behind the other in one flat array."""

    sentences: np.ndarray
    starts: np.ndarray
    """Of each answer in ``sentences``, and the end."""
    tokens: np.ndarray
    """Of each answer's thoughts, without what stands around them."""
    cues: np.ndarray
    signature: np.ndarray
    """Equal where the sentences are."""

    def text(self, pool: Pool, row: int) -> str:
        chosen = self.sentences[self.starts[row] : self.starts[row + 1]]
        return OPENING + "".join([pool.texts[i] for i in chosen])


def make_bodies(
    pool: Pool, problem: np.ndarray, extras: np.ndarray, rng: np.random.Generator
) -> Bodies:
    """The steps of each answer's problem, in order, with ``extras`` sentences between them."""
    num_steps = pool.steps[problem, 1] - pool.steps[problem, 0]
    row_of_step = np.repeat(np.arange(len(problem)), num_steps)
    place = np.arange(num_steps.sum()) - np.repeat(np.cumsum(num_steps) - num_steps, num_steps)
    steps = pool.steps[problem[row_of_step], 0] + place
    step_keys = (place + 0.5) / num_steps[row_of_step]

    row_of_extra = np.repeat(np.arange(len(problem)), extras)
    count = len(row_of_extra)
    checks = pool.checks[problem[row_of_extra]]
    check = checks[:, 0] + (rng.random(count) * (checks[:, 1] - checks[:, 0])).astype(np.int64)
    filler = rng.integers(0, len(FILLERS), count)
    is_check = rng.random(count) < 0.45
    extra = np.where(is_check, check, filler)
    earliest = (check - checks[:, 0] + 0.55) / num_steps[row_of_extra]  # not before what it checks
    extra_keys = rng.random(count) * 1.2
    extra_keys = np.where(is_check, np.maximum(extra_keys, earliest), extra_keys)

    rows = np.concatenate([row_of_step, row_of_extra])
    order = np.lexsort((np.concatenate([step_keys, extra_keys]), rows))
    sentences, rows = np.concatenate([steps, extra])[order], rows[order]
    lengths = num_steps + extras
    starts = np.concatenate([[0], np.cumsum(lengths)])
    place_in_row = (np.arange(len(rows)) - starts[rows]).astype(np.uint64)
    signature = np.add.reduceat(pool.names[sentences] * (2 * place_in_row + 1), starts[:-1])
    return Bodies(
        sentences=sentences,
        starts=starts,
        signature=signature,
        tokens=np.bincount(rows, pool.tokens[sentences], len(problem)).astype(np.int64),
        cues=np.bincount(rows, pool.cues[sentences], len(problem)).astype(np.int64),
    )


def cut(text: str, tokens: int) -> str:
    """Its first ``tokens`` tokens."""
    return "".join(pieces(text)[:tokens])


def _endings(problem: MadeProblem) -> list[str]:
    answers = [problem.gold, *problem.wrong]
    boxed = [f"{THINK_END}\nThe answer is \\boxed{{{answer}}}." for answer in answers]
    return [*boxed, THINK_END + NO_BOX]
