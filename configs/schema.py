"""Every knob of a run: its type, its default, its unit, its reason, and what it may not be.

A section is immutable. An unknown key, a wrong type or a contradiction stops the run before the
first process starts. Nothing heavy is imported here.
"""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from configs.decode import DecodeConfig
from configs.economy import (
    BudgetConfig,
    CurriculumConfig,
    EconomyConfig,
    HookConfig,
    SyncConfig,
    TemplateConfig,
)
from configs.guardrail import GuardrailConfig
from configs.section import Section, Setting


class ModelConfig(Section):
    path: str
    """The starting policy: ``tiny``, ``smollm2``, a Hugging Face folder, or a hub name."""

    revision: str | None = None
    """Commit or tag of a hub model. Pin it for runs that must be repeatable."""

    trust_remote_code: bool = False
    """Run Python code that comes with the model. Never switched on for you."""


class DataConfig(Section):
    train: str
    """Problems to learn from: ``tiny``, ``smollm2``, a JSONL, JSON, CSV or Parquet file, or a hub
    data set (``name`` or ``name:split``)."""

    heldout: str | None = None
    """Problems to evaluate on, never trained on. None: no evaluation."""

    verifier: str = "math"
    """Judge for rows that do not name one (``verifiers.registry``)."""

    system_prompt: str | None = None
    """A system turn put before every problem."""

    suffix: str = ""
    """Text put after every problem's last user turn."""

    templates: tuple[TemplateConfig, ...] = Field(default=(), strict=False)
    """What a problem's last turn becomes, such as ``[{text: "{problem} Be brief."}]``: each group
    draws one. ``{problem}`` is the last turn with its suffix. Evaluation takes that as it is.
    Empty: so does training."""

    paraphrase: str | None = None
    """What the policy is asked where none of its own responses was accepted, with ``{problem}`` and
    ``{response}``, the one that the row brings, in it: S3FT. Needs ``responses=beside``."""

    responses: Literal["ignore", "instead", "beside"] = "ignore"
    """What becomes of the responses that rows bring (keys ``response`` or ``solution``): nothing;
    ``instead``: they are learned from and nothing is generated, ``sampling.group_size`` counts for
    nothing; ``beside``: each joins the group that the policy writes, as an expert's. They are
    judged and filtered like any other."""

    max_prompt_tokens: int = Field(default=1024, gt=0)
    """A longer prompt is refused before the run starts."""

    shuffle: bool = True
    """Draw in an order made from ``seed``; false keeps the file's order."""

    epochs: int | None = Field(default=None, gt=0)
    """Passes over the data, after which the run ends early. None: as many as the steps need."""


class SamplingConfig(Section):
    """Training rollouts are samples of the policy itself: temperature 1, nothing cut off.

    The method is derived for such samples and for no others, so nothing else can be set here;
    ``policy`` is for objectives that are not."""

    group_size: int = Field(default=8, gt=0)
    """Rollouts written for one problem."""

    temperature: float = Field(default=1.0, ge=1, le=1)
    """1 and nothing else."""
    top_p: float = Field(default=1.0, ge=1, le=1)
    """1 and nothing else."""
    top_k: Literal[-1] = -1
    """-1 (off) and nothing else."""
    min_p: float = Field(default=0.0, ge=0, le=0)
    """0 and nothing else."""
    repetition_penalty: float = Field(default=1.0, ge=1, le=1)
    """1 and nothing else."""

    max_tokens: int | None = Field(default=None, gt=0)
    """Response tokens after which the engine stops. None: the length budget, since a longer
    response cannot be accepted."""

    policy: HookConfig | None = None
    """What chooses the temperature of a group, such as ``{use: entropy}``, which holds the entropy
    at a target. Only for objectives that compare with what the engine drew."""


