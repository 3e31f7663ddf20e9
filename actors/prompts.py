"""Every problem of the data, in an order that seed and position repeat.

data file -> rows -> system prompt, suffix -> chat template -> token ids -> Problem
"""

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import xxhash

from actors.chat_template import load_chat_template
from actors.problem_files import ProblemFile, read_problem_file, resolve_data
from actors.problem_making import check_verifiers, make_problems
from configs.schema import RunConfig
from verifiers.references import Reference
from verifiers.types import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """What was loaded."""

    num_train: int
    num_heldout: int
    longest_prompt: int
    """Tokens of the longest prompt, held-out ones included."""
    num_duplicates: int
    """Rows left out because they repeat another word for word."""
    fingerprint: str
    """Of the problems in their order, tokens aside: a run is resumed only on the same data."""
    tokenizer_fingerprint: str
    """Of what turns messages into tokens: the vocabulary and the chat template."""
    warnings: tuple[str, ...]
    """One line each, for the user's eyes."""


class PromptSource:
    """``load`` once; then ``draw`` gives problem after problem, ``seek`` goes to any position."""

    def __init__(self, config: RunConfig, model_dir: str, models_dir: Path | None = None) -> None:
        """``models_dir`` holds the made models; None: it is the folder that ``model_dir`` is in."""
        self._config = config
        self._model_dir = model_dir
        self._models_dir = models_dir or Path(model_dir).parent
        self._train: list[Problem] = []
        self._by_id: dict[str, Problem] = {}
        self._heldout: list[Problem] = []
        self._places: tuple[str, ...] = ()
        self._cursor = 0
        self._epoch = -1
        self._order: list[int] = []

    def load(self) -> SourceReport:
        """Read, check, render and tokenize everything; ``DataError`` says what cannot be used."""
        data = self._config.data
        train = read_problem_file(
            resolve_data(data.train, "train", self._models_dir),
            with_responses=data.responses != "ignore",
        )
        heldout = ProblemFile(rows=(), places=(), num_duplicates=0)
        if data.heldout is not None:
            heldout = read_problem_file(resolve_data(data.heldout, "heldout", self._models_dir))
        for file in (train, heldout):
            check_verifiers(file, data)
        template = load_chat_template(self._model_dir, self._config.model)
        teacher_prompt = self._config.learner.teacher.prompt
        self._train = make_problems(train, data, template, teacher_prompt)
        self._by_id = {problem.id: problem for problem in self._train}
        plain = data.model_copy(update={"templates": (), "paraphrase": None})
        self._heldout = make_problems(heldout, plain, template)
        self._places = (*train.places, *heldout.places)
        everything = self._train + self._heldout
        return SourceReport(
            num_train=len(self._train),
            num_heldout=len(self._heldout),
            longest_prompt=max(
                len(ids)
                for problem in everything
                for ids in (problem.prompt_ids, *problem.templates)
            ),
            num_duplicates=train.num_duplicates + heldout.num_duplicates,
            fingerprint=_fingerprint(everything),
            tokenizer_fingerprint=template.fingerprint(),
            warnings=(
                *_overlap(self._train, self._heldout),
                *_other_verifiers(everything, data.verifier),
                *_too_long(self._train, self._config.filter.length_budget),
            ),
        )

    @property
    def cursor(self) -> int:
        """Problems drawn so far."""
        return self._cursor

    @property
    def num_problems(self) -> int:
        """Draws of one pass over the data."""
        return len(self._train)

    @property
    def total(self) -> int | None:
        """Draws until the end of the data; None when it begins again and again."""
        epochs = self._config.data.epochs
        return None if epochs is None else epochs * len(self._train)

    def draw(self) -> Problem | None:
        """The next problem, or None after the last one of ``data.epochs``."""
        assert self._train, "load comes before draw"
        if self.total is not None and self._cursor >= self.total:
            return None
        epoch, position = divmod(self._cursor, len(self._train))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._order_of(epoch)
        self._cursor += 1
        return self._train[self._order[position]]

    def seek(self, cursor: int) -> None:
        """Go on as if ``cursor`` problems had been drawn."""
        assert cursor >= 0, cursor
        self._cursor = cursor

    def problem(self, id: str) -> Problem | None:
        """To learn from, by its id; None: there is none."""
        return self._by_id.get(id)

    def references(self) -> list[Reference]:
        """What every problem's judge compares with, learned from or held out, with its place."""
        return [
            Reference(where=place, verifier=problem.verifier, answer=problem.answer)
            for place, problem in zip(self._places, [*self._train, *self._heldout], strict=True)
        ]

    def heldout(self, count: int) -> list[Problem]:
        """The first ``count`` held-out problems, or all when there are fewer."""
        return self._heldout[:count]

    def last_heldout(self, count: int) -> list[Problem]:
        """The last ones, for questions of their own."""
        return self._heldout[-count:]

    def _order_of(self, epoch: int) -> list[int]:
        order = list(range(len(self._train)))
        if self._config.data.shuffle:
            random.Random(f"{self._config.seed}-{epoch}").shuffle(order)
        return order


def _fingerprint(problems: Iterable[Problem]) -> str:
    """Of the messages and not their tokens: some templates write today's date."""
    digest = xxhash.xxh3_128()
    for problem in problems:
        turns = [[message.role, message.content] for message in problem.messages]
        fields = [problem.id, turns, problem.answer, problem.source, problem.verifier]
        if problem.given_text:
            fields.append(problem.given_text)
        digest.update(json.dumps(fields).encode())
    return digest.hexdigest()


def _overlap(train: Sequence[Problem], heldout: Sequence[Problem]) -> list[str]:
    known = {_text(problem) for problem in train}
    num_shared = sum(_text(problem) in known for problem in heldout)
    if not num_shared:
        return []
    return [
        f"{num_shared} of {len(heldout)} held-out problems are trained on as well: they say "
        "nothing about new ones; remove them from data.train or data.heldout"
    ]


def _too_long(problems: Sequence[Problem], budget: int) -> list[str]:
    num_longer = sum(len(problem.given_ids) > budget for problem in problems)
    if not num_longer:
        return []
    return [
        f"{num_longer} of {len(problems)} given responses are longer than filter.length_budget "
        f"{budget} and will be rejected as over_budget"
    ]


def _text(problem: Problem) -> str:
    return " ".join(word for message in problem.messages for word in message.content.split())


def _other_verifiers(problems: Sequence[Problem], usual: str) -> list[str]:
    counts = Counter((problem.verifier, problem.source) for problem in problems)
    return [
        f"{count} problems of {source!r} are judged by {verifier!r}, which their rows or their "
        f"data_source name, not by data.verifier {usual!r}"
        for (verifier, source), count in sorted(counts.items())
        if verifier != usual
    ]
