"""Memory of a command and of everything that it starts, sampled while it runs."""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

RSS_EVERY_S = 2.0
PSS_EVERY_S = 10.0
"""The kernel walks every page for it: seldom, so as not to slow down what is measured."""


@dataclass
class Peaks:
    """MiB."""

    rss: float = 0.0
    """Of all processes together; memory that several share counts for each."""
    pss: float = 0.0
    """The same with shared memory divided among those that share it."""
    own: dict[int, tuple[str, float]] = field(default_factory=dict)
    """Name and own peak of each process, by its id."""
    sampler_cpu_s: float = 0.0
    """What the sampling took."""

    @property
    def largest(self) -> float:
        return max((mib for _, mib in self.own.values()), default=0.0)


class MemoryWatch(threading.Thread):
    """``with MemoryWatch(process.pid) as peaks: process.wait()``"""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._root = psutil.Process(pid)
        self._seen: set[psutil.Process] = set()
        """Whoever was once a descendant: one whose parent ends has another."""
        self._over = threading.Event()
        self.peaks = Peaks()

    def __enter__(self) -> Peaks:
        self.start()
        return self.peaks

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        next_pss = 0.0
        while not self._over.wait(RSS_EVERY_S):
            began = time.thread_time()
            with suppress(psutil.Error):
                self._seen |= {self._root, *self._root.children(recursive=True)}
            self._seen = {process for process in self._seen if process.is_running()}
            with_pss = time.monotonic() >= next_pss
            if with_pss:
                next_pss = time.monotonic() + PSS_EVERY_S
            self._sample(with_pss=with_pss)
            self.peaks.sampler_cpu_s += time.thread_time() - began

    def _sample(self, *, with_pss: bool) -> None:
        rss = pss = 0.0
        for process in self._seen:
            with suppress(OSError, psutil.Error, KeyError):  # one that just ended has no memory
                status = _fields(Path(f"/proc/{process.pid}/status"))
                rss += status["VmRSS"]
                self.peaks.own[process.pid] = (_name(process), status["VmHWM"])
                if with_pss:
                    pss += _fields(Path(f"/proc/{process.pid}/smaps_rollup"))["Pss"]
        peaks = self.peaks
        peaks.rss, peaks.pss = max(peaks.rss, rss), max(peaks.pss, pss)


def _name(process: psutil.Process) -> str:
    """Ray calls a worker ``ray::Class.method``, cut off after 15 letters."""
    return process.name().removeprefix("ray::").split(".")[0]


def _fields(path: Path) -> dict[str, float]:
    """Lines such as ``VmRSS:   1024 kB``, in MiB."""
    found = {}
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if value.endswith("kB"):
            found[name] = int(value.split()[0]) / 1024
    return found
