"""From the words of the pipeline to the recorder's rows. Pure; strings go through as they are."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from actors.audit import is_audited
from actors.settlement import total_reward
from actors.token_reader import TokenReader
from configs.run_files import Fate
from verifiers.filters import is_judged
from verifiers.types import EvalSample, JudgedGroup, Problem, rollout_id

Row = dict[str, Any]

REPEATED = 4
"""Tokens in a row that make a repetition when they come again."""


def meta_rows(judged: JudgedGroup, text_level: str, reader: TokenReader | None = None) -> list[Row]:
    """One row for every completion of the group, accepted or not."""
    shared = _shared(judged, text_level)
    ticket = judged.group.ticket
    duplicates = _duplicates(judged)
    triples = zip(judged.group.completions, judged.verdicts, judged.decisions, strict=True)
    return [
        shared
        | {
            "rollout_id": rollout_id(ticket.number, ticket.attempt, sample),
            "sample": sample,
            "first_version": completion.first_version,
            "last_version": completion.last_version,
            "start_us": completion.start_us,
            "end_us": completion.end_us,
            "gen_ms": (completion.end_us - completion.start_us) / 1000,
            "verify_ms": verdict.ms,
            "n_tokens": len(completion.token_ids),
            **_parts(completion.token_ids, reader),
            "repetition": repetition(completion.token_ids),
            "finish_reason": completion.finish_reason,
            "answer": verdict.extracted,
            "verdict": verdict.status,
            "filters": [
                {"name": c.name, "pass": c.passed, "value": c.value, "threshold": c.threshold}
                for c in decision.checks
            ],
            "accepted": decision.accepted,
            "reason": decision.reason,
            "logp_mean": _mean(completion.logprobs),
            "is_expert": completion.is_expert,
            "weight_mean": _mean(judged.weights[sample]) if judged.weights else None,
            "origin": completion.origin,
            "propensity": ticket.propensity * completion.propensity,
            "reward": total_reward(judged, sample) if is_judged(completion, verdict) else None,
            "dup_of": duplicates[sample],
        }
        for sample, (completion, verdict, decision) in enumerate(triples)
    ]


def text_rows(judged: JudgedGroup, think_end: str) -> list[Row]:
    ticket = judged.group.ticket
    return [
        {
            "rollout_id": rollout_id(ticket.number, ticket.attempt, sample),
            "text": completion.text,
            "answer_start": _answer_start(completion.text, think_end),
        }
        for sample, completion in enumerate(judged.group.completions)
    ]


def token_rows(judged: JudgedGroup, share: float, reader: TokenReader | None) -> list[Row]:
    """Of the rollouts that are sampled by their names, and whose tokens can be read."""
    ticket = judged.group.ticket
    rows = []
    for sample, completion in enumerate(judged.group.completions):
        name = rollout_id(ticket.number, ticket.attempt, sample)
        if reader is None or not is_audited(name, share) or not completion.logprobs:
            continue
        ends = reader.ends(completion.token_ids, completion.text)
        if ends is not None:
            weights = list(judged.weights[sample]) if judged.weights else None
            row = {"rollout_id": name, "ends": ends, "logp": list(completion.logprobs)}
            rows.append(row | {"weight": weights})
    return rows


def problem_row(problem: Problem) -> Row:
    text = problem.messages[0].content
    if len(problem.messages) > 1:
        text = "\n\n".join(f"[{m.role}]\n{m.content}" for m in problem.messages)
    content = "\0".join((text, problem.answer, problem.verifier))
    return {
        "problem_id": problem.id,
        "hash": hashlib.sha256(content.encode("utf-8", errors="replace")).hexdigest()[:16],
        "source": problem.source,
        "text": text,
        "gold": problem.answer,
    }


def fate_row(fate: Fate, now_us: int) -> Row:
    return asdict(fate) | {"at_us": now_us if fate.at_us is None else fate.at_us}


def eval_row(
    label: str, version: int, sample: EvalSample, now_us: int, benchmark: str | None
) -> Row:
    return {
        "label": label,
        "version": version,
        "problem_id": sample.problem_id,
        "sample": sample.sample,
        "verdict": sample.status,
        "finish_reason": sample.finish_reason,
        "n_tokens": sample.num_tokens,
        "answer": sample.extracted,
        "text": sample.text,
        "at_us": now_us,
        "n_think": sample.num_think,
        "n_answer": None if sample.num_think is None else sample.num_tokens - sample.num_think,
        "logp_mean": sample.logprob_mean,
        "benchmark": benchmark,
    }


def finite(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN and no infinity: they become null, and ``nan`` names their keys."""
    bad: list[str] = []
    clean = _finite(row, "", bad)
    return clean | {"nan": bad} if bad else clean


def _finite(value: Any, path: str, bad: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _finite(v, f"{path}.{key}" if path else key, bad) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item, f"{path}.{place}", bad) for place, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        bad.append(path)
        return None
    return value


def _shared(judged: JudgedGroup, text_level: str) -> Row:
    group, ticket = judged.group, judged.group.ticket
    return {
        "attempt": ticket.attempt,
        "problem_id": ticket.problem.id,
        "group_id": f"{ticket.number:06d}.{ticket.attempt}",
        "source": ticket.problem.source,
        "generator_id": group.generator_id,
        "temperature": group.temperature,
        "top_p": group.top_p,
        "max_tokens": group.max_tokens,
        "budget": ticket.budget,
        "n_prompt": len(ticket.problem.prompt_ids),
        "text_level": text_level,
        "template_id": None if ticket.template is None else str(ticket.template),
        "explores": ticket.explores,
        "level": ticket.level,
        "seen": ticket.seen,
        "size": ticket.size,
    }


def _duplicates(judged: JudgedGroup) -> list[str | None]:
    """For each rollout the first of its group that says the same, word for word."""
    ticket = judged.group.ticket
    first: dict[str, int] = {}
    earlier = [first.setdefault(c.text, at) for at, c in enumerate(judged.group.completions)]
    return [
        None if one == sample else rollout_id(ticket.number, ticket.attempt, one)
        for sample, one in enumerate(earlier)
    ]


def repetition(token_ids: Sequence[int]) -> float | None:
    """Share of the runs of ``REPEATED`` tokens that were there before. None: it is shorter."""
    runs = list(zip(*(token_ids[start:] for start in range(REPEATED)), strict=False))
    return 1 - len(set(runs)) / len(runs) if runs else None


def _parts(token_ids: Sequence[int], reader: TokenReader | None) -> Row:
    thought = None if reader is None else reader.think_tokens(token_ids)
    answered = None if thought is None else len(token_ids) - thought
    return {"n_think": thought, "n_answer": answered}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _answer_start(text: str, think_end: str) -> int | None:
    place = text.find(think_end)
    return None if place < 0 else place + len(think_end)