class FilterConfig(Section):
    length_budget: int = Field(gt=0)
    """L: response tokens a correct answer may use, the end token included. L itself is allowed."""

    steps: tuple[HookConfig, ...] = Field(default=(), strict=False)
    """What else a correct rollout within its budget must pass, in this order, such as
    ``[{use: duplicate}, {use: branchy, settings: {quantile: 0.9}}]``: docs/methods.md."""

    reward: HookConfig | None = None
    """What an objective of whole groups gets for a rollout. None: 1 if it was accepted, else 0."""

    token_weights: str = "none"
    """How much each token of an accepted rollout counts in the loss. ``fait``: more where the most
    similar rollout of its group that is not right says something else. Or your own
    ``module:NAME``."""

    fait_extra: float = Field(default=1.0, gt=0)
    """What such a token counts beyond 1."""


class BatchConfig(Section):
    problems: int = Field(default=32, gt=0)
    """Groups that one optimizer step takes, in ticket order."""

    min_rollouts: int = Field(default=1, gt=0)
    """Accepted rollouts a step needs; with fewer it takes another ``problems`` groups."""

    drop_equal: bool = False
    """Leave out groups whose rewards are all equal, which teach an objective of whole groups
    nothing. They do not count for ``min_rollouts``, so that a step takes further groups (DAPO)."""


class EngineConfig(Section):
    num_engines: int = Field(default=1, gt=0)
    """vLLM engines that write rollouts, each in its own process."""

    min_engines: int | None = Field(default=None, gt=0)
    """Engines without which a run does not start, where the cluster has no room for more. None:
    ``num_engines``."""

    max_engines: int | None = Field(default=None, gt=0)
    """Engines that a run grows to while the cluster has room, and shrinks from when nodes leave.
    None: ``num_engines`` and no more; ``laconic scale`` changes it by hand."""

    dtype: Literal["auto", "bfloat16", "float32", "float16"] = "auto"
    """Type of the engine's weights; published weights are cast to it. ``auto``: bfloat16, and
    float32 on a CPU that only imitates bfloat16, where that takes many times as long."""

    max_model_len: int = Field(default=4096, gt=0)
    """Prompt and response tokens together."""

    max_num_seqs: int = Field(default=64, gt=0)
    """Sequences decoded at the same time."""

    kv_cache_gib: int = Field(default=1, gt=0)
    """KV cache on a CPU, in GiB. On a GPU ``gpu_memory_utilization`` decides."""

    gpu_memory_utilization: float = Field(default=0.85, gt=0, le=1)
    """Share of a GPU's memory that an engine takes for weights and KV cache."""

    tensor_parallel: int = Field(default=1, gt=0)
    """GPUs that share one engine."""

    adaptive: bool = True
    """Hold requests back while the KV cache is full, since the engine would throw away what it has
    computed of one and begin it again."""

    eval_share: float = Field(default=0.5, gt=0, le=1)
    """Share of ``max_num_seqs`` that an evaluation may take while rollouts wait."""

    enforce_eager: bool = True
    """Skip graph capture: quicker start, slower decoding on a GPU."""


class OptimizerConfig(Section):
    lr: float = Field(default=1e-6, gt=0)
    """Learning rate after the warm-up."""
    betas: tuple[float, float] = Field(default=(0.9, 0.999), strict=False)
    """AdamW's two decay rates."""
    eps: float = Field(default=1e-8, gt=0)
    """AdamW's guard against division by zero."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay."""
    warmup_steps: int = Field(default=5, ge=0)
    """Optimizer steps over which the rate rises linearly; constant after."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""


class TeacherConfig(Section):
    """The frozen policy that ``asft``, ``opsd`` and ``curio`` compare with; others load none."""

    model: str | None = None
    """A model with the same vocabulary: a folder or a hub name. None: the starting policy."""

    prompt: str | None = None
    """What it is asked in place of a problem's last turn, with ``{problem}`` and ``{answer}``.
    None: what the policy is asked."""

    refresh_every: int | None = Field(default=None, gt=0)
    """Optimizer steps after which it takes over the policy's weights. None: it stays frozen."""

    refresh_share: float = Field(default=1.0, gt=0, le=1)
    """How much of them it takes over: 1 is a copy, less a moving average."""

    device: Literal["learner", "cpu"] = "learner"
    """Where it computes: beside the policy, or in host memory."""

    @field_validator("prompt")
    @classmethod
    def _asks_the_problem(cls, prompt: str | None) -> str | None:
        if prompt is not None and "{problem}" not in prompt:
            raise ValueError("it lacks {problem}, which stands for the problem's last turn")
        return prompt


