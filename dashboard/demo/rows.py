"""Made-up rollouts as the tables of a run directory."""

import numpy as np
import pyarrow as pa

from configs.run_files import SCHEMAS
from dashboard.demo import rollouts as r
from dashboard.demo.bodies import pieces
from dashboard.demo.exams import problems_of
from dashboard.demo.problems import THINK_END
from dashboard.demo.shape import BRANCHY_LIMIT, BUDGET, CAP, GENERATORS, GROUP, MAX_LAG, TEMPLATES
from dashboard.demo.tally import newest_attempts

TOKENS_SHARE = 50
"""One rollout in this many has its tokens kept."""


def rollout_ids(made: r.Rollouts) -> list[str]:
    parts = zip(made.ticket.tolist(), made.attempt.tolist(), made.sample.tolist(), strict=True)
    return [f"{ticket:06d}.{attempt}.{sample}" for ticket, attempt, sample in parts]


def meta_table(
    world: r.World, made: r.Rollouts, ids: list[str], seq: int, has_text: np.ndarray
) -> pa.Table:
    count, accepted = len(made), made.reason == r.ACCEPTED
    judged = (made.finish != r.ABORT) & (made.verdict < r.ERROR)
    is_first = made.first_same == np.arange(count)
    id_array = pa.array(ids)
    columns = {
        "rollout_id": id_array,
        "attempt": made.attempt,
        "problem_id": _named([p.id for p in world.problems], made.problem),
        "group_id": _group_ids(made),
        "sample": made.sample,
        "source": _named([p.source for p in world.problems], made.problem),
        "template_id": _named(TEMPLATES, made.template),
        "generator_id": _named(GENERATORS, made.generator),
        "first_version": made.first,
        "last_version": made.last,
        "temperature": np.ones(count),
        "top_p": np.ones(count),
        "max_tokens": np.full(count, CAP),
        "budget": np.full(count, BUDGET),
        "start_us": made.start_us,
        "end_us": made.end_us,
        "gen_ms": (made.end_us - made.start_us) / 1000,
        "verify_ms": np.where(made.finish == r.ABORT, 0.0, made.verify_ms),
        "n_prompt": _prompt_tokens(world)[made.problem],
        "n_think": pa.array(made.n_think, mask=made.n_think < 0),
        "n_answer": pa.array(made.n_tokens - made.n_think, mask=made.n_think < 0),
        "n_tokens": made.n_tokens,
        "finish_reason": _named(r.FINISHES, made.finish),
        "answer": _answers(world, made),
        "verdict": _named(r.VERDICTS, made.verdict),
        "filters": _filters(made),
        "accepted": accepted,
        "reason": _named(r.REASONS, made.reason, missing=accepted),
        "logp_mean": made.logp,
        "entropy_mean": made.entropy,
        "repetition": made.repetition,
        "dup_of": id_array.take(pa.array(made.first_same, mask=is_first)),
        "text_seq": pa.array(np.full(count, seq), mask=~has_text),
        "text_level": _named(("dropped", "all"), has_text.astype(int)),
        "is_expert": np.zeros(count, bool),
        "origin": _named(("self",), np.zeros(count, int)),
        "propensity": np.ones(count),
        "explores": np.zeros(count, bool),
        "seen": np.maximum(0, made.ticket - MAX_LAG * world.shape.groups_per_step),
        "size": np.full(count, GROUP),
        "reward": pa.array(accepted.astype(float), mask=~judged),
    }
    return _table("meta", columns, count)


def problems_table(world: r.World) -> pa.Table:
    return problems_of(world.problems)


def text_table(ids: list[str], texts: list[str]) -> pa.Table:
    ends = [text.find(THINK_END.strip()) for text in texts]
    answer_start = [None if end < 0 else end + len(THINK_END.strip()) for end in ends]
    columns = {"rollout_id": ids, "text": texts, "answer_start": answer_start}
    return _table("text", columns, len(ids))


def tokens_table(
    made: r.Rollouts, ids: list[str], texts: dict[int, str], rng: np.random.Generator
) -> pa.Table:
    """``texts``: by row, of those whose tokens are kept."""
    rows = sorted(texts)
    lists: dict[str, list[np.ndarray]] = {"ends": [], "logp": [], "entropy": []}
    for row in rows:
        ends = np.cumsum([len(piece.encode()) for piece in pieces(texts[row])])
        if made.finish[row] == r.STOP:
            ends = np.append(ends, ends[-1])  # the end token reads as nothing
        entropy = rng.gamma(0.5, 2 * made.entropy[row], len(ends))
        lists["ends"].append(ends)
        lists["entropy"].append(entropy.astype(np.float32))
        lists["logp"].append((-entropy * rng.exponential(1.0, len(ends))).astype(np.float32))
    return _table("tokens", {"rollout_id": [ids[row] for row in rows], **lists}, len(rows))


