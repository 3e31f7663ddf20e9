"""More cases for the same processes: bfloat16 weights, LoRA, wrong sums, ways back.

Each rank writes one JSON file: ``python -m tests.integration.learner_variants run RANK WORLD_SIZE
FOLDER [FOLDER OF ANOTHER GROUP]``.
"""

import asyncio
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from learner import checkpoint
from learner.examples import supervise
from learner.loss import StepLoss
from learner.pack import build, plan
from learner.policy import SFT, Policy, accumulate, load_policy, packing_of
from learner.publish import gather
from learner.trainer import LearnerRank
from learner.work import MicroBatch
from tests.integration.learner_cases import (
    STAGES,
    Cases,
    Gate,
    configuration,
    flat,
    lease,
    mirrored,
    model_of,
    named,
    reference_model,
    relative,
    rollouts,
    sharding,
    summed_nll,
)
from verifiers.types import Rollout

MASTER_STAGES = STAGES[1:]
"""Where something keeps a float32 master of bfloat16 weights."""

NUM_UNITS = 512
WRONG_SUMS: tuple[str, ...] = ("mean of means", "per micro-step", "first and last")
SUM_STAGES = ("0", "2 offloaded", "3")
"""Enough for what is wrong in every stage; each costs seconds."""
BOUNDARY_STAGES = ("1", "2", "1 offloaded", "2 offloaded")
"""Where DeepSpeed needs to be told which micro-batch is the last."""

LORA_STAGES = ("0", "2", "3")
RELOAD_STAGES = ("0", "1 offloaded", "3")

LORA_LR = 1.0
LORA = {"lora": {"rank": 4, "alpha": 6}}
BF16 = {"weights": "bfloat16", "dtype": "bfloat16"}


