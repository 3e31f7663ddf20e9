"""A run's copy is kept up to date while it trains: in a process of its own, which nothing waits
for but the end of the run, and that not for ever."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Protocol

from configs.schema import MirrorConfig

ROOT = Path(__file__).parents[1]


class Reports(Protocol):
    async def changed(self, kind: str, note: str, **fields: object) -> None: ...


class Mirroring:
    def __init__(self, config: MirrorConfig, run_dir: Path, reports: Reports) -> None:
        self._config = config
        self._run_dir = run_dir
        self._reports = reports
        self._is_due = False
        self._copying: asyncio.Task[None] | None = None
        self._failed = False

    def committed(self) -> None:
        """There is something new. Returns at once; a copy that is under way is made again after."""
        if self._config.url is None:
            return
        self._is_due = True
        if self._copying is None or self._copying.done():
            self._copying = asyncio.create_task(self._copy_all())

    async def finish(self) -> None:
        """Returns when all is copied, or when that took too long."""
        self.committed()
        if self._copying is not None:
            await self._copying

    async def close(self) -> None:
        """At once, whatever is under way."""
        if self._copying is not None:
            self._copying.cancel()
            await asyncio.gather(self._copying, return_exceptions=True)

    async def _copy_all(self) -> None:
        while self._is_due:
            self._is_due = False
            await self._copy()

    async def _copy(self) -> None:
        assert self._config.url is not None
        # With the credentials of its environment, which is why it is no part of Ray.
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "cluster.mirror", str(os.getpid()), str(self._run_dir),
            self._config.url, env=_environment(), start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(self._config.timeout_s):
                output, errors = await process.communicate()
        except TimeoutError:
            await self._fail(f"it took longer than mirror.timeout_s={self._config.timeout_s:g} s")
            return
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            said = errors.decode(errors="replace").strip().splitlines()
            await self._fail(said[-1] if said else f"exit code {process.returncode}")
            return
        copied = json.loads(output)
        note = f"step {copied['step']} is copied to {self._config.url}"
        if self._failed:
            note = f"{note} again"
        self._failed = False
        await self._reports.changed("mirrored", note, **copied)

    async def _fail(self, why: str) -> None:
        """The run goes on with its own disk, and the next checkpoint tries again."""
        self._failed = True
        await self._reports.changed(
            "mirror_failed", f"the run was not copied to {self._config.url}: {why}", why=why
        )


def _environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return dict(os.environ) | {
        "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": path,
    }  # fmt: skip
