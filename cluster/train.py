"""``laconic train``: start the parts, run the loop, sum up."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from actors.curriculum import Curriculum
from actors.replay import Opened
from cluster.back_off import BackOff
from cluster.checkpoint import CURRICULUM, Checkpoint, CheckpointStore, TrainState
from cluster.elastic import Elastic
from cluster.fleet import Fleet
from cluster.guarded import Guarded
from cluster.live import Display
from cluster.loop import Parts, run, within
from cluster.metrics import Metrics
from cluster.mirroring import Mirroring
from cluster.neighbours import LearnerLost
from cluster.nodes import Layout
from cluster.page import Page, is_wanted
from cluster.phases import Phases
from cluster.plan import Plan
from cluster.prepare import Prepared
from cluster.ray_session import registered
from cluster.reports import Reports
from cluster.run_dir import RunDir
from cluster.scale import Control
from cluster.session import Actors, spawn_all
from cluster.spawn import ActorFailed, processes
from cluster.supervisor import Supervisor
from cluster.tracker import Tracker
from configs.errors import UserError
from configs.schema import RunConfig
from evaluation.evaluator import evaluate
from verifiers.types import EvalSample, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A run that was checked and may start."""

    config: RunConfig
    plan: Plan
    layout: Layout
    run_dir: RunDir
    prepared: Prepared
    display: Display
    phases: Phases


async def train(job: Job) -> dict[str, Any]:
    """The whole run; returns what ``summary.json`` holds. Ray is connected already."""
    actors = spawn_all(job.config, job.plan, job.layout, job.run_dir, job.prepared)
    tracker = Tracker(
        job.config.wandb, job.run_dir.path, job.run_dir.path.name, job.config.model_dump()
    )
    page = Page(job.config.dashboard, job.run_dir, job.display)
    staying = asyncio.create_task(page.stay()) if is_wanted(job.config) else None
    try:
        tracker.start()
        return await Run(job, actors, tracker).go()
    except OutOfGrace:
        actors.kill()
        raise
    finally:
        await actors.close()
        tracker.close()
        if staying is not None:
            staying.cancel()
            page.close()


RETRY_SAVE = 4
"""Checkpoints in a row that may fail before the run does: the newest one is too old then."""

LEARNER_BACK_OFF_S = 1.0
"""Before the learner's first new start; see cluster/back_off.py for the further ones."""


