"""What a learner keeps and gets back: plain tensors, each whole, so that any number of ranks and
any ZeRO stage may go on with them. Nothing is pickled.

    learner/state-00000.safetensors     of some parameters: master/NAME, exp_avg/NAME, step/NAME, …
    learner/progress-0.safetensors      of a rank: its random generators, and how many steps it took
    learner/teacher.safetensors         when it moves
    model/                              a plain Hugging Face folder, adapters merged

Ranks take turns with the buckets of parameters, so that none holds all of them.
"""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from configs.errors import UserError
from learner.lora import Weight, plain_weights
from learner.optimizer_shards import MASTER
from learner.publish import buckets, gather_bucket, whole_shape
from learner.saver import LEARNER, MODEL, ModelFiles, Snapshot
from verifiers.weights_file import WHOLE

if TYPE_CHECKING:
    from learner.deepspeed_engine import Engine
    from learner.teacher import Teacher

logger = logging.getLogger(__name__)

BUCKET_ELEMENTS = 25_000_000
"""Parameters of one file: with AdamW 0.3 GB."""

TEACHER = "teacher.safetensors"


class LearnerState:
    """All that decides what the next step does, of one rank."""

    def __init__(
        self,
        engine: "Engine",
        model: PreTrainedModel,
        teacher: "Teacher | None",
        *,
        model_dir: str,
        seed: int,
    ) -> None:
        self._engine = engine
        self._model = model
        self._teacher = teacher
        self._model_dir = Path(model_dir)
        self._seed = seed
        self._rank = torch.distributed.get_rank()
        self._world_size = torch.distributed.get_world_size()

    def snapshot(self, num_applied: int) -> Snapshot:
        """Copies in this host's memory. Collective, and nothing is read or written."""
        files: dict[str, dict[str, Tensor]] = {}
        plain: dict[str, Tensor] = {}
        for number, bucket in enumerate(buckets(self._model, BUCKET_ELEMENTS)):
            to = number % self._world_size
            state = self._gather(bucket, to)
            if state:
                files[f"{LEARNER}/state-{number:05d}.safetensors"] = state
            plain |= self._plain(bucket, state, to)
        files[f"{LEARNER}/{_progress_name(self._rank)}"] = self._progress(num_applied)
        if self._rank == 0 and self._teacher is not None and (weights := self._teacher.copy()):
            files[f"{LEARNER}/{TEACHER}"] = weights
        if plain:
            files[f"{MODEL}/{self._model_file(self._rank)}"] = plain
        return Snapshot(files=files, model=self._model_files() if self._rank == 0 else None)

    def load(self, directory: Path) -> int:
        """Continue exactly where the snapshot was taken; returns ``num_applied``. Collective.

        Raises UserError, and changes nothing, when the files are not this model's.
        """
        folder = directory / LEARNER
        with contextlib.ExitStack() as stack:
            found = _tensors(folder, stack)
            kinds = sorted({MASTER} | {key.partition("/")[0] for key in found})
            self._require_same(folder, found, kinds)
            shards = self._engine.shards
            shards.begin([kind for kind in kinds if kind != MASTER])
            for name, parameter in self._trained():
                for kind in kinds:
                    key = f"{kind}/{name}"
                    shards.restore(parameter, kind, found[key].get_tensor(key))
            shards.finish()
        if self._teacher is not None:
            self._teacher.load(folder / TEACHER)
        return self._load_progress(folder)

    def _gather(self, bucket: list[Weight], to: int) -> dict[str, Tensor]:
        names = {parameter: name for name, parameter in self._trained()}
        trained = [part for weight in bucket for part in weight.parts if part in names]
        state: dict[str, Tensor] = {}
        for kind in self._engine.shards.kinds():
            copies = self._engine.shards.gather(trained, kind, to, self._engine.device)
            state |= {f"{kind}/{names[p]}": copy for p, copy in zip(trained, copies, strict=False)}
        return state

    def _plain(
        self, bucket: list[Weight], state: Mapping[str, Tensor], to: int
    ) -> dict[str, Tensor]:
        """The same weights for the model's folder. Masters are copied once."""
        is_master = [len(w.parts) == 1 and w.parts[0].requires_grad for w in bucket]
        others = [weight for weight, known in zip(bucket, is_master, strict=True) if not known]
        made = gather_bucket(self._engine, others, torch.float32, to) if others else {}
        if self._rank != to:
            return {}
        shaped = {w.name: whole_shape(w.parts[0]) for w in bucket}
        return {
            name: made[name] if name in made else state[f"{MASTER}/{name}"].view(shape)
            for name, shape in shaped.items()
        }

    def _trained(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        for name, parameter in self._model.named_parameters():
            if parameter.requires_grad:
                yield name, parameter

    def _model_file(self, rank: int) -> str:
        number = min(self._world_size, len(list(buckets(self._model, BUCKET_ELEMENTS))))
        return WHOLE if number == 1 else f"model-{rank + 1:05d}-of-{number:05d}.safetensors"

    def _model_files(self) -> ModelFiles:
        places = {
            weight.name: self._model_file(number % self._world_size)
            for number, bucket in enumerate(buckets(self._model, BUCKET_ELEMENTS))
            for weight in bucket
        }
        num_bytes = 4 * sum(
            torch.Size(whole_shape(weight.parts[0])).numel()
            for weight in plain_weights(self._model)
        )
        index = {"metadata": {"total_size": num_bytes}, "weight_map": places}
        is_one = set(places.values()) == {WHOLE}
        return ModelFiles(
            config=self._model.config, source=self._model_dir, index=None if is_one else index
        )

    def _require_same(self, folder: Path, found: Mapping[str, Any], kinds: list[str]) -> None:
        trained = dict(self._trained())
        expected = {f"{kind}/{name}": name for kind in kinds for name in trained}
        if differing := sorted(expected.keys() ^ found.keys()):
            word = "lacks" if differing[0] in expected else "also has"
            raise UserError(
                f"{folder} {word} {differing[0]}: it was saved of another model or with other "
                "adapters (learner.lora); resume with those, or start a new run"
            )
        for key, name in expected.items():
            shape, ours = tuple(found[key].get_slice(key).get_shape()), whole_shape(trained[name])
            if shape not in ((), ours or (1,)):
                raise UserError(
                    f"{folder} has {key} of shape {shape}, the model {ours}: it was saved of "
                    "another model; resume with that one, or start a new run"
                )

    def _progress(self, num_applied: int) -> dict[str, Tensor]:
        progress = {
            "num_applied": torch.tensor(num_applied),
            "rng_cpu": torch.get_rng_state(),
        }
        if self._engine.device.type == "cuda":
            progress["rng_cuda"] = torch.cuda.get_rng_state()
        return progress

    def _load_progress(self, folder: Path) -> int:
        own = folder / _progress_name(self._rank)
        if not own.exists():
            logger.info(
                "%s was saved by fewer ranks than there are now: the random generators of rank %d "
                "begin anew from seed %d",
                *(folder.parent, self._rank, self._seed),
            )
            torch.manual_seed(self._seed)
            return int(load_file(folder / _progress_name(0))["num_applied"])
        progress = load_file(own)
        torch.set_rng_state(progress["rng_cpu"])
        if "rng_cuda" in progress and self._engine.device.type == "cuda":
            torch.cuda.set_rng_state(progress["rng_cuda"])
        return int(progress["num_applied"])


def _tensors(folder: Path, stack: contextlib.ExitStack) -> dict[str, Any]:
    """By their names, the open file that has them."""
    paths = sorted(folder.glob("state-*.safetensors"))
    if not paths:
        raise UserError(
            f"{folder} holds no state-*.safetensors (what DeepSpeed itself saved is pickled and is "
            f"not read); start a new run with model.path={folder.parent / MODEL}"
        )
    files = [stack.enter_context(safe_open(path, framework="pt")) for path in paths]
    return {key: file for file in files for key in file.keys()}  # noqa: SIM118


def _progress_name(rank: int) -> str:
    return f"progress-{rank}.safetensors"
