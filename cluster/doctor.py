"""``laconic doctor``: what this machine has, what would go wrong, and what to do about it.

Here the facts are gathered, quickly: versions come from metadata, nothing heavy is imported.
"""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from json import dumps
from pathlib import Path

from cluster import doctor_checks as check
from cluster.doctor_checks import Check
from verifiers import sandbox
from verifiers.pool import usable_cores

ROOT = Path(__file__).resolve().parent.parent
OUR_PACKAGES = ("actors", "cluster", "configs", "evaluation", "learner", "verifiers")
GPU_QUERY = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
GPU_TIMEOUT_S = 5.0
MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
MARKS = {True: "ok", False: "FAIL", None: "note"}


def checks(runs_dir: str = "runs") -> list[Check]:
    """Everything, in the order a person would look."""
    versions = _versions()
    return [
        check.python(sys.version_info[:3]),
        *check.packages(versions),
        check.engine(versions),
        check.companions(versions),
        check.namesakes({name: find_spec(name) for name in OUR_PACKAGES}, ROOT),
        Check(name="CPU cores", ok=True, found=str(usable_cores())),
        check.memory(_memory_bytes()),
        check.gpu(_gpus(), versions),
        *check.compiler(shutil.which, os.environ.get("CXX")),
        _disk(Path(runs_dir)),
        check.shared_memory(_shared_memory_bytes()),
        check.code_sandbox(sandbox.way(), sandbox.unavailable()),
        _ray_auth(),
        _hub(),
    ]


def render(checks: Sequence[Check], json: bool) -> str:
    """A table for people, or a JSON list of the same rows."""
    if json:
        return dumps([asdict(row) for row in checks], indent=2)
    width = max(len(row.name) for row in checks)
    lines = []
    for row in checks:
        lines.append(f"{MARKS[row.ok]:<5} {row.name:<{width}}  {row.found}".rstrip())
        if row.advice:
            lines.append(f"{'':<5} {'':<{width}}    {row.advice}")
    num_failed = sum(row.ok is False for row in checks)
    lines.append(f"{num_failed} failed" if num_failed else "nothing failed")
    return "\n".join(lines)


def _versions() -> dict[str, str]:
    names = [*check.OLDEST, *check.OLDEST_IF_PRESENT, *check.ENGINES, *check.CUDA_COMPANIONS]
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _memory_bytes() -> int | None:
    """Of the machine, or of the container when that has less."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
    limits = [Path(path).read_text().strip() for path in MEMORY_LIMITS if Path(path).is_file()]
    return min([total, *(int(limit) for limit in limits if limit.isdigit())])


def _gpus() -> str | None:
    try:
        done = subprocess.run(GPU_QUERY, capture_output=True, text=True, timeout=GPU_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _disk(runs_dir: Path) -> Check:
    place = runs_dir.resolve()
    while not place.exists():
        place = place.parent
    return check.disk(shutil.disk_usage(place).free, place)


def _shared_memory_bytes() -> int | None:
    place = Path("/dev/shm")
    return shutil.disk_usage(place).total if place.is_dir() else None


def _ray_auth() -> Check:
    default = Path.home() / ".ray" / "auth_token"
    token_file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or default)
    mode = stat.S_IMODE(token_file.stat().st_mode) if token_file.is_file() else None
    return check.ray_auth(os.environ, mode, token_file)


def _hub() -> Check:
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    return check.hub(offline, cache, cache.is_dir())
