"""What ``test_learner`` runs in the processes of a learner group, and measures there.

Starting processes is the slow part, so each rank works through every case, those of
``learner_variants`` included.
"""

import asyncio
import json
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from configs import failpoints
from configs.errors import UserError
from configs.load import validate
from configs.schema import RunConfig
from learner import checkpoint as checkpoint_module
from learner import saver
from learner.examples import count, supervise
from learner.loss import StepLoss, denominator
from learner.pack import build, plan
from learner.policy import SFT, Policy, accumulate, load_policy, packing_of
from learner.publish import fingerprint_of, gather, gather_bucket
from learner.trainer import LearnerRank, StepMetrics
from learner.work import MicroBatch
from verifiers.types import Lease, Rollout

STAGES = ("0", "1", "2", "3", "1 offloaded", "2 offloaded", "3 offloaded")
SAVING_STAGES = ("0", "2 offloaded", "3")
"""Where a save fails, or a load is refused."""
RESPONSES = (1, 12, 2, 7, 1, 12, 3, 5)
LR, BETAS, CLIP, WARMUP, DECAY = 1e-3, (0.9, 0.95), 0.5, 4, 0.1

LAYOUTS = {
    # name: (rollouts of the step, tokens of a micro-batch)
    "one rollout per micro-batch": (8, 16),
    "one micro-batch per rank": (8, 4096),
    "ranks with unequal work": (7, 64),
    "a rank without tokens": (1, 16),
}