class LoraConfig(Section):
    """Train low-rank adapters of a frozen model. Any key of this section switches them on; engines
    and checkpoints get the merged model all the same."""

    rank: int = Field(default=16, gt=0)
    """r: columns of an adapter's two matrices."""

    alpha: int = Field(default=32, gt=0)
    """What the adapter adds is multiplied by ``alpha / rank``."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of an adapter's inputs that is left out while training."""

    targets: tuple[str, ...] | None = Field(default=None, strict=False)
    """Last names of the linear layers that get an adapter, such as ``q_proj``. None: all but the
    output head."""


class LearnerConfig(Section):
    world_size: int = Field(default=1, gt=0)
    """Learner processes, one per device, that share the optimizer step."""

    zero_stage: Literal[0, 1, 2, 3] = 1
    """What DeepSpeed shards over them: nothing, optimizer, gradients, weights."""

    offload_optimizer: bool = False
    """Keep the optimizer's two moments, and step, in host memory: 8 bytes a parameter less on the
    device. Needs ``zero_stage`` 1 or more."""

    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Compute type. Gradients are accumulated in float32 either way. ``auto``: as of
    ``engine.dtype``, and bfloat16 where ``weights`` are."""

    weights: Literal["float32", "bfloat16"] = "float32"
    """Type of the weights that compute: ``bfloat16`` halves them and keeps a float32 master in the
    optimizer, which starts from the rounded weights. Needs ``zero_stage`` 1 or more and ``dtype``
    bfloat16."""

    micro_batch_tokens: int = Field(default=4096, gt=0)
    """Positions of one pack, which is one forward pass. A longer rollout gets a pack of its own."""

    packing: bool = True
    """Several rollouts in one forward pass, one behind the other. Off: one at a time, for models
    whose attention cannot be told who sees whom."""

    share_prompts: bool = True
    """Compute a prompt once for all of its rollouts that stand in the same pack."""

    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a quarter more time."""

    normalizer: Literal["global_tokens", "batch_max_len", "constant", "sequence_mean"] | None = None
    """What the sum of token losses is divided by: docs/methods.md. None: as the objective was
    published, ``global_tokens`` for ``sft``."""

    objective: str = "sft"
    """What is minimised: ``sft``, ``grpo``, another of docs/methods.md, or your own
    ``module:OBJECTIVE`` (docs/extending.md)."""

    objective_settings: dict[str, Setting] = Field(default={})
    """Its numbers, such as ``entropy_bonus`` of ``sft``."""

    teacher: TeacherConfig = TeacherConfig()

    rollback_after: int = Field(default=3, gt=0)
    """Optimizer steps in a row with a loss or gradient that is not finite, after which the learner
    goes back to the newest checkpoint. Each of them is skipped; twice is the end of the run."""

    deterministic: bool = True
    """Ask torch for kernels that give the same bits every time."""

    lora: LoraConfig | None = None
    """None: all weights are trained. ``{}``: adapters with the defaults below."""

    optimizer: OptimizerConfig = OptimizerConfig()


