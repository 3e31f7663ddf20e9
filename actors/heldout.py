"""Problems to evaluate on, from any number of files, and what is done to the decoding."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import xxhash

from actors.chat_template import ChatTemplate, load_chat_template
from actors.problem_files import MADE_MODELS, read_problem_file, resolve_data
from actors.problem_making import check_verifiers, make_problems
from actors.problem_rows import DataError
from configs.decode import DecodeConfig
from configs.economy import TemplateConfig
from configs.errors import UserError
from configs.schema import DataConfig, RunConfig
from verifiers.types import Decoding, Problem

THINK_END = "</think>"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedData:
    """One set as the user named it."""

    label: str
    path: str
    """A made model's name, a file or a hub data set."""
    data: DataConfig
    """How its problems are asked and judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSet:
    label: str
    problems: tuple[Problem, ...]
    num_there: int
    """Problems of the file; maybe more than are asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    sets: tuple[EvalSet, ...]
    decoding: Decoding | None


def load_sets(
    named: Sequence[NamedData], config: RunConfig, model_dir: str, models_dir: Path
) -> Loaded:
    """The first ``eval.problems`` of each, in ``eval.prompt``'s words; ``DataError`` says what
    cannot be asked."""
    template = load_chat_template(model_dir, config.model)
    sets: list[EvalSet] = []
    known: set[str] = set()
    for each in named:
        sets.append(_apart(_load(each, config, template, models_dir), known))
        known.update(problem.id for problem in sets[-1].problems)
    return Loaded(sets=tuple(sets), decoding=decoding_of(config.eval.decode, template))


def fingerprint(sets: Sequence[EvalSet]) -> str:
    """Of what is asked and which answers are right. Not of tokens: some templates write today's
    date."""
    digest = xxhash.xxh3_128()
    for each in sets:
        for problem in each.problems:
            turns = [[message.role, message.content] for message in problem.messages]
            fields = [each.label, problem.id, turns, problem.answer, problem.verifier]
            digest.update(json.dumps(fields).encode())
    return digest.hexdigest()


def decoding_of(decode: DecodeConfig | None, template: ChatTemplate) -> Decoding | None:
    """In the tokens of this model. UserError where it has no token for what is asked."""
    if decode is None:
        return None
    end = _ids("</think>", template)
    scales = decode.stop_temperature != 1 or decode.stop_bias != 0
    if decode.waits and len(end) != 1:
        raise UserError(
            f"eval.decode.waits={decode.waits} needs a model with one token for {THINK_END}, and "
            f"this one has {len(end)}; leave it out"
        )
    if THINK_END not in decode.forced_end:
        raise UserError(
            f"eval.decode.forced_end={decode.forced_end!r} lacks {THINK_END}, which ends thinking"
        )
    return Decoding(
        think_end_ids=end,
        stop_ids=tuple(_one_id(text, template) for text in decode.stop_tokens) if scales else (),
        stop_temperature=decode.stop_temperature,
        stop_bias=decode.stop_bias,
        thinking_budget=decode.thinking_budget,
        forced_end_ids=_ids(decode.forced_end, template),
        waits=decode.waits,
        wait_ids=_ids(decode.wait_text, template),
    )


def _apart(found: EvalSet, known: set[str]) -> EvalSet:
    """Ids that another set has too get the set's label before them."""
    if not any(problem.id in known for problem in found.problems):
        return found
    problems = [replace(p, id=f"{found.label}/{p.id}") for p in found.problems]
    return replace(found, problems=tuple(problems))


def _load(named: NamedData, config: RunConfig, template: ChatTemplate, models_dir: Path) -> EvalSet:
    path = resolve_data(named.path, "heldout", models_dir)
    if named.path in MADE_MODELS and not Path(path).is_file():
        raise DataError(f"the made problems of {named.path!r} are not there: {path}")
    file = read_problem_file(path)
    check_verifiers(file, named.data)
    wanted = config.eval.problems
    first = replace(file, rows=file.rows[:wanted], places=file.places[:wanted])
    prompt = config.eval.prompt
    templates = (TemplateConfig(text=prompt),) if prompt is not None else ()
    asked = named.data.model_copy(update={"templates": templates, "paraphrase": None})
    problems = make_problems(first, asked, template)
    if prompt is not None:
        problems = [replace(problem, prompt_ids=problem.templates[0]) for problem in problems]
    return EvalSet(label=named.label, problems=tuple(problems), num_there=len(file.rows))


def _ids(text: str, template: ChatTemplate) -> tuple[int, ...]:
    return template.encode([text])[0]


def _one_id(text: str, template: ChatTemplate) -> int:
    ids = _ids(text, template)
    if len(ids) != 1:
        raise UserError(
            f"eval.decode.stop_tokens names {text!r}, which is {len(ids)} tokens of this model; "
            "name single tokens"
        )
    return ids[0]