def rollouts(seed: int, number: int) -> list[Rollout]:
    generator = torch.Generator().manual_seed(seed)

    def tokens(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 259, (length,), generator=generator).tolist())

    prompts = [tokens(3 + 4 * index) for index in range(len(RESPONSES) // 2)]
    return [
        Rollout(
            id=f"000000.0.{index}",
            prompt_ids=prompts[index // 2],
            response_ids=(*tokens(RESPONSES[index] - 1), 2),
            first_version=0,
            last_version=0,
        )
        for index in range(number)
    ]


class Gate:
    """In place of the writer's failpoint: nothing is written before it opens."""

    def __init__(self) -> None:
        self._open = threading.Event()

    def __enter__(self) -> "Gate":
        self._patch = mock.patch.object(saver, "failpoint", lambda _: self._open.wait(60))
        self._patch.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._patch.stop()

    def open(self) -> None:
        self._open.set()


class Queue:
    """Each step has its own rollouts; step 100 has none and step 201 has fewer."""

    async def payload(self, step: int, epoch: int) -> list[Rollout]:
        return rollouts(step, {100: 0, 201: 5}.get(step, 8))


def configuration(
    world_size: int, stage: str, sync: dict[str, Any] | None = None, **learner: Any
) -> RunConfig:
    optimizer = {
        "lr": LR,
        "betas": BETAS,
        "clip": CLIP,
        "warmup_steps": WARMUP,
        "weight_decay": DECAY,
    }
    values = {
        "world_size": world_size,
        **sharding(stage),
        "dtype": "float32",
        "micro_batch_tokens": 32,
        "optimizer": optimizer,
    }
    return validate(
        {
            "model": {"path": "made"},
            "data": {"train": "made"},
            "filter": {"length_budget": 12},
            "engine": {"dtype": "bfloat16"},
            "learner": values | learner,
            "cluster": {"wait_timeout_s": 60.0},
            "sync": sync or {"delta": False},
        }
    )


def sharding(stage: str) -> dict[str, Any]:
    """``sharding("2 offloaded")``: the settings that it stands for."""
    return {"zero_stage": int(stage[0]), "offload_optimizer": stage.endswith("offloaded")}


def lease(step: int) -> Lease:
    return Lease(
        step=step,
        epoch=0,
        is_ready=True,
        first_ticket=0,
        end_ticket=1,
        num_rollouts=8,
        num_tokens=43,
        num_stale=0,
        max_lag=0,
        num_written=8,
        written_tokens=43,
        reasons={},
    )


def summed_nll(model: Callable[..., Any], batch: list[Rollout]) -> Tensor:
    """One rollout at a time: no padding, no packing, nothing to get wrong."""
    total = torch.zeros((), dtype=torch.float64)
    for rollout in batch:
        ids = torch.tensor([rollout.prompt_ids + rollout.response_ids])
        log_probabilities = torch.log_softmax(model(input_ids=ids).logits[0].double(), dim=-1)
        for position in range(len(rollout.prompt_ids), ids.shape[1]):
            total = total - log_probabilities[position - 1, ids[0, position]]
    return total


def reference_model(folder: str) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)


def flat(weights: dict[str, Tensor]) -> Tensor:
    return torch.cat([weights[name].double().flatten() for name in sorted(weights)])


def named(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def relative(ours: Tensor, exact: Tensor) -> float:
    return ((ours - exact).norm() / exact.norm()).item()


def state_of(checkpoint: Path) -> dict[str, Tensor]:
    """All that ``learner/state-*`` holds."""
    files = sorted((checkpoint / "learner").glob("state-*.safetensors"))
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def model_of(checkpoint: Path) -> dict[str, Tensor]:
    files = sorted((checkpoint / "model").glob("*.safetensors"))
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def differing(first: Path, second: Path) -> list[str]:
    """Names of tensors that two checkpoints do not hold to the bit, the sign of zero included."""

    def bits(state: dict[str, Tensor]) -> dict[str, tuple[Any, bytes]]:
        return {n: (t.shape, t.contiguous().numpy().tobytes()) for n, t in state.items()}

    result = []
    for read in (state_of, model_of):
        ours, theirs = bits(read(first)), bits(read(second))
        result += [n for n in ours.keys() | theirs.keys() if ours.get(n) != theirs.get(n)]
    return result


def mirrored(stage: str) -> str:
    """Another stage, for checkpoints that go from one to the other."""
    return STAGES[-1 - STAGES.index(stage)]


class Cases:
    """The cases of one rank; ``results`` holds plain numbers for the test to judge."""

    def __init__(self, rank: int, world_size: int, folder: Path, other: Path | None = None) -> None:
        """``other``: of a group of another size that has worked through its cases."""
        self.rank, self.world_size, self.folder = rank, world_size, folder
        self.other = other
        self.num_started = 0
        self.results: dict[str, Any] = {}
        self.model_dir = str(folder / "model")

    async def started(self, stage: str, **settings: Any) -> LearnerRank:
        config = configuration(self.world_size, stage, **settings)
        learner = LearnerRank(self.rank, config, Queue(), self.model_dir)
        await learner.start(await self.meeting_point(learner), "cpu", 10)
        return learner

    async def meeting_point(self, learner: LearnerRank) -> tuple[str, int]:
        self.num_started += 1
        file = self.folder / f"address-{self.num_started}"
        if self.rank == 0:
            written = file.with_suffix(".tmp")
            written.write_text(json.dumps(await learner.address()))
            written.rename(file)
        deadline = time.monotonic() + 60
        while not file.exists():
            assert time.monotonic() < deadline, f"rank 0 never wrote {file}"
            await asyncio.sleep(0.05)
        host, port = json.loads(file.read_text())
        return host, port

    async def run(self) -> None:
        for stage in STAGES:
            learner = await self.started(stage)
            self.results[f"gradients {stage}"] = self.gradients(stage)
            self.results[f"trap {stage}"] = self.canary_in_a_trap(stage)
            self.results[f"first fingerprint {stage}"] = await self.first_fingerprint(learner)
            await self.keep(learner, self.folder / f"start-{stage}")
            self.results[f"run {stage}"] = await self.two_steps_among_bad_ones(stage, learner)
            await learner.close()
            learner = await self.started(stage)
            self.results[f"carried {stage}"] = await self.carried_between_stages(stage, learner)
            self.results[f"resumed {stage}"] = await self.resumed(stage, learner)
            if stage in SAVING_STAGES:
                self.results[f"full disk {stage}"] = await self.full_disk(stage, learner)
                self.results[f"refused {stage}"] = await self.refused(learner)
                self.results[f"signs {stage}"] = self.signs(learner)
            self.results[f"torn apart {stage}"] = await self.different_payloads(learner)
            await learner.close()
        self.results["old version"] = self.old_version()

    def gradients(self, stage: str) -> dict[str, float]:
        """SGD with rate 1: the weights move by the gradient. AdamW would hide a wrong scale."""
        plain = {
            f"float32, {layout}": self.gradient_error(stage, *LAYOUTS[layout]) for layout in LAYOUTS
        }
        recomputed = self.gradient_error(stage, 8, 64, activation_checkpointing=True)
        bf16 = self.gradient_error(stage, 8, 64, dtype="bfloat16", activation_checkpointing=True)
        return plain | {"float32, recomputed": recomputed, "bfloat16, recomputed": bf16}

    def gradient_error(
        self,
        stage: str,
        number: int,
        tokens: int,
        add_up: Callable[..., Any] = accumulate,
        **learner: Any,
    ) -> float:
        from learner.deepspeed_engine import Engine  # noqa: PLC0415 - after DS_ACCELERATOR is set

        batch = rollouts(7, number)
        config = configuration(self.world_size, stage, micro_batch_tokens=tokens, **learner)
        model = load_policy(self.model_dir, config)
        module = Policy(model, getattr(torch, config.learner.dtype))
        sgd = torch.optim.SGD(model.parameters(), lr=1.0)
        engine = Engine(module, sgd, clip=0.0, weights=config.learner.weights, **sharding(stage))
        before = gather(engine, model, torch.float32)
        slots = plan(batch, self.world_size, packing_of(config, model))[self.rank]
        supervised = supervise(batch, SFT, "global_tokens", "")
        divisor = denominator("global_tokens", count(supervised, "all"), 12)
        loss = StepLoss(objective=SFT, divisors={"all": divisor})
        add_up(engine, [MicroBatch(pack=build(batch, supervised, slot)) for slot in slots], loss)
        engine.step()
        after = gather(engine, model, torch.float32)
        engine.destroy()
        if self.rank > 0:
            return 0.0
        exact = reference_model(self.model_dir)
        (summed_nll(exact, batch) / divisor).backward()
        gradient = {name: weight.grad for name, weight in exact.named_parameters()}
        return relative(flat(before) - flat(after), flat(gradient))  # pyright: ignore

    def canary_in_a_trap(self, stage: str) -> str:
        """The call pattern of METHODS D8's trap: no boundary before the backward passes."""
        from learner import canary, deepspeed_engine  # noqa: PLC0415 - after DS_ACCELERATOR is set

        def backward(engine: Any, loss: Tensor, *, last: bool) -> None:
            engine._engine.backward(loss * self.world_size, scale_wrt_gas=False)

        with mock.patch.object(deepspeed_engine.Engine, "backward", backward):
            try:
                canary.require_all_delivered(**sharding(stage))
            except RuntimeError as error:
                return str(error)
        return ""

    async def first_fingerprint(self, learner: LearnerRank) -> dict[str, Any]:
        published = await learner.publish(str(self.folder / "first"), 0)
        weights = load_file(published.files[-1].path)
        source = load_file(f"{self.model_dir}/model.safetensors")
        cast = {name: weight.bfloat16() for name, weight in source.items()}
        return {
            "claimed": published.fingerprint,
            "of the file": fingerprint_of(weights),
            "of the source": fingerprint_of(cast),
            "tensors": published.num_tensors,
            "bytes": published.num_bytes,
            "names": sorted(weights),
        }

    async def two_steps_among_bad_ones(self, stage: str, learner: LearnerRank) -> dict[str, Any]:
        """Bad steps between the two good ones must leave no trace at all."""
        checkpoint, weights = self.folder / f"checkpoint-{stage}", self.folder / f"weights-{stage}"
        first = await learner.step(lease(0))
        before = await self.weights_hash(learner)
        bad = [await self.spoilt(learner, lambda loss: loss * math.nan)]
        bad += [await self.spoilt(learner, self.with_infinite_gradient)]
        bad += [await learner.step(lease(100))]
        untouched = await self.weights_hash(learner) == before
        await self.keep(learner, checkpoint)
        second = await learner.step(lease(1))
        versions = [await learner.publish(str(weights), version) for version in (1, 2, 3)]
        result = {
            "skipped": [metrics.skipped for metrics in (first, *bad, second)],
            "losses": [first.loss, second.loss],
            "first hash": before,
            "rates": [first.lr, second.lr],
            "norm": first.grad_norm,
            "num_tokens": first.num_tokens,
            "untouched": untouched,
            "hash": await self.weights_hash(learner),
            "files": sorted(file.name for file in weights.iterdir()),
            "fingerprints": [
                versions[-1].fingerprint,
                fingerprint_of(load_file(versions[-1].files[-1].path)),
            ],
            "refused": await self.publish_of_nan(learner, weights),
        }
        return result | self.compared(learner, first, second, checkpoint)

    async def spoilt(self, learner: LearnerRank, spoil: Callable[[Tensor], Tensor]) -> StepMetrics:
        """One step in which the last rank alone computes nonsense in its first micro-batch."""
        calls = iter([self.rank == self.world_size - 1])

        def hook(_module: Any, _inputs: Any, output: Any) -> Any:
            loss, measures = output
            return (spoil(loss), measures) if next(calls, False) else output

        handle = learner._model.lm_head.register_forward_hook(hook)
        metrics = await learner.step(lease(50))
        handle.remove()
        return metrics

    @staticmethod
    def with_infinite_gradient(loss: Tensor) -> Tensor:
        loss.register_hook(lambda gradient: gradient * math.inf)
        return loss

    async def weights_hash(self, learner: LearnerRank) -> str:
        weights = gather(learner._engine, learner._model, torch.float32)
        self.weights = weights or getattr(self, "weights", {})
        return fingerprint_of(weights)

    async def publish_of_nan(self, learner: LearnerRank, weights: Path) -> bool:
        def spoilt(*arguments: Any) -> dict[str, Tensor]:
            gathered = gather_bucket(*arguments)
            if "model.norm.weight" in gathered:
                gathered["model.norm.weight"][-1] = math.nan
            return gathered

        with mock.patch("learner.publisher.gather_bucket", spoilt):
            try:
                await learner.publish(str(weights), 4)
            except FloatingPointError:
                return not (weights / "v000004.safetensors").exists()
        return False

    def compared(
        self, learner: LearnerRank, first: StepMetrics, second: StepMetrics, checkpoint: Path
    ) -> dict[str, Any]:
        """Against the same two steps of plain torch in float64, without any of our parts."""
        if self.rank > 0:
            return {}
        model = reference_model(self.model_dir)
        start = flat(named(model))
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=LR, betas=BETAS, eps=1e-8, weight_decay=DECAY
        )
        losses, norms = [], []
        for step in (0, 1):
            optimizer.param_groups[0]["lr"] = LR * (step + 1) / WARMUP
            optimizer.zero_grad()
            batch = rollouts(step, 8)
            loss = summed_nll(model, batch) / sum(RESPONSES)
            loss.backward()
            norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP).item())
            losses.append(loss.item())
            optimizer.step()
            if step == 0:
                self.results["saved weights"] = self.saved_folder(checkpoint / "model", model)
        moved, exact = flat(self.weights) - start, flat(named(model)) - start
        return {
            "loss errors": [abs(first.loss / losses[0] - 1), abs(second.loss / losses[1] - 1)],
            "norm errors": [abs(first.grad_norm / norms[0] - 1)],
            "clipped": min(norms) > CLIP,
            "weights error": relative(flat(self.weights), flat(named(model))),
            "movement error": relative(moved, exact),
        }

    def saved_folder(self, folder: Path, exact: PreTrainedModel) -> dict[str, Any]:
        """Loaded the way anybody would."""
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
        tokenizer = AutoTokenizer.from_pretrained(folder)
        return {
            "dtype": str(model.dtype),
            "error": relative(flat(named(model)), flat(named(exact))),
            "tied": model.lm_head.weight is model.model.embed_tokens.weight,
            "decoded": tokenizer.decode(tokenizer("17 + 4")["input_ids"]),
        }

    async def keep(self, learner: LearnerRank, folder: Path) -> None:
        """Returns when all ranks' files are there."""
        await self.save(learner, folder)
        await learner.saved()
        torch.distributed.barrier()

    async def save(self, learner: LearnerRank, folder: Path) -> None:
        if self.rank == 0:
            folder.mkdir()
        torch.distributed.barrier()
        await learner.save(str(folder))

    async def carried(self, learner: LearnerRank, source: Path, name: str) -> list[str]:
        """Loaded and saved again: what has other bits then."""
        await learner.load(str(source))
        await self.keep(learner, self.folder / f"carried-{name}")
        return differing(source, self.folder / f"carried-{name}")

    async def carried_between_stages(self, stage: str, learner: LearnerRank) -> dict[str, Any]:
        """From the stage before, and of a group of another size from yet another stage."""
        before = STAGES[max(0, STAGES.index(stage) - 1)]
        result: dict[str, Any] = {
            "differing": await self.carried(learner, self.folder / f"checkpoint-{before}", stage)
        }
        if self.other is None:
            return result
        source = self.other / f"checkpoint-{mirrored(stage)}"
        with mock.patch.object(checkpoint_module.logger, "info") as said:
            result["differing"] += await self.carried(learner, source, f"{stage}-other")
        result["seeded"] = [call.args[0] % call.args[1:] for call in said.call_args_list]
        result["loss"] = (await learner.step(lease(1))).loss
        return result

    async def resumed(self, stage: str, learner: LearnerRank) -> dict[str, Any]:
        """A fresh process group and engine, from the checkpoint between the two good steps, and
        then from the one before any step."""
        await learner.load(str(self.folder / f"checkpoint-{stage}"))
        metrics = await learner.step(lease(1))
        result = {
            "hash": await self.weights_hash(learner),
            "loss": metrics.loss,
            "rate": metrics.lr,
        }
        await learner.load(str(self.folder / f"start-{stage}"))
        result["first loss"] = (await learner.step(lease(0))).loss
        result["first hash"] = await self.weights_hash(learner)
        return result

    async def full_disk(self, stage: str, learner: LearnerRank) -> dict[str, Any]:
        """The second file of every rank fails; the learner goes on and saves elsewhere."""
        spec = {failpoints.SPECS: "learner.saving=enospc@2"}
        with mock.patch.dict(os.environ, spec):
            failpoints._faults.cache_clear()
            await self.save(learner, self.folder / f"full-{stage}")
            try:
                await learner.saved()
                error = None
            except OSError as failure:
                error = failure.errno
        is_forgotten = await learner.saved() is None
        metrics = await learner.step(lease(1))
        retried = self.folder / f"retried-{stage}"
        await self.keep(learner, retried)
        return {
            "error": error,
            "forgotten": is_forgotten,
            "skipped": metrics.skipped,
            "differing": await self.carried(learner, retried, f"retried-{stage}"),
        }

    def signs(self, learner: LearnerRank) -> list[bool]:
        """Do zeros put in below zero come out below zero?"""
        shards, norm = learner._engine.shards, learner._model.model.norm.weight
        shards.restore(norm, "exp_avg", torch.full((64,), -0.0))
        wholes = shards.gather([norm], "exp_avg", self.world_size - 1, torch.device("cpu"))
        return [bool(torch.signbit(whole).all()) for whole in wholes]

    async def refused(self, learner: LearnerRank) -> dict[str, Any]:
        """What is no checkpoint of this model changes nothing."""
        old, other = self.folder / "old", self.folder / "other"
        if self.rank == 0:
            (old / "learner/state").mkdir(parents=True, exist_ok=True)
            (old / "learner/state/mp_rank_00_model_states.pt").write_bytes(b"a pickle")
            (other / "learner").mkdir(parents=True, exist_ok=True)
            state = state_of(self.folder / "checkpoint-0")
            state["master/a.b"] = state.pop("master/model.norm.weight")
            save_file(state, other / "learner/state-00000.safetensors")
        torch.distributed.barrier()
        before = await self.weights_hash(learner)
        messages = []
        for folder in (old, other):
            try:
                await learner.load(str(folder))
            except UserError as error:
                messages.append(str(error))
        return {"messages": messages, "untouched": await self.weights_hash(learner) == before}

    async def different_payloads(self, learner: LearnerRank) -> str:
        try:
            await learner.step(lease(200 + self.rank))
        except RuntimeError as error:
            return str(error)
        return ""

    @staticmethod
    def old_version() -> str:
        from learner import deepspeed_engine  # noqa: PLC0415 - after DS_ACCELERATOR is set

        deepspeed_engine.require_version("0.19.4")
        deepspeed_engine.require_version("0.20.0+cpu")
        try:
            deepspeed_engine.require_version("0.18.9")
        except ValueError as error:
            return str(error)
        return ""