class JudgeConfig(Section):
    part: Literal["after_think", "last_box", "whole"] = "after_think"
    """What of a response is judged: what follows the last ``</think>``, only the last box in it, or
    all of it. A response that is still thinking has no answer."""

    strictness: Literal["strict", "normal", "lenient"] = "normal"
    """How equal an answer must be: docs/verifiers.md."""

    guards: tuple[Literal["copied", "many_boxes", "answer_list"], ...] = Field(
        default=("answer_list",), strict=False
    )
    """Right answers that are refused all the same, each under its own reason: docs/verifiers.md."""

    actors: int = Field(default=1, gt=0)
    """Judge actors, spread over the nodes, each with its own processes."""

    workers: int = Field(default=1, gt=0)
    """Judge processes of one actor."""

    queue_size: int = Field(default=4096, gt=0)
    """Responses that may wait for a judge process; beyond that whoever asks waits."""

    timeout_s: float = Field(default=5.0, gt=0)
    """Wall clock for one verdict; then the process is killed and the verdict is ``timeout``."""

    memory_mib: int = Field(default=1024, gt=0)
    """Memory limit of one judge process."""

    recycle_after: int = Field(default=5000, gt=0)
    """Verdicts after which a judge process is replaced."""

    code_cpu_s: float = Field(default=4.0, gt=0)
    """CPU seconds of one program that a response wrote; ``timeout_s`` still bounds the verdict."""

    code_memory_mib: int = Field(default=256, gt=0)
    """Memory limit of such a program."""

    audit_share: float = Field(default=0.01, ge=0, le=1)
    """Share of the verdicts that is kept, with texts, in ``verdicts.jsonl``, for a person."""

    audit_verifier: str | None = None
    """Second judge of that share, to see where two judges disagree. It decides nothing."""


class EvalConfig(Section):
    problems: int = Field(default=200, gt=0)
    """Held-out problems asked, the first of the file."""

    samples: int = Field(default=1, gt=0)
    """Responses per problem."""

    max_tokens: int | None = Field(default=None, gt=0)
    """Own limit, so that the model before training can finish. None: what the context leaves."""

    temperature: float = Field(default=1.0, ge=0)
    """0 takes the likeliest token."""

    top_p: float = Field(default=1.0, gt=0, le=1)
    """Share of the probability that may be sampled."""

    every: int = Field(default=0, ge=0)
    """Optimizer steps between evaluations on the way. 0: only before and after the run."""

    prompt: str | None = None
    """What a problem's last turn becomes, such as ``{problem} Be brief.``; ``laconic eval`` only.
    None: it stays."""

    decode: DecodeConfig | None = None
    """Methods that change the decoding and not the model; ``laconic eval`` only. None: none."""

    @field_validator("prompt")
    @classmethod
    def _asks_the_problem(cls, prompt: str | None) -> str | None:
        if prompt is not None and "{problem}" not in prompt:
            raise ValueError("it lacks {problem}, which stands for the problem's last turn")
        return prompt


class CheckpointConfig(Section):
    every: int = Field(default=10, gt=0)
    """Optimizer steps between checkpoints. The last step is always kept."""

    keep: int = Field(default=2, ge=2)
    """Checkpoints kept; older ones go once a newer one is whole."""

    keep_every: int | None = Field(default=None, gt=0)
    """Keep those of every so many steps for good as well."""

    max_gib: float | None = Field(default=None, gt=0)
    """Room for all checkpoints together: of those kept for good the oldest go first. The newest
    ``keep`` stay in any case."""

    background: bool = True
    """Write a checkpoint while training goes on, from a copy in the host's memory."""


class MirrorConfig(Section):
    url: str | None = None
    """Where every checkpoint, and what the run has written by then, is copied to as well, into a
    folder of the run's name: ``s3://bucket/folder``, ``file:///folder``, whatever fsspec knows.
    Credentials and endpoint are in the environment, never here. None: nowhere."""

    timeout_s: float = Field(default=1800.0, gt=0)
    """Longest that one copy may take. Training never waits for it, only the end of the run does."""


class RecorderConfig(Section):
    seal_s: float = Field(default=2.0, gt=0)
    """Seconds after which buffered rows become a file."""

    seal_rows: int = Field(default=2000, gt=0)
    """Rows after which they do so at once."""

    text: Literal["all", "none"] = "all"
    """Keep the text of every rollout, rejected ones included."""

    tokens_share: float = Field(default=0.02, ge=0, le=1)
    """Share of the rollouts of which every token is kept, with its log-probability."""


