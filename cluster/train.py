"""``laconic train``: start the parts, run the loop, sum up."""

import asyncio
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from typing import Any

from actors.curriculum import Curriculum
from actors.replay import Opened
from cluster.checkpoint import CURRICULUM, Checkpoint, CheckpointStore, TrainState
from cluster.fleet import Fleet
from cluster.live import Display
from cluster.loop import Parts, run, within
from cluster.plan import Plan, Resources
from cluster.prepare import Prepared
from cluster.reports import Reports
from cluster.run_dir import RunDir
from cluster.scale import Control
from cluster.session import Actors, spawn_all
from cluster.spawn import processes
from cluster.tracker import Tracker
from configs.errors import UserError
from configs.schema import RunConfig
from evaluation.evaluator import evaluate
from verifiers.types import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A run that was checked and may start."""

    config: RunConfig
    plan: Plan
    resources: Resources
    run_dir: RunDir
    prepared: Prepared
    display: Display


async def train(job: Job) -> dict[str, Any]:
    """The whole run; returns what ``summary.json`` holds. Ray is connected already."""
    actors = spawn_all(job.config, job.plan, job.resources, job.run_dir, job.prepared)
    tracker = Tracker(
        job.config.wandb, job.run_dir.path, job.run_dir.path.name, job.config.model_dump()
    )
    try:
        tracker.start()
        return await Run(job, actors, tracker).go()
    finally:
        await actors.close()
        tracker.close()


class Run:
    """One run between its first actor and its summary."""

    def __init__(self, job: Job, actors: Actors, tracker: Tracker) -> None:
        self._job = job
        self._config = job.config
        self._actors = actors
        self._learner = actors.learner
        self._tracker = tracker
        self._curriculum = Curriculum(job.prepared.source, job.config)
        self._store = CheckpointStore(job.run_dir.checkpoints, job.config.checkpoint.keep)
        self._heldout: list[Problem] = (
            job.prepared.source.heldout(job.config.eval.problems) if job.config.data.heldout else []
        )
        self._reports = Reports(
            job.config,
            recorder=actors.recorder,
            queue=actors.queue,
            judges=actors.judges,
            display=job.display,
            tracker=tracker,
            seconds_before=job.run_dir.seconds_before() if job.run_dir.is_resumed else 0.0,
        )
        self._fleet = Fleet(job.config, actors.staff, self._reports, actors.generators)
        self._reports.engines = self._fleet.rows

    async def go(self) -> dict[str, Any]:
        checkpoint = self._newest_checkpoint()
        start = checkpoint.state.step if checkpoint else 0
        opened = await self._start(start)
        self._curriculum.restore(
            json.loads(checkpoint.curriculum.read_text()) if checkpoint else None, opened.cursor
        )
        if checkpoint is not None:
            await self._restore(checkpoint)
        parts = Parts(
            config=self._config,
            source=self._curriculum,
            queue=self._actors.queue,
            engines=self._fleet,
            learner=self._learner,
            reports=self._reports,
            checkpoint=self._checkpoint,
            roll_back=self._roll_back,
            evaluate=self._evaluate,
            wanted_engines=Control(self._job.run_dir.path).wanted_engines,
        )
        _stop_on_signal(parts.stop, self._job.display)
        self._reports.phase = "training"
        version = await run(parts, start=start, reissue=opened.unsettled)
        if parts.stop.is_set() and version < self._config.steps:
            self._reports.phase = "stopped"
            await self._reports.heartbeat()
            raise Stopped(version)
        self._reports.phase = "evaluating"
        await self._evaluate(version)
        return await self._finish(version)

    def _newest_whole(self) -> Checkpoint | None:
        checkpoint, complaints = self._store.newest()
        for complaint in complaints:
            self._job.display.note(complaint)
        return checkpoint

    def _newest_checkpoint(self) -> Checkpoint | None:
        checkpoint = self._newest_whole()
        if self._job.run_dir.is_resumed and checkpoint is None:
            self._job.display.note("no checkpoint yet: going on from the starting weights")
        return checkpoint

    async def _start(self, start: int) -> Opened:
        """Everything that takes long at the same time; returns what the queue goes on from."""
        actors, limit = self._actors, self._config.cluster.start_timeout_s
        self._job.display.progress("starting", "engines, learner and judges")
        boot = await within(actors.recorder.start(), limit, "the recorder")
        await actors.recorder.problems(self._heldout)
        started: list[Any] = await within(
            asyncio.gather(
                actors.queue.open(start),
                actors.judges.start(),
                self._learner.start(self._job.plan.device, self._config.steps),
                *(self._named("engine", generator.start()) for generator in actors.generators),
            ),
            limit,
            "engines, learner and judges to start",
        )
        opened: Opened = started[0]
        await actors.recorder.event(
            "started",
            boot=boot,
            step=start,
            reissued=len(opened.unsettled),
            processes={"driver": os.getpid(), **await processes(actors.parts)},
        )
        return opened

    async def _named(self, what: str, start: Any) -> None:
        began = time.monotonic()
        await start
        self._job.display.progress(
            "starting", f"{what} ready after {time.monotonic() - began:.0f} s"
        )

    async def _restore(self, checkpoint: Checkpoint) -> None:
        """Learner and engines at the checkpoint's version, before the first ticket goes out."""
        step = checkpoint.state.step
        self._store.discard_after(step)
        await self._learner.load(checkpoint.path)
        if self._heldout and self._job.run_dir.evaluation("before") is None:
            await self._evaluate(0)
        weights = await self._learner.publish(step)
        await self._fleet.begin(weights)
        self._job.display.note(f"resumed at step {step} of {self._config.steps}")

    async def _checkpoint(self, version: int, end_ticket: int) -> None:
        folder = self._store.begin(version)
        learned = json.dumps(self._curriculum.state())
        await within(
            self._learner.save(folder),
            self._config.cluster.wait_timeout_s,
            f"the learner to copy version {version}",
        )
        await within(
            self._learner.saved(),
            self._config.cluster.wait_timeout_s,
            f"the learner to write version {version}",
        )
        (folder / CURRICULUM).write_text(learned)
        state = TrainState(step=version, end_ticket=end_ticket, seconds=self._reports.seconds)
        await asyncio.to_thread(self._store.commit, folder, state)
        await self._actors.queue.commit(version, self._store.oldest_ticket())
        await self._actors.recorder.event("checkpoint", step=version)

    async def _roll_back(self, version: int) -> None:
        """Weights, optimizer and rate as they were; versions and tickets go on."""
        bad = f"{self._config.learner.rollback_after} optimizer steps in a row were not finite"
        checkpoint = await asyncio.to_thread(self._newest_whole)
        if checkpoint is None:
            raise UserError(f"{bad}, and there is no checkpoint yet to go back to")
        await within(
            self._learner.load(checkpoint.path),
            self._config.cluster.wait_timeout_s,
            f"the learner to go back to step {checkpoint.state.step}",
        )
        await self._actors.recorder.event("rolled_back", step=version, to=checkpoint.state.step)
        self._job.display.note(
            f"step {version}: {bad}; going on from the weights of step {checkpoint.state.step}"
        )

    async def _evaluate(self, version: int) -> None:
        """What the engines hold now, on the held-out problems; kept for the summary."""
        if not self._heldout:
            return
        is_last = version >= self._config.steps or self._reports.phase == "evaluating"
        label = "before" if version == 0 else "after" if is_last else f"step-{version:06d}"
        self._job.display.progress(
            "evaluating", f"version {version}, {len(self._heldout)} problems"
        )
        samples, summary = await within(
            evaluate([self._fleet], self._heldout, self._config),
            self._config.cluster.wait_timeout_s,
            f"the evaluation of version {version}",
        )
        await self._actors.recorder.evals(label, version, samples)
        self._job.run_dir.keep_evaluation(label, summary.as_dict())
        await self._reports.evaluated(label, summary.as_dict())

    async def _finish(self, version: int) -> dict[str, Any]:
        counts = await self._actors.queue.counts()
        counts.check()
        summary = {
            "before": self._job.run_dir.evaluation("before"),
            "after": self._job.run_dir.evaluation("after"),
            "steps": version,
            "generated_tokens": counts.generated_tokens,
            "trained_tokens": counts.trained_tokens,
            "seconds": round(self._reports.seconds, 2),
            "counts": asdict(counts),
        }
        self._reports.phase = "finished"
        await self._reports.heartbeat()
        await self._actors.recorder.flush()
        self._job.run_dir.finish(summary)
        self._tracker.summary(summary)
        return summary


class Stopped(Exception):
    """A signal ended the run after a committed step; ``--resume`` goes on from there."""

    def __init__(self, version: int) -> None:
        super().__init__(f"stopped after step {version}, committed; go on with --resume")


def _stop_on_signal(stop: asyncio.Event, display: Display) -> None:
    """The first signal finishes the step and commits it; the second ends at once."""

    def handle(signum: int) -> None:
        if stop.is_set():
            os._exit(130 if signum == signal.SIGINT else 75)
        display.note(f"{signal.Signals(signum).name}: finishing this step, then stopping")
        stop.set()

    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, handle, signum)