def fate_table(
    world: r.World, made: r.Rollouts, ids: list[str], rng: np.random.Generator
) -> pa.Table:
    """Of accepted rollouts whose step was taken; of two attempts the older one has none."""
    shape = world.shape
    taken = (made.reason == r.ACCEPTED) & (made.step < shape.steps) & newest_attempts(made)
    rows = np.flatnonzero(taken)
    step, lag = made.step[rows], (made.step - made.first)[rows]
    fate = np.where(lag > MAX_LAG, 1, np.where(step == shape.bad_step, 2, 0))
    turn = world.times_us[step + 1] - world.times_us[step]
    at_us = world.times_us[step + 1] - (0.08 * turn).astype(np.int64)
    columns = {
        "rollout_id": [ids[row] for row in rows],
        "fate": _named(("trained", "stale", "aborted"), fate),
        "step": step,
        "lag": lag,
        "version": step,
        "at_us": at_us,
        "queue_ms": np.maximum(0, at_us - made.settled_us[rows]) / 1000,
        "weight": np.ones(len(rows)),
        "loss_tokens": np.where(fate == 0, made.n_tokens[rows], 0),
        "learner_logp_mean": pa.array(
            made.logp[rows] + rng.normal(0, 0.004, len(rows)), mask=fate != 0
        ),
    }
    return _table("fate", columns, len(rows))


def _table(kind: str, columns: dict, count: int) -> pa.Table:
    schema = SCHEMAS[kind]  # pyright: ignore[reportArgumentType] - one of the literals
    arrays = [
        pa.array(columns[field.name]).cast(field.type)
        if field.name in columns
        else pa.nulls(count, field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)


def _named(names, chosen: np.ndarray, missing: np.ndarray | None = None) -> pa.Array:
    return pa.array(list(names)).take(pa.array(chosen, mask=missing))


def _group_ids(made: r.Rollouts) -> pa.Array:
    firsts = np.flatnonzero(made.sample == 0)
    names = [
        f"{ticket:06d}.{attempt}"
        for ticket, attempt in zip(made.ticket[firsts], made.attempt[firsts], strict=True)
    ]
    return _named(names, np.cumsum(made.sample == 0) - 1)


def _prompt_tokens(world: r.World) -> np.ndarray:
    return np.array([12 + len(pieces(problem.text)) for problem in world.problems])


def _answers(world: r.World, made: r.Rollouts) -> pa.Array:
    """What stands in the box; nothing where no answer was found."""
    names: list[str | None] = []
    starts = []
    for problem in world.problems:
        starts.append(len(names))
        names += [problem.gold, *problem.wrong, None]
    place = np.array(starts)[made.problem] + made.ending - world.pool.endings[made.problem, 0]
    return _named(names, place, missing=(made.ending < 0) | (made.finish != r.STOP))


def _filters(made: r.Rollouts) -> pa.Array:
    """Three checks of every rollout, and those of the two steps of each finished one."""
    finished = made.finish == r.STOP
    counts = np.where(finished, 5, 3)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    start, total = offsets[:-1], offsets[-1]
    name = np.zeros(total, np.int64)
    passed = np.zeros(total, bool)
    value, threshold = np.ones(total), np.ones(total)

    def put(place: np.ndarray, number: int, passes, values, limit: float) -> None:
        name[place], passed[place] = number, passes
        value[place], threshold[place] = values, limit

    correct, stay = made.verdict == r.CORRECT, made.would_stay[finished]
    branchy = made.branchy[finished]
    put(start, 0, finished, finished, 1.0)
    put(start + 1, 1, correct, correct, 1.0)
    put(start + 2, 2, made.n_tokens <= BUDGET, made.n_tokens, BUDGET)
    put(start[finished] + 3, 3, branchy <= BRANCHY_LIMIT, branchy, BRANCHY_LIMIT)
    put(start[finished] + 4, 4, stay, stay, 1.0)
    checks = pa.StructArray.from_arrays(
        [
            _named(("finished", "correct", "length", "branchy", "duplicate"), name),
            pa.array(passed),
            pa.array(value),
            pa.array(threshold),
        ],
        names=["name", "pass", "value", "threshold"],
    )
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), checks)