class DashboardConfig(Section):
    enabled: bool | None = None
    """Show the run on a page while it trains, in a process of its own that nothing waits for. None:
    where Ray is private to the run, so neither in a Ray job nor on a cluster that it joined."""

    host: str = "127.0.0.1"
    """Address that the page listens on. Any other than this machine's own needs a token, which the
    page makes: docs/dashboard.md."""

    port: int | None = Field(default=None, gt=0, lt=65536)
    """Its port. None: 8421, or the next free one."""


class WandbConfig(Section):
    mode: Literal["online", "offline", "disabled"] = "disabled"
    """``offline`` writes into the run directory, to be synchronised later."""
    project: str = "laconic"
    """Project that the run appears in."""
    group: str | None = None
    """Name that runs of one experiment share."""


class ClusterConfig(Section):
    address: str | None = None
    """Ray to join: ``local`` starts a private one, ``auto`` joins the one that runs. None: ``auto``
    inside a Ray job, else ``local``."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where engines and learner run. ``auto``: GPUs when torch sees one."""

    placement: Literal["separate", "shared"] = "separate"
    """``separate``: engines and learner ranks have GPUs of their own. ``shared``: engine *i* and
    rank *i* are on one GPU at the same time, each with its part of the memory."""

    engine_accelerator: str | None = None
    """GPUs that engines may use, by Ray's name such as ``H100``. None: any."""

    learner_accelerator: str | None = None
    """GPUs that the learner may use. None: any."""

    resources_timeout_s: float = Field(default=600.0, ge=0)
    """Longest wait for a cluster to have what the plan needs; a line every 30 s says what is there
    and what is missing. 0: it is refused at once. A private Ray never waits: it cannot grow."""

    threads: int = Field(default=1, gt=0)
    """CPU threads of each engine and each learner process when the device is a CPU."""

    pin_cores: bool = False
    """On a CPU: give every engine and every learner rank cores of its own."""

    engine_restarts: int = Field(default=3, ge=0)
    """Engines that are replaced after they died or hung, over the whole run; the next one that does
    is only missed, and the last one ends the run."""

    engine_timeout_s: float = Field(default=60.0, gt=0)
    """Longest silence of an engine before it counts as hung."""

    learner_restarts: int = Field(default=3, ge=0)
    """Times that the learner, all its ranks, starts again from the newest checkpoint after it died,
    over the whole run."""

    part_restarts: int = Field(default=3, ge=0)
    """Times that each judge, the queue and the recorder start again after they died."""

    part_timeout_s: float = Field(default=60.0, gt=0)
    """Longest silence of one of those before it counts as hung."""

    problem_attempts: int = Field(default=4, gt=0)
    """Times that a ticket is tried, when an engine dies of it or it cannot be judged, before it is
    a dead letter: left out, and named in the report."""

    max_dead_letters: int = Field(default=16, ge=0)
    """Dead letters that a run puts up with; one more ends it."""

    batch_patience: int = Field(default=32, gt=0)
    """Times that one optimizer step takes a further ``batch.problems`` groups because too little of
    the others was accepted; then the run ends and says why it was rejected."""

    stall_timeout_s: float = Field(default=900.0, gt=0)
    """After so long without a token, a settled group or a step, what every process does is written
    to the run's folder."""

    grace_s: float = Field(default=25.0, gt=0)
    """After a first SIGTERM: the step under way may be finished and committed in this time, else
    the run ends with what was committed before."""

    learner_port: int | None = Field(default=None, gt=0, lt=65536)
    """Port at which the learner ranks meet, for networks that open only some. None: a free one."""

    start_timeout_s: float = Field(default=600.0, gt=0)
    """Longest wait for engines, learner and judges to come up."""

    wait_timeout_s: float = Field(default=1800.0, gt=0)
    """Longest wait for anything while the run goes on; then it stops and says for what."""


