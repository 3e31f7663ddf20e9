"""What ``test_publish`` runs in the ranks of a learner group: publications, read as engines do."""

import asyncio
import json
import os
import stat
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from actors.weight_image import ImageMaker, WeightImage
from actors.weight_stream import receive
from learner import publisher
from learner.publish import fingerprint_of, gather, gather_bucket
from learner.shared_folder import SHARED_MEMORY
from learner.trainer import LearnerRank
from tests.integration.learner_cases import BETAS, Cases, lease
from verifiers.types import PublishedWeights
from verifiers.weights_file import folder_shapes

SLOW: dict[str, Any] = {"optimizer": {"lr": 1e-6, "betas": BETAS, "warmup_steps": 0}}

BYTES_OF_AN_ELEMENT = 200
"""As if they were so large: the small model then comes in many buckets of a MiB."""


class Engine:
    """As far as an engine reads weights."""

    def __init__(self, model_dir: str) -> None:
        shapes = folder_shapes(model_dir)
        self.make = ImageMaker(shapes, tied=True, receive=lambda w: receive(w, 1 << 20, 30.0))
        self.image: WeightImage | None = None

    def load(self, weights: PublishedWeights) -> str:
        self.image = self.make(weights, self.image)
        return self.image.file.fingerprint


class PublishCases(Cases):
    async def run(self) -> None:
        stages = ("0", "3") if self.world_size == 1 else ("2", "3 offloaded")
        with mock.patch.object(publisher, "ELEMENT_BYTES", BYTES_OF_AN_ELEMENT):
            for stage in stages:
                sync = {"full_every": 3, "bucket_mib": 1}
                learner = await self.started(stage, sync=sync, **SLOW)
                self.results[f"chain {stage}"] = await self.chain(learner, stage)
                await learner.close()
            learner = await self.started("3", sync={"transport": "shm"}, **SLOW)
            self.results["shm"] = await self.shared(learner)
            learner = await self.started("3", sync={"transport": "gloo", "bucket_mib": 1}, **SLOW)
            self.results["gloo"] = await self.streamed(learner)
            await learner.close()

    async def chain(self, learner: LearnerRank, stage: str) -> dict[str, Any]:
        folder = self.folder / f"published-{stage}"
        follower, jumper = Engine(self.model_dir), Engine(self.model_dir)
        rows = []
        for version in range(8):
            await learner.step(lease(version))
            if version == 7:
                self.change_much(learner)
            row = await self.published(learner, folder, version, whole=version == 5)
            rows.append(row)
            if self.rank == 0:
                row["follower"] = follower.load(row["weights"])
                if version in (2, 7):
                    row["jumper"] = jumper.load(row["weights"])
                if version == 6:
                    row["newcomer"] = Engine(self.model_dir).load(row["weights"])
                row["files"] = sorted(path.name for path in folder.iterdir())
        rows.append({"refused": await self.not_finite(learner, folder)})
        again = await self.published(learner, folder, 9, whole=False)
        if self.rank == 0:
            again["follower"] = follower.load(again["weights"])
        for row in (*rows, again):
            if "weights" in row:
                row["weights"] = asdict(row["weights"])
        return {"rows": rows, "after a refusal": again}

    async def published(
        self, learner: LearnerRank, folder: Path, version: int, *, whole: bool
    ) -> dict[str, Any]:
        held: list[list[weakref.ref[Tensor]]] = []
        most = 0

        def watched(*arguments: Any) -> dict[str, Tensor]:
            nonlocal most
            most = max(most, sum(any(ref() is not None for ref in bucket) for bucket in held))
            bucket = gather_bucket(*arguments)
            held.append([weakref.ref(tensor) for tensor in bucket.values()])
            return bucket

        with mock.patch.object(publisher, "gather_bucket", watched):
            weights = await learner.publish(str(folder), version, whole=whole)
        truth = gather(learner._engine, learner._model, torch.bfloat16)
        return {
            "weights": weights,
            "truth": fingerprint_of(truth) if truth else weights.fingerprint,
            "buckets": len(held),
            "most held": most,
        }

    @staticmethod
    def change_much(learner: LearnerRank) -> None:
        """Every weight, where they are whole."""
        if learner._engine.zero_stage == 0:
            with torch.no_grad():
                for parameter in learner._model.parameters():
                    parameter.copy_(torch.randn_like(parameter))

    async def not_finite(self, learner: LearnerRank, folder: Path) -> str:
        def spoilt(*arguments: Any) -> dict[str, Tensor]:
            bucket = gather_bucket(*arguments)
            if "model.norm.weight" in bucket:
                bucket["model.norm.weight"][-1] = float("nan")
            return bucket

        with mock.patch.object(publisher, "gather_bucket", spoilt):
            try:
                await learner.publish(str(folder), 8)
            except FloatingPointError as error:
                return str(error)
        return ""

    async def shared(self, learner: LearnerRank) -> dict[str, Any]:
        mine = [await learner.publish(str(self.folder / "weights"), version) for version in (1, 2)]
        folder = Path(mine[1].files[0].path).parent
        found = {
            "in memory": folder.parent == SHARED_MEMORY,
            "mode": stat.S_IMODE(folder.stat().st_mode),
            "read": Engine(self.model_dir).load(mine[1]) == mine[1].fingerprint,
            "kinds": [path.suffix for path in sorted(folder.iterdir())],
        }
        torch.distributed.barrier()
        await learner.close()
        return found | {"is left": folder.exists() and self.rank == 0}

    async def streamed(self, learner: LearnerRank) -> dict[str, Any]:
        found = {}
        for version in (1, 2):
            await learner.step(lease(version))
            weights = await learner.publish(str(self.folder / "weights"), version)
            if self.rank == 0:
                with ThreadPoolExecutor() as engines:
                    loads = [engines.submit(Engine(self.model_dir).load, weights) for _ in "ab"]
                    await learner.send(2)
                    found[version] = [load.result() == weights.fingerprint for load in loads]
        whole = await learner.publish(str(self.folder / "weights"), 2, whole=True)
        return {
            "received": found,
            "is streamed": [weights.is_streamed, whole.is_streamed],
            "files": [len(weights.files), len(whole.files)],
            "whole": Engine(self.model_dir).load(whole) == weights.fingerprint,
        }


def main() -> None:
    rank, world_size, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    os.environ["OMP_NUM_THREADS"] = "1"
    cases = PublishCases(rank, world_size, folder)
    asyncio.run(cases.run())
    (folder / f"results-{rank}.json").write_text(json.dumps(cases.results))


if __name__ == "__main__":
    main()