class Run:
    """One run between its first actor and its summary."""

    def __init__(self, job: Job, actors: Actors, tracker: Tracker) -> None:
        self._job = job
        self._config = job.config
        self._actors = actors
        self._learner = actors.learner
        self._tracker = tracker
        self._curriculum = Curriculum(job.prepared.source, job.config)
        self._store = CheckpointStore(
            job.run_dir.checkpoints,
            job.config.checkpoint.keep,
            keep_every=job.config.checkpoint.keep_every,
            max_gib=job.config.checkpoint.max_gib,
        )
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
            metrics=Metrics(job.run_dir.path.name),
            seconds_before=job.run_dir.seconds_before() if job.run_dir.is_resumed else 0.0,
        )
        self._fleet = Fleet(job.config, actors.staff, self._reports, actors.generators)
        self._reports.engines = self._fleet.rows
        self._supervisor = Supervisor(job.config, actors, self._reports, job.run_dir.path)
        self._guarded = Guarded(
            job.config.guardrail,
            job.run_dir.path,
            self._ask_probe,
            self._curriculum,
            self._reports,
        )
        self._mirroring = Mirroring(job.config.mirror, job.run_dir.path, self._reports)
        self._failed_saves = 0
        self._learner_restarts = 0
        self._learner_back_off = BackOff(LEARNER_BACK_OFF_S)

    async def go(self) -> dict[str, Any]:
        try:
            return await self._go()
        except Stopped as stopped:
            if not isinstance(stopped, OutOfGrace):
                await self._mirroring.finish()
            raise
        finally:
            await self._mirroring.close()

    async def _go(self) -> dict[str, Any]:
        checkpoint = self._newest_checkpoint()
        start = checkpoint.state.step if checkpoint else 0
        opened = await self._start(start)
        self._curriculum.restore(
            json.loads(checkpoint.curriculum.read_text()) if checkpoint else None, opened.cursor
        )
        if self._job.run_dir.is_resumed:
            self._guarded.resume(start)
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
            revive=self._revive,
            evaluate=self._evaluate,
            guard=self._guarded,
            look=self._supervisor.look,
            wanted_engines=Elastic(
                self._config,
                self._job.plan,
                Control(self._job.run_dir.path).wanted_engines,
                registered,
            ).wanted_engines,
        )
        _stop_on_signal(parts.stop, self._job.display)
        self._reports.phase = "training"
        version = await self._within_grace(parts, run(parts, start=start, reissue=opened.unsettled))
        if parts.stop.is_set() and version < self._config.steps:
            self._reports.phase = "stopped"
            await self._reports.heartbeat()
            raise Stopped(version)
        self._reports.phase = "evaluating"
        await self._end_with_good_weights(version)
        await self._evaluate(version)
        return await self._finish(version)

    async def _within_grace(self, parts: Parts, running: Awaitable[int]) -> int:
        """Once somebody wants it to stop, a run has so long for its step and its checkpoint."""
        task, stop = asyncio.ensure_future(running), asyncio.create_task(parts.stop.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                await asyncio.wait({task}, timeout=self._config.cluster.grace_s)
            if not task.done():
                raise OutOfGrace(self._config.cluster.grace_s, parts.committed)
            return task.result()
        finally:
            stop.cancel()
            task.cancel()

    def _newest_whole(self, among: Collection[int] | None = None) -> Checkpoint | None:
        checkpoint, complaints = self._store.newest(among)
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
        actors, limit, phases = self._actors, self._config.cluster.start_timeout_s, self._job.phases
        self._job.display.progress("starting", "engines, learner and judges")

        async def recorder_then_queue() -> tuple[int, Opened]:
            """It is told what the queue finds."""
            boot = await phases.of("recorder", actors.recorder.start())
            await actors.recorder.problems(self._heldout)
            return boot, await phases.of("queue", actors.queue.open(start))

        started: list[Any] = await within(
            asyncio.gather(
                recorder_then_queue(),
                phases.of("judges", actors.judges.start()),
                phases.of("learner", self._learner.start(self._config.steps)),
                *(
                    phases.of("engines", self._named("engine", generator.start()))
                    for generator in actors.generators
                ),
            ),
            limit,
            "recorder, engines, learner and judges to start",
        )
        boot, opened = started[0]
        await actors.recorder.event(
            "started",
            boot=boot,
            step=start,
            parameters=started[2].num_parameters,
            reissued=len(opened.unsettled),
            processes={"driver": os.getpid(), **await processes(actors.parts)},
            phases=phases.done_us,
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
        if step > 0:
            if self._heldout and self._job.run_dir.evaluation("before") is None:
                await self._evaluate(0)
            if not self._guarded.knows_first:
                await self._guarded.look(0)
            weights = await self._learner.publish(step)
            await self._fleet.begin(weights)
        self._job.display.note(f"resumed at step {step} of {self._config.steps}")

    async def _checkpoint(self, version: int, end_ticket: int) -> Awaitable[bool]:
        """Everything is copied when this returns; what is left of it says whether it is kept."""
        state = TrainState(step=version, end_ticket=end_ticket, seconds=self._reports.seconds)
        learned = json.dumps(self._curriculum.state())
        folder: Path | None = None
        try:
            folder = self._store.begin(version)
            await within(
                self._learner.save(folder),
                self._config.cluster.wait_timeout_s,
                f"the learner to save version {version}",
            )
        except TimeoutError:
            raise
        except (OSError, ActorFailed) as error:
            return self._not_saved(version, folder, error)
        return self._keep(folder, state, learned)

    async def _keep(self, folder: Path, state: TrainState, learned: str) -> bool:
        try:
            await within(
                self._learner.saved(),
                self._config.cluster.wait_timeout_s,
                f"the learner to write version {state.step}",
            )
            (folder / CURRICULUM).write_text(learned)
            self._store.good = self._guarded.good
            await asyncio.to_thread(self._store.commit, folder, state)
        except TimeoutError:
            raise
        except (OSError, ActorFailed) as error:
            return await self._not_saved(state.step, folder, error)
        self._failed_saves = 0
        self._guarded.committed(state.step)
        await self._actors.queue.commit(state.step, self._store.oldest_ticket())
        await self._actors.recorder.event("checkpoint", step=state.step)
        self._mirroring.committed()
        return True

    async def _not_saved(self, version: int, folder: Path | None, error: Exception) -> bool:
        """The run goes on with the checkpoints that it has, and tries again soon; not for ever."""
        if folder is not None:
            await asyncio.to_thread(self._store.abandon, folder)
        self._failed_saves += 1
        await self._reports.changed(
            "checkpoint_failed", f"step {version} could not be kept: {error}", step=version
        )
        if self._failed_saves >= RETRY_SAVE:
            raise UserError(
                f"{RETRY_SAVE} checkpoints in a row could not be written to "
                f"{self._job.run_dir.checkpoints}: {error}; make room and go on with --resume"
            )
        await asyncio.sleep(2**self._failed_saves)
        return False

    async def _revive(self, loss: LearnerLost) -> int:
        """All ranks anew, with the newest checkpoint; engines and tickets stay as they are."""
        cluster = self._config.cluster
        if self._learner_restarts >= cluster.learner_restarts:
            raise RuntimeError(
                f"the learner is lost, after {self._learner_restarts} of "
                f"cluster.learner_restarts={cluster.learner_restarts} new starts: {loss}"
            )
        await self._reports.changed("learner_lost", f"the learner is lost: {loss}", why=str(loss))
        await asyncio.sleep(self._learner_back_off.next_s())
        self._learner_restarts += 1
        began = time.monotonic()
        checkpoint = await asyncio.to_thread(self._newest_whole)
        step = checkpoint.state.step if checkpoint else 0
        self._learner.replace()
        try:
            starting = self._learner.start(self._config.steps)
            await within(starting, cluster.start_timeout_s, "the learner to start again")
            if checkpoint is not None:
                await within(
                    self._learner.load(checkpoint.path),
                    cluster.wait_timeout_s,
                    f"the learner to load step {step}",
                )
        except LearnerLost as again:
            return await self._revive(again)
        self._store.discard_after(step)
        self._curriculum.unlearn(
            json.loads(checkpoint.curriculum.read_text()) if checkpoint else None
        )
        self._guarded.forget_after(step)
        await self._actors.queue.take_back(step)
        seconds = round(time.monotonic() - began, 2)
        await self._reports.changed(
            "learner_back",
            f"the learner is back at step {step} after {seconds:.0f} s",
            step=step, seconds=seconds, processes=await processes(self._learner.ranks),
        )  # fmt: skip
        return step

    async def _roll_back(self, version: int) -> None:
        """Weights, optimizer and rate as they were; versions and tickets go on."""
        is_worse = self._guarded.wants_back
        bad = f"{self._config.learner.rollback_after} optimizer steps in a row were not finite"
        if is_worse:
            bad = "the model is no longer as right as it was"
        good = self._guarded.good if is_worse else None
        checkpoint = await asyncio.to_thread(self._newest_whole, good)
        if checkpoint is None:
            raise UserError(f"{bad}, and there is no checkpoint yet to go back to")
        await within(
            self._learner.load(checkpoint.path),
            self._config.cluster.wait_timeout_s,
            f"the learner to go back to step {checkpoint.state.step}",
        )
        if is_worse:
            self._guarded.went_back(version)
        await self._actors.recorder.event("rolled_back", step=version, to=checkpoint.state.step)
        self._job.display.note(
            f"step {version}: {bad}; going on from the weights of step {checkpoint.state.step}"
        )

    async def _end_with_good_weights(self, version: int) -> None:
        """Look at the last version as well; where it is worse, learner, engines and the last
        checkpoint get the last good weights."""
        await self._guarded.look(version)
        if not self._guarded.wants_back:
            if self._guarded.ends_paused:
                good = self._guarded.good[-1]
                self._job.display.note(f"what is exported is step {good}: later ones were worse")
            return
        end_ticket = self._store.newest([version])[0]
        assert end_ticket is not None, "the last version is committed before a run ends"
        await self._roll_back(version)
        # Nobody trains with it: a number that the engines take, and that the queue is not told.
        await self._fleet.begin(await self._learner.publish(version + 1, whole=True))
        while not await (await self._checkpoint(version, end_ticket.state.end_ticket)):
            pass  # it is tried again, and not for ever

    async def _ask_probe(self) -> list[EvalSample]:
        """The guardrail's problems: the last ones, so that they are not those of evaluations."""
        guardrail = self._config.guardrail
        problems = self._job.prepared.source.last_heldout(guardrail.problems)
        asked = self._config.eval.model_copy(update={"samples": guardrail.samples})
        samples, _ = await within(
            evaluate([self._fleet], problems, self._config.model_copy(update={"eval": asked})),
            self._config.cluster.wait_timeout_s,
            "the guardrail's probe",
        )
        return samples

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
        if self._guarded.is_on:
            summary["guardrail"] = self._guarded.summary()
        self._reports.phase = "finished"
        await self._reports.heartbeat()
        await self._actors.recorder.flush()
        self._job.run_dir.finish(summary)
        await self._mirroring.finish()
        self._tracker.summary(summary)
        return summary


class Stopped(Exception):
    """A signal ended the run after a committed step; ``--resume`` goes on from there."""

    def __init__(self, version: int) -> None:
        super().__init__(f"stopped after step {version}, committed; go on with --resume")


class OutOfGrace(Stopped):
    """The step under way, or its checkpoint, took longer than there was time."""

    def __init__(self, grace_s: float, committed: int) -> None:
        Exception.__init__(
            self,
            f"stopped after cluster.grace_s={grace_s:g} s with the step under way not committed; "
            f"step {committed} is: go on with --resume",
        )


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
