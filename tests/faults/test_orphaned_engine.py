"""The process that computes does not outlive the one that started it, whenever that is killed."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT
from tests.integration.runs import wait_until
from tests.tiny_llama import write_tiny_llama

OWNER = """
import asyncio, sys
from actors.engine import make_vllm_engine
from configs.schema import EngineConfig

config = EngineConfig(dtype="float32", max_model_len=64, max_num_seqs=4, kv_cache_gib=0.1)

async def serve():
    await make_vllm_engine(config, model_dir=sys.argv[1], device="cpu", threads=1, seed=0).start()
    print("serving", flush=True)
    await asyncio.sleep(600)

if __name__ == "__main__":
    asyncio.run(serve())
"""

START_S, GONE_S = 180, 60

HANDSHAKE_S = 300
"""So long vLLM's process waits for an owner that died before they had spoken; nothing of ours runs
in it yet."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_tiny_llama(folder, 0)
    (folder / "owner.py").write_text(OWNER)
    return folder


@pytest.mark.row(23)
@pytest.mark.timeout(START_S + HANDSHAKE_S + GONE_S + 60)
@pytest.mark.parametrize(
    "moment", [pytest.param("it is there", marks=pytest.mark.long), "it loads", "it serves"]
)
def test_an_engine_whose_owner_is_killed_ends(model: Path, moment: str):
    owner = subprocess.Popen(
        [sys.executable, str(model / "owner.py"), str(model)],
        cwd=ROOT, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(model)},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        (engine,) = wait_until(lambda: engines_of(owner.pid), "its engine's process", START_S)
        if moment == "it loads":
            wait_until(lambda: "/vllm/" in mapped(engine), "the engine to import vLLM", START_S)
        if moment == "it serves":
            assert owner.stdout is not None
            assert owner.stdout.readline() == "serving\n"
        assert runs(engine)
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    limit = GONE_S + (HANDSHAKE_S if moment == "it is there" else 0)
    wait_until(lambda: not runs(engine), "the engine to end", limit)


def engines_of(owner: int) -> list[int]:
    """Children that ``multiprocessing`` spawned; its resource tracker is not one of them."""
    threads = Path(f"/proc/{owner}/task").glob("*/children")
    children = [int(pid) for thread in threads for pid in thread.read_text().split()]
    return [pid for pid in children if b"spawn_main" in command_of(pid)]


def command_of(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def mapped(process: int) -> str:
    """Names of the libraries that it has loaded."""
    return Path(f"/proc/{process}/maps").read_text()


def runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