class Variants(Cases):
    async def run(self) -> None:
        await super().run()
        for stage in STAGES:
            learner = await self.started(stage)
            self.results[f"wrong sums {stage}"] = self.wrong_sums(stage)
            self.results[f"way back {stage}"] = await self.there_and_back(learner, stage)
            await learner.close()
        for stage in MASTER_STAGES:
            learner = await self.started(stage, **BF16)
            if self.world_size == 1:
                self.results[f"units {stage}"] = self.units(stage)
            number = 8 if self.world_size == 1 else 1  # a rank without tokens
            self.results[f"bf16 gradient {stage}"] = self.gradient_error(
                stage, number, 16, dtype="bfloat16", weights="bfloat16"
            )
            self.results[f"bf16 way back {stage}"] = await self.there_and_back(
                learner, f"{stage}-bf16"
            )
            self.results[f"bf16 weights {stage}"] = await self.master_and_cast(learner, stage)
            if self.other is not None:
                source = (
                    self.other / f"way-back-{MASTER_STAGES[MASTER_STAGES.index(stage) - 1]}-bf16"
                )
                self.results[f"bf16 carried {stage}"] = await self.carried(
                    learner, source, f"{stage}-bf16"
                )
            await learner.close()
        for stage in LORA_STAGES:
            learner = await self.started(stage, **LORA)
            self.results[f"lora {stage}"] = await self.lora(learner, stage)
            self.results[f"lora way back {stage}"] = await self.there_and_back(
                learner, f"{stage}-lora"
            )
            await learner.close()
            learner = await self.started(stage, **LORA)
            await learner.load(str(self.folder / f"way-back-{stage}-lora"))
            self.results[f"lora resumed {stage}"] = await self.weights_hash(learner)
            if self.other is not None:
                source = self.other / f"way-back-{LORA_STAGES[LORA_STAGES.index(stage) - 1]}-lora"
                self.results[f"lora carried {stage}"] = await self.carried(
                    learner, source, f"{stage}-lora"
                )
            await learner.close()
        for dtype in ("float32", "bfloat16"):
            self.results[f"twice {dtype}"] = [await self.two_steps(dtype) for _ in range(2)]
        stage = "0" if self.world_size == 1 else "3 offloaded"
        self.results["losses"] = await self.losses(stage)

    def wrong_sums(self, stage: str) -> dict[str, float]:
        """The sharding test with each known fault of such trainers put in must not pass."""
        everywhere = (mean_of_means, global_per_micro_step, first_and_last)
        faults = dict(zip(WRONG_SUMS, everywhere, strict=True)) if stage in SUM_STAGES else {}
        if stage in BOUNDARY_STAGES:
            faults["no boundary"] = without_boundary
        return {name: self.gradient_error(stage, 8, 16, faults[name]) for name in faults}

    def units(self, stage: str) -> list[float]:
        """512 contributions of 1: in bfloat16 sums, 256 + 1 is 256."""
        from learner.canary import Rows  # noqa: PLC0415 - after DS_ACCELERATOR is set
        from learner.deepspeed_engine import Engine  # noqa: PLC0415

        module = Rows(1)
        sgd = torch.optim.SGD(module.parameters(), lr=1.0)
        engine = Engine(module, sgd, clip=0.0, weights="bfloat16", **sharding(stage))
        for position in range(1, NUM_UNITS + 1):
            engine.backward(engine(torch.ones(1)), last=position == NUM_UNITS)
        engine.step()
        with engine.gathered([module.weight_RC]):
            arrived = -engine.master(module.weight_RC)
        engine.destroy()
        return [arrived.min().item(), arrived.max().item()]

    async def there_and_back(self, learner: LearnerRank, name: str) -> dict[str, Any]:
        """Saved, one step further, bad steps, taken back, and the same step again."""
        folder = self.folder / f"way-back-{name}"
        await learner.step(lease(0))
        saved = await self.weights_hash(learner)
        with Gate() as gate:
            await self.save(learner, folder)
            is_empty = not any(folder.rglob("*.safetensors"))
            steps = await self.further(learner)
            gate.open()
            await learner.saved()
        torch.distributed.barrier()
        await learner.load(str(folder))
        back = await self.weights_hash(learner)
        again = (await learner.step(lease(1))).loss
        return steps | {
            "hashes": [saved, *steps["hashes"], back, await self.weights_hash(learner)],
            "losses": [*steps["losses"], again],
            "was copied": is_empty,
        }

    async def further(self, learner: LearnerRank) -> dict[str, Any]:
        """A good step and bad ones, while the files wait to be written."""
        loss = (await learner.step(lease(1))).loss
        further = await self.weights_hash(learner)
        bad = [await self.spoilt(learner, lambda logits: logits * math.nan)]
        bad += [await self.spoilt(learner, self.with_infinite_gradient)]
        bad += [await learner.step(lease(100))]
        stayed = await self.weights_hash(learner)
        return {
            "hashes": [further, stayed],
            "losses": [loss],
            "diverged": [metrics.diverged for metrics in bad],
            "skipped": [metrics.skipped for metrics in bad],
        }

    async def master_and_cast(self, learner: LearnerRank, stage: str) -> dict[str, Any]:
        folder = self.folder / f"master-{stage}"
        await self.keep(learner, folder)
        published = load_file((await learner.publish(str(self.folder / "bf16"), 1)).files[-1].path)
        saved = model_of(folder)
        return {
            "saved": sorted({str(weight.dtype) for weight in saved.values()}),
            "published": sorted({str(weight.dtype) for weight in published.values()}),
            "is cast": all(saved[name].bfloat16().equal(published[name]) for name in saved),
            "has more bits": not all(
                weight.bfloat16().float().equal(weight) for weight in saved.values()
            ),
        }

    async def lora(self, learner: LearnerRank, stage: str) -> dict[str, Any]:
        """One step of SGD, twice: here, and in plain torch in float64 from the same adapters."""
        published = await learner.publish(str(self.folder / f"lora-{stage}"), 0)
        kinds = {
            "plain": {},
            "recomputed, a rank without tokens": {"activation_checkpointing": True, "number": 1},
        }
        if stage in MASTER_STAGES:
            kinds["bfloat16 weights"] = BF16
        trained = [p for p in learner._model.parameters() if p.requires_grad]
        return {
            "fingerprint": published.fingerprint,
            "errors": {kind: self.lora_error(stage, **kinds[kind]) for kind in kinds},
            "num trained": sum(getattr(p, "ds_numel", p.numel()) for p in trained),
        }

    def lora_error(self, stage: str, number: int = 8, **settings: Any) -> dict[str, float]:
        from learner.deepspeed_engine import Engine  # noqa: PLC0415 - after DS_ACCELERATOR is set

        config = configuration(self.world_size, stage, **LORA, **settings)
        batch = rollouts(7, number)
        torch.manual_seed(1)
        model = load_policy(self.model_dir, config)
        with torch.no_grad():  # with a B of 0, A has no gradient
            for name, parameter in model.named_parameters():
                if ".lora_B." in name:
                    parameter.normal_(std=0.1)
        exact = PlainLora(reference_model(self.model_dir), named(model), scale=6.0 / 4)
        sgd = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=LORA_LR)
        engine = Engine(
            Policy(model, getattr(torch, config.learner.dtype)),
            sgd,
            clip=0.0,
            weights=config.learner.weights,
            **sharding(stage),
        )
        before = gather(engine, model, torch.float32)
        slots = plan(batch, self.world_size, packing_of(config, model))[self.rank]
        supervised = supervise(batch, SFT, "global_tokens", "")
        loss = StepLoss(objective=SFT, divisors={"all": num_tokens(batch)})
        packs = [MicroBatch(pack=build(batch, supervised, slot)) for slot in slots]
        accumulate(engine, packs, loss)
        engine.step()
        after = gather(engine, model, torch.float32)
        with engine.gathered(list(model.parameters())):
            as_peft = self.merged_by_peft(model) if config.learner.weights == "float32" else after
        engine.destroy()
        if self.rank > 0:
            return {}
        start = exact.merged()
        exact.step(batch, lr=LORA_LR)
        return {
            "start": relative(flat(before), flat(start)),
            "movement": relative(flat(after) - flat(before), flat(exact.merged()) - flat(start)),
            "differs from peft": sum(not after[name].equal(as_peft[name]) for name in after),
        }

    @staticmethod
    def merged_by_peft(model: PreTrainedModel) -> dict[str, Tensor]:
        from peft.tuners.lora import Linear  # noqa: PLC0415 - takes seconds

        weights = {name.replace(".base_layer", ""): p for name, p in named(model).items()}
        for name, layer in model.named_modules():
            if isinstance(layer, Linear):
                weights[f"{name}.weight"] = weights[f"{name}.weight"] + layer.get_delta_weight(
                    "default"
                )
        return weights

    async def two_steps(self, dtype: str) -> str:
        learner = await self.started("2", dtype=dtype)
        for step in (0, 1):
            await learner.step(lease(step))
        result = await self.weights_hash(learner)
        await learner.close()
        return result

    async def losses(self, stage: str) -> list[float]:
        learner = await self.started(stage)
        losses = [(await learner.step(lease(step))).loss for step in range(4)]
        await learner.close()
        return losses


