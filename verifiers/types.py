"""The words the whole pipeline speaks. Plain data: cheap to import, cheap to send."""

from dataclasses import dataclass, field
from typing import Literal

Status = Literal["correct", "wrong", "no_answer", "error", "timeout"]
FinishReason = Literal["stop", "length", "abort"]
Role = Literal["system", "user", "assistant"]
Part = Literal["after_think", "last_box", "whole"]
Strictness = Literal["strict", "normal", "lenient"]
Guard = Literal["copied", "many_boxes", "answer_list"]
Level = Literal["short", "moderate", "long"]
Origin = Literal["self", "paraphrase", "gold"]
Abort = Literal["doomed", "cancelled"]

REASONS = (
    "doomed",
    "cancelled",
    "aborted",
    "truncated",
    "verifier_timeout",
    "verifier_error",
    "no_answer",
    "copied",
    "many_boxes",
    "answer_list",
    "wrong",
    "over_budget",
    "stale",
    "equal",
)
"""Why a rollout is not trained; the first that holds. Behind ``over_budget`` come those of
``filter.steps``, under the names of the steps. ``stale`` and ``equal`` are decided at consumption,
the rest when the group settles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    id: str
    messages: tuple[Message, ...]
    answer: str
    source: str
    """Name of the data set it came from."""
    verifier: str
    """Name in ``verifiers.registry`` of what judges an answer to it."""
    prompt_ids: tuple[int, ...]
    """The messages through the chat template: what the engine and the learner both see."""
    given_ids: tuple[int, ...] = ()
    """A response that came with the data, its end token included; none: empty."""
    given_text: str = ""
    """The same as its judge reads it."""
    teacher_prompt_ids: tuple[int, ...] = ()
    """What a teacher is asked instead, maybe with the answer in it; empty: the same prompt."""
    templates: tuple[tuple[int, ...], ...] = ()
    """The prompt as each of ``data.templates`` words it; empty: there is one wording."""
    paraphrase_ids: tuple[int, ...] = ()
    """What the policy is asked to say the given response in its own words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """The right, and the duty, to write one group: ``size`` rollouts of one problem.

    All that was decided about the group before it was written, and goes into the queue's log, so
    that a group which is written again is the same one.
    """

    number: int
    """Position in the order of consumption; tickets are numbered 0, 1, 2, … without a gap."""
    attempt: int
    """How often this number was handed out before. A late result of an older attempt is refused."""
    problem: Problem
    """In the wording of ``template``."""
    size: int
    budget: int
    """Response tokens a correct answer may use (the length budget L)."""
    cursor: int = 0
    """Draws of the data's order up to here, this one included."""
    seen: int = 0
    """Tickets below were known to whoever decided this."""
    propensity: float = 1.0
    """How likely the problem was to be asked at this visit, times its share of rollouts: ``size``
    over ``sampling.group_size``."""
    explores: bool = False
    """The budget is not the problem's own, to see what longer answers do."""
    template: int | None = None
    """Which of ``data.templates``; None: as it came."""
    level: Level | None = None
    """The length that the template asks for."""
    temperature: float = 1.0
    expected_tokens: float | None = None
    """Mean length of the problem's earlier rollouts."""
    limits: tuple[tuple[str, float], ...] = ()
    """Thresholds of filters that follow the run, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What an engine wrote for one prompt."""

    text: str
    token_ids: tuple[int, ...]
    """Response tokens, the end-of-sequence token included when ``finish_reason`` is ``stop``."""
    logprobs: tuple[float, ...] = ()
    """Of each of them, as the engine drew it: under the plain model, or, with ``sampling.policy``,
    at the temperature that was drawn at. Empty where nobody asked, and where nobody drew: a
    response of the data."""
    finish_reason: FinishReason
    first_version: int
    """Weight version when the request was handed to the engine: no token is older."""
    last_version: int
    """Weight version when the last token was written."""
    start_us: int
    end_us: int
    is_expert: bool = False
    """It came with the data, or was written to another prompt: not a sample of the policy."""
    origin: Origin = "self"
    propensity: float = 1.0
    """How likely it was to be written to its end, given its group: ``economy``."""
    aborted_by: Abort | None = None
    """Why we ended it, where ``finish_reason`` is ``abort``."""
    score: float | None = None
    """Mean log-probability of its tokens under the policy at the problem's own prompt, where a
    filter asks for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The rollouts of one ticket, written but not yet judged."""

    ticket: Ticket
    generator_id: str
    completions: tuple[Completion, ...]
    temperature: float
    top_p: float
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a response is read and compared: what of a run's ``judge`` section reaches a judge."""

    part: Part = "after_think"
    strictness: Strictness = "normal"
    guards: tuple[Guard, ...] = ()
    code_cpu_s: float = 4.0
    """CPU time of one program in the sandbox."""
    code_memory_mib: int = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a judge knows of a problem."""

    answer: str
    """The reference: an answer, or what a judge makes one from (tests, a schema), as text."""
    prompt: str = ""
    """The problem as the model saw it; empty where nobody kept it."""
    rules: Rules = Rules()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    status: Status
    extracted: str | None = None
    """The answer that was found in the response, as text."""
    reason: str = ""
    """Why it is not correct, in a word that can be counted: a guard, ``schema``, ``cpu_limit``."""
    detail: str = ""
    """The same for a person."""
    scores: dict[str, float] = field(default_factory=dict)
    """Shares from 0 to 1 of what a judge of several criteria looked at, in its order."""
    ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One filter's own value beside its threshold, kept even when an earlier filter failed."""

    name: str
    passed: bool
    value: float
    threshold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    reason: str | None
    """None when accepted, else the first of ``REASONS`` that holds."""
    checks: tuple[Check, ...]

    @property
    def accepted(self) -> bool:
        return self.reason is None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedGroup:
    """A group with a verdict and a decision for every one of its completions, in the same order."""

    group: Group
    verdicts: tuple[Verdict, ...]
    decisions: tuple[Decision, ...]
    weights: tuple[tuple[float, ...], ...] = ()
    """Of each completion's tokens, as in ``Rollout``; empty when nothing is weighted."""
    rewards: tuple[dict[str, float], ...] = ()
    """Components of each completion's reward, by name; empty: 1 if it was accepted, else 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One response, ready for the learner: an accepted one, or, where the objective learns from
    whole groups, any that was judged."""

    id: str
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    first_version: int
    last_version: int
    is_accepted: bool = True
    reward: float = 1.0
    """1 if it was accepted, else 0; or what ``filter.reward`` made of it."""
    weight: float = 1.0
    """What each of its tokens counts in the loss, times ``weights``."""
    level: Level | None = None
    """The length that its prompt asked for."""
    is_expert: bool = False
    """It came with the data, or was written to another prompt: not a sample of the policy."""
    logprobs: tuple[float, ...] = ()
    """Of each response token, as the engine drew it; empty for an expert's."""
    weights: tuple[float, ...] = ()
    """Of each response token: 0 leaves it out, anything else scales its loss. Empty: all 1."""
    teacher_prompt_ids: tuple[int, ...] = ()
    """What a teacher is asked instead; empty: the same prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one completion, without its tokens."""

    rollout_id: str
    status: Status
    reason: str | None
    num_tokens: int
    first_version: int
    last_version: int
    is_expert: bool = False
    measures: tuple[tuple[str, float], ...] = ()
    """Values of filters that follow the run, by name (``Ticket.limits``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupOutcome:
    """What became of a group, as the learner was given it: what curriculum and budgets learn of."""

    ticket: int
    problem_id: str
    budget: int
    temperature: float
    logprob_mean: float | None
    """Of the tokens of its rollouts, as they were drawn; None: nobody knows."""
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """A judged group as the queue keeps it: the tokens of what the learner gets, the rest by
    name."""

    ticket: int
    attempt: int
    outcomes: tuple[Outcome, ...]
    rollouts: tuple[Rollout, ...]
    logprob_mean: float | None = None
    """Of all tokens that the policy drew for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """What is done to the logits of a response while it thinks, in evaluations alone: a model is
    trained on samples of itself. Thinking lasts until ``think_end_ids`` were written."""

    think_end_ids: tuple[int, ...]
    stop_ids: tuple[int, ...] = ()
    """Tokens whose logits become ``logit / stop_temperature + stop_bias``."""
    stop_temperature: float = 1.0
    stop_bias: float = 0.0
    thinking_budget: int | None = None
    """Response tokens after which ``forced_end_ids`` are written whatever the model wants."""
    forced_end_ids: tuple[int, ...] = ()
    waits: int = 0
    """The first so many times that it would end its thinking, ``wait_ids`` are written instead."""
    wait_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Every sampling field, always explicit: the model's own generation defaults never apply."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    max_tokens: int
    logprobs: bool
    """Ask for the log-probability of every token that is drawn."""
    decoding: Decoding | None = None
    """What else is done to the logits; an engine must have been made for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSample:
    """One judged response to a held-out problem."""

    problem_id: str
    sample: int
    version: int
    status: Status
    finish_reason: FinishReason
    num_tokens: int
    text: str
    extracted: str | None
    num_think: int | None = None
    """Tokens up to the end of its thinking, ``</think>`` included; None: nobody counted."""
    logprob_mean: float | None = None
    """Of its tokens, under the plain model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How far tickets may go out just now."""

    version: int
    """What the engines hold."""
    below: int
    """First ticket that may not go out yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The groups of one optimizer step, lent to the learner until it acknowledges them."""

    step: int
    """The optimizer step it feeds: it turns version ``step`` into ``step + 1``."""
    epoch: int
    """Grows with every lease and every restart; an acknowledgement of an older one is refused."""
    is_ready: bool
    """Enough was accepted, or the data ended. Until then it is asked for again, and grows."""
    first_ticket: int
    end_ticket: int
    """One past the last ticket. Tickets are consumed in order, so a lease is a range."""
    num_rollouts: int
    """What the learner gets: accepted ones, and the rejected ones beside them where the objective
    learns from whole groups."""
    num_tokens: int
    """Their response tokens."""
    num_stale: int
    max_lag: int
    """Largest ``step - first_version`` among its rollouts (0 when it has none)."""
    num_written: int
    """Rollouts of its groups, rejected ones included."""
    written_tokens: int
    reasons: dict[str, int]
    """Why rollouts of its groups were rejected."""
    num_accepted: int = 0
    """Accepted ones among ``num_rollouts``."""
    accepted_tokens: int = 0
    num_equal: int = 0
    """Left out with their groups, whose rewards are all equal (``batch.drop_equal``)."""
    groups: tuple[GroupOutcome, ...] = ()
    """In ticket order; only of a lease that is ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """One link of the chain that leads to a version: all weights, or what changed in them."""

    path: str
    """A file that every engine can read."""
    version: int
    base: int | None
    """The version that it must be applied to; None: it is complete."""
    fingerprint: str
    """``verifiers.fingerprint`` of the complete weights after it; engines refuse anything else."""
    num_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedWeights:
    """One version of the weights on its way from the learner to the engines."""

    version: int
    fingerprint: str
    """Of the complete weights."""
    num_tensors: int
    num_bytes: int
    """What this publication sends to an engine that has the version before it."""
    files: tuple[WeightsFile, ...] = ()
    """From the newest complete file to this version, in order; empty when streamed."""
    is_streamed: bool = False
    """They lie in no file: the learner sends them while the engines receive."""
    address: tuple[str, int] | None = None
    """Where the learner waits for the engines, when streamed."""
    published_us: int = 0
    """When the learner began to publish them."""


def rollout_id(ticket: int, attempt: int, sample: int) -> str:
    """``rollout_id(12, 0, 3) == "000012.0.3"``: unique in a run, sorted by ticket."""
    return f"{ticket:06d}.{attempt}.{sample}"
