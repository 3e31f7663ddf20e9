"""The rules of health: what each says, how grave it is, and what to do."""

from dashboard.server.health import Rule
from dashboard.server.health_finders import (
    accuracy,
    between,
    collapse,
    disk,
    dropped,
    guardrail,
    judge_failures,
    lag,
    no_accept,
    not_finite,
    percent,
    rebound,
    repetition,
    share,
    silent,
    slow,
    stalled,
    starved,
    why,
)

RULES: tuple[Rule, ...] = (
    Rule(
        key="silent", title="The run says nothing", level="critical", find=silent,
        say=lambda spell: f"no heartbeat for {spell.worst:.1f} min",
        advice="Look whether its process lives; --resume goes on from the newest checkpoint.",
        view="logs",
    ),
    Rule(
        key="stalled", title="Nothing moves", level="critical", find=stalled,
        say=lambda spell: f"no token, group or step for {spell.worst:.0f} min",
        advice="Look at the logs, and at stall-….txt in the run's folder if there is one.",
        view="logs",
    ),
    Rule(
        key="no_accept", title="Nothing is accepted", level="critical", find=no_accept,
        say=lambda spell: f"no rollout was accepted for {spell.worst:.0f} min",
        advice="See in the funnel where they are lost; raise filter.length_budget, or take easier "
        "problems.",
        view="funnel",
    ),
    Rule(
        key="low_accept", title="Few rollouts are accepted", level="warning",
        find=share("accepted", "rollouts", on=0.10, off=0.15),
        say=percent("only {} over five steps"),
        advice="See in the funnel where they are lost.", view="funnel",
    ),
    Rule(
        key="truncation", title="Many rollouts are cut off", level="warning",
        find=share("rejected_truncated", "rollouts", on=0.30, off=0.20),
        say=percent("{} over five steps"),
        advice="A higher sampling.max_tokens shows what they would have become.",
        view="rollouts", params={"reason": ["truncated"]},
    ),
    Rule(
        key="collapse", title="Answers have become very short", level="warning", find=collapse,
        say=percent("{} of the length at the start"),
        advice="Compare the accuracy of the evaluations; read some of the shortest.",
        view="lengths",
    ),
    Rule(
        key="rebound", title="Answers grow again", level="warning", find=rebound,
        say=lambda spell: f"{spell.worst:.2f} times the shortest mean so far",
        advice="Look for a change of the problems, the budget or the learning rate.",
        view="lengths",
    ),
    Rule(
        key="repetition", title="Rollouts repeat themselves", level="warning", find=repetition,
        say=percent("{} of all runs of four tokens were there before"),
        advice="Read the longest; repetition often comes before a collapse.",
        view="rollouts", params={"sort": "-repetition"},
    ),
    Rule(
        key="judges", title="Judges fail", level="warning", find=judge_failures,
        say=percent("{} of the verdicts are errors or time-outs"),
        advice="See verdicts.jsonl and the logs of the judges.",
        view="rollouts", params={"verdict": ["error", "timeout"]},
    ),
    Rule(
        key="stale", title="Rollouts become too old", level="warning",
        find=share("stale", "accepted", on=0.05, off=0.02),
        say=percent("{} of what was accepted was dropped as stale"),
        advice="Raise max_lag, or use fewer engines for this learner.", view="pipeline",
    ),
    Rule(
        key="aborted", title="Rollouts are given up", level="warning",
        find=share("rejected_aborted", "rollouts", on=0.05, off=0.02),
        say=percent("{} over five steps"),
        advice="Look at the logs of the engines.",
        view="rollouts", params={"reason": ["aborted"]},
    ),
    Rule(
        key="engine", title="An engine was lost", level="warning",
        find=between(("engine_lost",), ("engine_joined", "started"), why),
        advice="Its tickets are written again by others; see why in its log.", view="generators",
    ),
    Rule(
        key="learner", title="The learner was lost", level="critical",
        find=between(("learner_lost",), ("learner_back", "started"), why),
        advice="It starts again from the newest checkpoint; see its log.", view="logs",
    ),
    Rule(
        key="slow_wait", title="The learner waits long for rollouts", level="warning",
        find=slow("wait_s"), say=lambda spell: f"{spell.worst:.0f} times as long as usual",
        advice="Look at the engines, and at how many rollouts were accepted.", view="pipeline",
    ),
    Rule(
        key="slow_train", title="An optimizer step takes long", level="warning",
        find=slow("train_s"), say=lambda spell: f"{spell.worst:.0f} times as long as usual",
        advice="Look at the step's tokens and at who else uses the machine.", view="pipeline",
    ),
    Rule(
        key="slow_publish", title="Publishing weights takes long", level="warning",
        find=slow("publish_s"), say=lambda spell: f"{spell.worst:.0f} times as long as usual",
        advice="Look at the network or disk that weights go over.", view="pipeline",
    ),
    Rule(
        key="accuracy", title="Accuracy has fallen", level="critical", find=accuracy,
        advice="Look at the flips between the evaluations; a larger filter.length_budget, or an "
        "earlier checkpoint, has the accuracy back.",
        view="evals",
    ),
    Rule(
        key="guardrail", title="The guardrail has spoken", level="critical",
        find=guardrail,
        advice="The run went back, or holds its budget; see the evaluations.", view="evals",
    ),
    Rule(
        key="not_finite", title="A gradient was not finite", level="warning", find=not_finite,
        say=lambda spell: "the step was skipped, the weights stayed as they were",
        advice="Once is nothing; again and again, lower learner.optimizer.lr.", view="learner",
    ),
    Rule(
        key="lag", title="Trained rollouts are older than allowed", level="critical", find=lag,
        say=lambda spell: f"a lag of {spell.worst:.0f}, above max_lag",
        advice="That must not be: keep the run's folder and run laconic check on it.",
        view="pipeline",
    ),
    Rule(
        key="disk", title="The disk is nearly full", level="warning", find=disk,
        say=percent("{} is free; texts are not kept any more below 5 %"),
        advice="Make room, or lower checkpoint.keep.", view="logs",
    ),
    Rule(
        key="disk_trouble", title="The queue cannot write", level="critical",
        find=between(("disk_trouble", "checkpoint_failed"), ("disk_back", "checkpoint"), why),
        advice="Everybody waits for it: make room on the run's disk.", view="logs",
    ),
    Rule(
        key="recorder", title="The recorder has dropped rows", level="warning", find=dropped,
        say=lambda spell: f"{spell.worst:,.0f} observations were not kept",
        advice="Training is not touched; what is shown is not complete.", view="health",
    ),
    Rule(
        key="budget", title="The length budget is too tight", level="warning",
        find=between(("budget_alarm",), (), why),
        advice="Raise filter.length_budget or budget.floor.", view="whatif",
    ),
    Rule(
        key="parts", title="A part hung", level="warning",
        find=between(("part_hung", "weights_refused"), ("part_back", "published"), why),
        advice="It was started again; see its log.", view="logs",
    ),
    Rule(
        key="starved", title="The learner is idle most of the time", level="tip", find=starved,
        say=percent("it waits for rollouts {} of its time"),
        advice="More engines, or a larger share of the machine for them, make steps shorter.",
        view="pipeline",
    ),
)  # fmt: skip