def num_tokens(batch: list[Rollout]) -> int:
    return sum(len(rollout.response_ids) for rollout in batch)


class PlainLora:
    """Adapters without peft: every adapted weight is made of its three parts in each step."""

    def __init__(
        self, model: PreTrainedModel, parameters: dict[str, Tensor], *, scale: float
    ) -> None:
        self._model = model
        self._weights = {
            name.replace(".base_layer", ""): weight.double()
            for name, weight in parameters.items()
            if ".lora_" not in name
        }
        self._adapters = {
            name: weight.double().requires_grad_()
            for name, weight in parameters.items()
            if ".lora_" in name
        }
        self._scale = scale

    def merged(self) -> dict[str, Tensor]:
        return {name: weight.detach() for name, weight in self._with_adapters().items()}

    def _with_adapters(self) -> dict[str, Tensor]:
        result = dict(self._weights)
        for name, up in self._adapters.items():
            if ".lora_B." in name:
                down = self._adapters[name.replace(".lora_B.", ".lora_A.")]
                target = name.replace(".lora_B.default", "")
                result[target] = result[target] + self._scale * up @ down
        return result

    def step(self, batch: list[Rollout], lr: float) -> None:
        weights = self._with_adapters()

        def model(input_ids: Tensor) -> Any:
            return torch.func.functional_call(self._model, weights, (), {"input_ids": input_ids})

        (summed_nll(model, batch) / num_tokens(batch)).backward()
        for adapter in self._adapters.values():
            assert adapter.grad is not None
            adapter.data -= lr * adapter.grad


