"""V17: what the run does, in plain words and in the order in which it happens."""

from typing import Any

from configs.schema import RunConfig
from dashboard.server.errors import Refused
from dashboard.server.look import Look

Line = dict[str, Any]

OBJECTIVES = {
    "sft": "raises the likelihood of every token of the accepted rollouts",
    "grpo": "raises rollouts that are better than their group's average and lowers the others",
}

FILTERS = {
    "duplicate": "keeps the first of responses that say the same word for word",
    "max_kept": "keeps so many of a group, the first by number",
    "branchy": "rejects responses that change their mind too often for their length",
    "grape": "keeps the one of a group that the policy finds likeliest",
    "s3ft": "keeps one of a group: the policy's own right answer, else what came with the data",
}

BUDGETS = {
    "fixed": "the same for every problem",
    "schedule": "falling over the run",
    "adaptive": "of each problem its own, from how long its right answers were",
}


def recipe(look: Look) -> dict[str, Any]:
    config = look.run.config
    if config is None:
        raise Refused(
            "unreadable",
            "resolved.yaml is missing, or another version of Laconic wrote it; V15 shows its text",
        )
    return {"title": _title(config), "lines": _lines(look, config)}


def _title(config: RunConfig) -> str:
    return (
        f"{config.model.path} learns from its own answers by {config.learner.objective}, "
        f"{config.steps:,} steps"
    )


def _lines(look: Look, config: RunConfig) -> list[Line]:
    """Each with the rollouts that it saw and let through, where it decides over rollouts."""
    total, finished, right, short, accepted, trained = look.db.one(
        """SELECT count(*), count(*) FILTER (stage >= 1 OR finish_reason = 'stop'),
                count(*) FILTER (finish_reason = 'stop' AND verdict = 'correct'),
                count(*) FILTER (stage >= 4), count(*) FILTER (accepted),
                count(*) FILTER (fate = 'trained') FROM rollouts"""
    )
    learner, sampling = config.learner, config.sampling
    return [
        _line(
            "data",
            config.data.train,
            _data(config),
            keys=("data.train", "data.shuffle", "curriculum.band"),
        ),
        *_prompts(config),
        _line(
            "generate",
            "vLLM",
            f"{config.group_size} rollouts a problem at temperature {sampling.temperature:g}, at "
            f"most {config.max_response_tokens:,} tokens, no more than {config.max_lag} steps old "
            "when they are trained",
            passed=total,
            keys=("sampling.group_size", "sampling.temperature", "max_lag"),
        ),
        _line(
            "filter",
            "finished",
            "must have stopped by itself: what was cut off or aborted is rejected",
            seen=total,
            passed=finished,
            filters={"stage": "finished"},
        ),
        _line(
            "judge",
            config.data.verifier,
            f"compares the answer with the reference, {config.judge.strictness}, and reads "
            f"{config.judge.part.replace('_', ' ')}",
            seen=finished,
            passed=right,
            filters={"stage": "correct"},
            keys=("data.verifier", "judge.strictness", "judge.part"),
        ),
        _line(
            "filter",
            "length",
            f"must use at most L tokens: L is {config.filter.length_budget:,}, "
            f"{BUDGETS[config.budget.kind]}",
            seen=right,
            passed=short,
            filters={"stage": "within_budget"},
            keys=("filter.length_budget", "budget.kind"),
        ),
        *_steps(look, config, short),
        _line(
            "select",
            "batch",
            f"a step takes {config.batch.problems} groups in ticket order, and more where fewer "
            f"than {config.batch.min_rollouts} rollouts were accepted",
            seen=accepted,
            passed=trained,
            filters={"fate": ["trained"]},
            keys=("batch.problems", "batch.min_rollouts", "batch.drop_equal"),
        ),
        _line(
            "objective",
            learner.objective,
            f"{OBJECTIVES.get(learner.objective, 'see docs/methods.md')}; AdamW, rate "
            f"{learner.optimizer.lr:g}, clipped at {learner.optimizer.clip:g}",
            seen=trained,
            keys=("learner.objective", "learner.normalizer", "learner.optimizer.lr"),
        ),
        _line(
            "publish",
            "weights",
            f"every {config.sync_every} steps the engines get the new weights, in flight",
            keys=("sync_every",),
        ),
        *_evaluation(config),
    ]


def _data(config: RunConfig) -> str:
    order = "in random order" if config.data.shuffle else "in the order of the file"
    band = config.curriculum.band
    chosen = (
        ""
        if band is None
        else (f"; those outside of {band[0]:g} to {band[1]:g} accepted are asked less often")
    )
    return f"problems of {config.data.train} {order}{chosen}"


def _prompts(config: RunConfig) -> list[Line]:
    num = len(config.data.templates)
    if not num and not config.data.system_prompt and not config.data.suffix:
        return []
    words = [f"one of {num} templates for each group"] if num else []
    words += ["a system prompt"] if config.data.system_prompt else []
    words += [f"{config.data.suffix!r} behind the problem"] if config.data.suffix else []
    return [
        _line(
            "prompt",
            "prompt",
            "with " + ", ".join(words),
            keys=("data.templates", "data.system_prompt", "data.suffix"),
        )
    ]


def _steps(look: Look, config: RunConfig, seen: int) -> list[Line]:
    """Each sees what those before it let through."""
    lines = []
    for step in config.filter.steps:
        rejected = look.db.one(
            "SELECT count(*) FROM rollouts WHERE reason::VARCHAR = ?", [step.use]
        )[0]
        settings = ", ".join(f"{key} {value}" for key, value in step.settings.items())
        words = FILTERS.get(step.use, "a part of one's own")
        lines.append(
            _line(
                "filter",
                step.use,
                f"{words}{f' ({settings})' if settings else ''}",
                seen=seen,
                passed=seen - rejected,
                filters={"reason": [step.use]},
                keys=("filter.steps",),
            )
        )
        seen -= rejected
    return lines


def _evaluation(config: RunConfig) -> list[Line]:
    if config.data.heldout is None:
        return []
    every = f"every {config.eval.every} steps" if config.eval.every else "before and after the run"
    return [
        _line(
            "evaluate",
            config.data.heldout,
            f"{config.eval.problems} held-out problems x {config.eval.samples}, {every}",
            keys=("data.heldout", "eval.problems", "eval.every"),
        )
    ]


def _line(
    part: str,
    name: str,
    text: str,
    *,
    seen: int | None = None,
    passed: int | None = None,
    filters: dict[str, Any] | None = None,
    keys: tuple[str, ...] = (),
) -> Line:
    return {
        "part": part,
        "name": name,
        "text": text,
        "seen": seen,
        "passed": passed,
        "filters": filters,
        "config_keys": list(keys),
    }