class RunConfig(Section):
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    """Folder under ``runs_dir``. None: the preset's name and the time."""

    runs_dir: str = "runs"
    """Where runs live. Relative to the current folder; inside a Ray job, to ``~/laconic``."""

    seed: int = Field(default=0, ge=0)
    """Of the order of the problems, of the engines and of the learner."""

    steps: int = Field(default=100, gt=0)
    """Optimizer steps of the whole run."""

    max_lag: int = Field(default=1, ge=0)
    """Optimizer steps by which a trained token may be older than the learner. 0 is exact: nothing
    is written while the learner steps."""

    sync_every: int = Field(default=1, gt=0)
    """Optimizer steps between publications of the weights."""

    debug: bool = False
    """Assert every count after every step."""

    model: ModelConfig
    data: DataConfig
    filter: FilterConfig
    sampling: SamplingConfig = SamplingConfig()
    curriculum: CurriculumConfig = CurriculumConfig()
    budget: BudgetConfig = BudgetConfig()
    economy: EconomyConfig = EconomyConfig()
    batch: BatchConfig = BatchConfig()
    engine: EngineConfig = EngineConfig()
    learner: LearnerConfig = LearnerConfig()
    sync: SyncConfig = SyncConfig()
    judge: JudgeConfig = JudgeConfig()
    eval: EvalConfig = EvalConfig()
    guardrail: GuardrailConfig = GuardrailConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    mirror: MirrorConfig = MirrorConfig()
    recorder: RecorderConfig = RecorderConfig()
    dashboard: DashboardConfig = DashboardConfig()
    wandb: WandbConfig = WandbConfig()
    cluster: ClusterConfig = ClusterConfig()

    @property
    def group_size(self) -> int:
        """Rollouts that a ticket asks for. One given response is a group of its own."""
        return 1 if self.data.responses == "instead" else self.sampling.group_size

    @property
    def max_response_tokens(self) -> int:
        return self.sampling.max_tokens or self.filter.length_budget

    @model_validator(mode="after")
    def _no_contradictions(self) -> "RunConfig":
        if self.max_response_tokens < self.filter.length_budget:
            raise ValueError(
                f"sampling.max_tokens {self.sampling.max_tokens} is below filter.length_budget "
                f"{self.filter.length_budget}: answers between the two could never finish. "
                "Leave sampling.max_tokens out"
            )
        if self.sync_every > self.max_lag + 1:
            raise ValueError(
                f"sync_every {self.sync_every} needs max_lag of at least {self.sync_every - 1}, "
                f"got {self.max_lag}: the learner would wait for rollouts that no engine may "
                "write. Raise max_lag or lower sync_every"
            )
        if self.learner.offload_optimizer and self.learner.zero_stage == 0:
            raise ValueError(
                "learner.offload_optimizer=true needs learner.zero_stage of at least 1, got 0: "
                "there the optimizer is not DeepSpeed's to move. Raise learner.zero_stage"
            )
        if self.learner.weights == "bfloat16" and self.learner.zero_stage == 0:
            raise ValueError(
                "learner.weights=bfloat16 needs learner.zero_stage of at least 1, got 0: there "
                "nothing keeps a float32 master. Raise learner.zero_stage"
            )
        if self.learner.weights == "bfloat16" and self.learner.dtype == "float32":
            raise ValueError(
                "learner.weights=bfloat16 cannot compute in learner.dtype=float32. "
                "Set learner.dtype=bfloat16 or learner.weights=float32"
            )
        self._economy_fits()
        self._engines_fit()
        self._guardrail_fits()
        room = self.engine.max_model_len - self.data.max_prompt_tokens
        if self.max_response_tokens > room:
            raise ValueError(
                f"engine.max_model_len {self.engine.max_model_len} leaves {room} tokens after "
                f"data.max_prompt_tokens {self.data.max_prompt_tokens}, but a response may use "
                f"{self.max_response_tokens}. Raise engine.max_model_len"
            )
        if self.data.heldout is not None and (self.eval.max_tokens or 0) > room:
            raise ValueError(
                f"eval.max_tokens {self.eval.max_tokens} does not fit beside a prompt of "
                f"{self.data.max_prompt_tokens} in engine.max_model_len "
                f"{self.engine.max_model_len}. Raise engine.max_model_len"
            )
        return self

    def _engines_fit(self) -> None:
        engine, ranks = self.engine, self.learner.world_size
        low, high = engine.min_engines, engine.max_engines
        if low is not None and low > engine.num_engines:
            raise ValueError(
                f"engine.min_engines {low} is above engine.num_engines {engine.num_engines}. "
                "Lower it, or raise engine.num_engines"
            )
        if high is not None and high < engine.num_engines:
            raise ValueError(
                f"engine.max_engines {high} is below engine.num_engines {engine.num_engines}. "
                "Raise it, or lower engine.num_engines"
            )
        if self.cluster.placement == "separate":
            return
        if engine.tensor_parallel > 1 or max(engine.num_engines, high or 0) > ranks:
            raise ValueError(
                f"cluster.placement=shared puts engine i on the GPU of learner rank i: it needs "
                f"engine.tensor_parallel=1 and at most learner.world_size={ranks} engines. Change "
                "these, or set cluster.placement=separate"
            )
        accelerators = {self.cluster.engine_accelerator, self.cluster.learner_accelerator} - {None}
        if len(accelerators) > 1:
            raise ValueError(
                "cluster.placement=shared puts engine and learner on one GPU: "
                "cluster.engine_accelerator and cluster.learner_accelerator cannot differ. "
                "Leave one of them out"
            )
        if engine.gpu_memory_utilization > 0.7:
            raise ValueError(
                f"cluster.placement=shared and engine.gpu_memory_utilization "
                f"{engine.gpu_memory_utilization} leave the learner too little of its GPU. Lower "
                "engine.gpu_memory_utilization to 0.7 or less"
            )

    def _guardrail_fits(self) -> None:
        guardrail = self.guardrail
        if not guardrail.every:
            return
        if self.data.heldout is None:
            raise ValueError(
                f"guardrail.every {guardrail.every} needs problems to look at: set data.heldout, "
                "or guardrail.every=0"
            )
        if guardrail.every % self.sync_every:
            raise ValueError(
                f"guardrail.every {guardrail.every} is no multiple of sync_every "
                f"{self.sync_every}: only versions that are published can be looked at. Change one"
            )
        if guardrail.action == "pause" and self.budget.kind == "fixed":
            raise ValueError(
                "guardrail.action=pause has nothing to pause: budget.kind is fixed. Take rollback "
                "or stop, or let the budget shrink (budget.kind)"
            )

    def _economy_fits(self) -> None:
        if self.budget.end is not None and self.budget.end > self.filter.length_budget:
            raise ValueError(
                f"budget.end {self.budget.end} is above filter.length_budget "
                f"{self.filter.length_budget}, where a schedule begins. Lower budget.end"
            )
        economy, curriculum = self.economy, self.curriculum
        savings = (economy.probe, economy.doomed, economy.stop_after, curriculum.group_sizes)
        if self.data.responses == "instead" and (any(savings) or self.data.templates):
            raise ValueError(
                "data.responses=instead generates nothing: leave economy, curriculum.group_sizes "
                "and data.templates out"
            )
        if self.data.paraphrase is not None and self.data.responses != "beside":
            raise ValueError(
                "data.paraphrase needs data.responses=beside: the policy says a given response in "
                "its own words"
            )
        smallest = curriculum.group_sizes[0] if curriculum.group_sizes else self.group_size
        if economy.probe is not None and economy.probe >= smallest:
            raise ValueError(
                f"economy.probe {economy.probe} leaves nothing to save of groups of {smallest}. "
                "Lower it, or raise sampling.group_size"
            )
        if economy.reweight and economy.stop_after is not None:
            raise ValueError(
                "economy.reweight cannot undo economy.stop_after: nobody knows how likely a "
                "cancelled rollout was. Set one of them"
            )
        if economy.reweight and 0 in (
            economy.probe_continue if economy.probe else 1,
            economy.doomed_continue if economy.doomed else 1,
        ):
            raise ValueError(
                "economy.reweight needs economy.probe_continue and economy.doomed_continue above 0"
            )