def mean_of_means(engine: Any, packs: Sequence[MicroBatch], loss: StepLoss) -> None:
    """Every micro-batch divides by its own tokens: a token of a short one weighs more."""
    num_means = len(packs) * torch.distributed.get_world_size()
    _backward(engine, packs, [num_means * max(1, len(pack.pack.tokens)) for pack in packs])


def global_per_micro_step(engine: Any, packs: Sequence[MicroBatch], loss: StepLoss) -> None:
    """Counts tokens over the ranks, but forgets the other micro-batches of the step."""
    counts = torch.tensor([len(pack.pack.tokens) for pack in packs])
    torch.distributed.all_reduce(counts)
    _backward(engine, packs, [len(packs) * max(1, count) for count in counts.tolist()])


def first_and_last(engine: Any, packs: Sequence[MicroBatch], loss: StepLoss) -> None:
    """What arrives where an offloaded optimizer keeps no sum."""
    assert len(packs) > 2
    kept = [packs[0], packs[-1]]
    _backward(engine, kept, [loss.divisors["all"]] * len(kept))


def without_boundary(engine: Any, packs: Sequence[MicroBatch], loss: StepLoss) -> None:
    """DeepSpeed is left to guess which micro-batch is the last."""
    with mock.patch.object(engine._engine, "set_gradient_accumulation_boundary"):
        _backward(engine, packs, [loss.divisors["all"]] * len(packs))


def _backward(engine: Any, packs: Sequence[MicroBatch], divisors: Sequence[float]) -> None:
    for position, (pack, divisor) in enumerate(zip(packs, divisors, strict=True), start=1):
        loss = StepLoss(objective=SFT, divisors={"all": divisor})
        engine.backward(engine(pack.pack, loss)[0], last=position == len(packs))


async def reload(cases: Cases) -> None:
    """One rank goes on from what two saved."""
    assert cases.other is not None
    for stage in RELOAD_STAGES:
        learner = await cases.started(stage)
        source = cases.other / f"checkpoint-{mirrored(stage)}"
        differing = await cases.carried(learner, source, f"{stage}-reload")
        loss = (await learner.step(lease(1))).loss
        cases.results[f"reloaded {stage}"] = {"differing": differing, "loss": loss}
        await learner.close()
    learner = await cases.started("1", **BF16)
    source = cases.other / "way-back-3-bf16"
    cases.results["reloaded bf16"] = await cases.carried(learner, source, "bf16-reload")
    await learner.close()


def main() -> None:
    job, rank, world_size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    folder, *other = map(Path, sys.argv[4:])
    cases = Variants(rank, world_size, folder, *other)
    # So small that every checkpoint has many, and every rank some.
    with mock.patch.object(checkpoint, "BUCKET_ELEMENTS", 30_000):
        asyncio.run(reload(cases) if job == "reload" else cases.run())
    (folder / f"results-{rank}.json").write_text(json.dumps(cases.results))


if __name__ == "__main__":
    main()
