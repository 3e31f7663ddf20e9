"""Images, manifests and scripts for clusters, as far as they can be tried without one.

hadolint and shellcheck are asked as well, where they are installed.
"""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.load import load, validate

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
SCRIPTS = [DOCKER / "laconic.sh", DOCKER / "slurm/laconic.sbatch"]
SLURM = DOCKER / "slurm/laconic.sbatch"


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """``("RUN", "apt-get …")``; continued lines are one, comments are gone."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n", " ", "\n".join(lines))
    words = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return [(word.upper(), rest) for word, rest in words]


def copied(dockerfile: Path) -> dict[str, str]:
    pairs = [rest.split() for word, rest in instructions(dockerfile) if word == "COPY"]
    assert all(len(pair) == 2 for pair in pairs)
    return {pair[0]: pair[1] for pair in pairs}


def is_sent(path: str) -> bool:
    """Whether ``.dockerignore`` lets it into the build; the last line that fits decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.lstrip("!")
        if not line or line.startswith("#"):
            continue
        parents = [path, *(str(p) for p in Path(path).parents if str(p) != ".")]
        plain = pattern.removeprefix("**/")
        names = parents if plain == pattern else [Path(p).name for p in parents]
        if any(fnmatch(name, plain) and ("/" in plain) >= ("/" in name) for name in names):
            sent = line.startswith("!")
    return sent


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_is_pinned_and_does_not_run_as_root(dockerfile: Path):
    found = instructions(dockerfile)

    base = dict(found)["ARG"].removeprefix("BASE=")
    assert re.search(r":\d+\.\d+\.\d+-", base), "a tag with a whole version"
    users = [rest for word, rest in found if word == "USER"]
    assert users == ["10001"]
    assert found.index(("USER", "10001")) > max(i for i, (w, _) in enumerate(found) if w == "RUN")
    assert "token" in dict(found)["ENV"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_every_step_of_a_build_is_shell(dockerfile: Path):
    for word, rest in instructions(dockerfile):
        if word == "RUN":
            step = re.sub(r"^--mount=\S+\s+", "", rest)
            checked = subprocess.run(["bash", "-n", "-c", step], capture_output=True, text=True)
            assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_what_is_copied_is_sent_to_the_build_and_is_all_that_the_command_needs(
    dockerfile: Path, tmp_path: Path
):
    app = tmp_path / "app"
    for source, target in copied(dockerfile).items():
        assert (ROOT / source).exists(), source
        assert is_sent(source), source
        if not target.startswith("/app"):
            continue
        into = tmp_path / target.lstrip("/")
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, into, ignore=shutil.ignore_patterns("web"))
        else:
            into.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / source, into)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(app), "HOME": str(tmp_path)}

    for command in (["train", "tiny", "stepz=1"], ["train", "--help"]):
        ran = subprocess.run(
            [sys.executable, str(app / "laconic_cli.py"), *command],
            cwd=tmp_path, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert ran.returncode == (0 if "--help" in command else 2), ran.stderr
    assert "did you mean" in ran.stderr or "Usage" in ran.stdout
    modules = "cluster.train, cluster.session, cluster.submit, actors.recorder, learner.pack"
    ran = subprocess.run(
        [sys.executable, "-c", f"import {modules}; print(cluster.train.__file__)"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.stdout.startswith(str(app)), ran.stderr


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("cluster/main.py", True), ("laconic_cli.py", True), ("requirements/cpu.lock", True),
        ("docker/laconic.sh", True), ("dashboard/server/store.py", True),
        (".venv/bin/python", False), (".git/config", False), ("runs/a/run.json", False),
        ("dashboard/web/node_modules/x.js", False), ("cluster/__pycache__/a.pyc", False),
        ("tests/unit/test_plan.py", False), (".env", False),
    ],
)  # fmt: skip
def test_what_is_sent_to_a_build(path: str, sent: bool):
    assert is_sent(path) is sent


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_shell(script: Path):
    shell = "bash" if "bash" in script.read_text().splitlines()[0] else "sh"

    assert subprocess.run([shell, "-n", script]).returncode == 0


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_has_nothing_to_say(dockerfile: Path):
    said = subprocess.run(["hadolint", dockerfile], capture_output=True, text=True)

    assert (said.returncode, said.stdout) == (0, "")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say():
    said = subprocess.run(["shellcheck", *SCRIPTS], capture_output=True, text=True)

    assert (said.returncode, said.stdout) == (0, "")


def test_the_composed_cluster_is_closed_to_the_outside_and_wants_a_token():
    composed = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    services = composed["services"]

    for service in services.values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in composed["volumes"] or (DOCKER / source).is_file(), volume
        assert not service["image" if "image" in service else "build"].endswith(":latest")
    for name in ("head", "worker"):
        assert services[name]["environment"]["RAY_AUTH_MODE"] == "token"
        assert services[name]["environment"]["RAY_AUTH_TOKEN"].startswith("${RAY_AUTH_TOKEN:?")
        assert "--metrics-export-port=8080" in services[name]["command"]
    scraped = yaml.safe_load((DOCKER / "watch/prometheus.yaml").read_text())
    [target] = scraped["scrape_configs"][0]["dns_sd_configs"]
    assert (set(target["names"]), target["port"]) == ({"head", "worker"}, 8080)


def manifests(name: str) -> dict[str, Any]:
    found = yaml.safe_load_all((DOCKER / "kuberay" / name).read_text())
    return {one["kind"]: one for one in found}


def clusters() -> list[dict[str, Any]]:
    return [
        manifests("raycluster.yaml")["RayCluster"]["spec"],
        manifests("rayjob.yaml")["RayJob"]["spec"]["rayClusterSpec"],
    ]


@pytest.mark.parametrize("spec", clusters(), ids=["RayCluster", "RayJob"])
def test_pods_on_kubernetes(spec: dict[str, Any]):
    claim = manifests("raycluster.yaml")["PersistentVolumeClaim"]
    grace_s = load("tiny", []).cluster.grace_s
    locked = re.search(r"^ray==(.*)$", (ROOT / "requirements/gpu.lock").read_text(), re.MULTILINE)
    assert locked is not None
    assert spec["rayVersion"] == locked[1]
    assert spec["authOptions"]["mode"] == "token"
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        [container] = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["terminationGracePeriodSeconds"] > grace_s
        assert container["resources"]["limits"] == container["resources"]["requests"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
        assert mounts["runs"] == "/home/laconic/laconic"
        assert mounts["shared-memory"] == "/dev/shm"
        names = [volume["persistentVolumeClaim"]["claimName"]
                 for volume in pod["volumes"] if "persistentVolumeClaim" in volume]  # fmt: skip
        assert names == [claim["metadata"]["name"]]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_the_job_on_kubernetes_runs_a_configuration_that_is_right_and_fits():
    from cluster.nodes import Node, Resources  # noqa: PLC0415
    from cluster.plan import fit, make_plan  # noqa: PLC0415

    found = manifests("rayjob.yaml")
    job = found["RayJob"]["spec"]
    words = job["entrypoint"].split()
    assert words[:3] == ["laconic", "train", "/config/run.yaml"]
    assert "--resume-or-start" in words and any(word.startswith("name=") for word in words)
    config = validate(yaml.safe_load(found["ConfigMap"]["data"]["run.yaml"]))
    volumes = job["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["volumes"]
    assert {"name": "config", "configMap": {"name": "laconic-run"}} in volumes

    [group] = job["rayClusterSpec"]["workerGroupSpecs"]
    size = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    gpus, cpus = int(size["nvidia.com/gpu"]), int(size["cpu"])
    nodes = [Node(name=f"n{i}", cpus=cpus, gpus=gpus) for i in range(group["minReplicas"])]
    fit(make_plan(config, gpus_seen=gpus), config, Resources(nodes=tuple(nodes)))


FAKES = {
    "scontrol": 'case "$1" in show) printf "n1\\nn2\\nn3\\n";; *) echo "$@" >> "$SEEN";; esac',
    "srun": 'case "$*" in *hostname*) echo "10.0.0.1 fe80::1";; '
    '*) echo "srun $* mode=$RAY_AUTH_MODE token=${#RAY_AUTH_TOKEN}" >> "$SEEN"; sleep 60;; esac',
    # Training ends only when every node was asked to start: on a busy machine that takes a while.
    "python": 'echo "python $*" >> "$SEEN"; trap "exit 75" TERM; if [ -n "$ENDS_WITH" ]; then '
    'until [ "$(grep -c "ray start" "$SEEN")" = 3 ]; do sleep 0.1; done; exit "$ENDS_WITH"; fi; '
    "while :; do sleep 0.1; done",
}


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The environment of a batch step on three nodes; commands only note what is asked."""
    fakes = tmp_path / ".venv/bin"
    fakes.mkdir(parents=True)
    for name, body in FAKES.items():
        path = fakes / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "seen").touch()
    return {
        "PATH": os.environ["PATH"], "SEEN": str(tmp_path / "seen"), "SLURM_JOB_ID": "77",
        "SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_NODELIST": "n[1-3]",
        "SLURM_GPUS_ON_NODE": "8", "ENDS_WITH": "",
    }  # fmt: skip


def batch(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", SLURM, *arguments], env=environment, start_new_session=True, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def ended(job: subprocess.Popen[str]) -> int:
    try:
        return job.wait(timeout=120)
    finally:
        os.killpg(job.pid, signal.SIGKILL)


def test_on_slurm_a_head_and_its_workers_start_and_training_joins_them(slurm: dict[str, str]):
    job = batch(slurm | {"ENDS_WITH": "3"}, "tiny", "name=a", "steps=2")
    assert ended(job) == 3

    seen = Path(slurm["SEEN"]).read_text().splitlines()
    started = sorted(line for line in seen if "ray start" in line)
    assert [line.split(" -w ")[1][:2] for line in started] == ["n1", "n2", "n3"]
    assert "--head" in started[0] and "--port=20077" in started[0]
    assert all("--address=10.0.0.1:20077" in line for line in started[1:])
    assert all(line.endswith("mode=token token=64") for line in started)
    [training] = [line for line in seen if line.startswith("python")]
    assert training == (
        "python -m cluster.main train tiny name=a steps=2 --resume-or-start "
        "cluster.address=10.0.0.1:20077"
    )
    assert not any("requeue" in line for line in seen)


def test_on_slurm_a_preempted_run_commits_and_is_queued_again(slurm: dict[str, str]):
    job = batch(slurm, "tiny", "name=a")
    deadline = time.monotonic() + 20
    while "python" not in Path(slurm["SEEN"]).read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)  # the trap stands once the command before it has started

    os.kill(job.pid, signal.SIGTERM)

    assert ended(job) == 75
    assert "requeue 77" in Path(slurm["SEEN"]).read_text().splitlines()


def test_on_slurm_a_run_without_a_name_is_refused(slurm: dict[str, str]):
    job = batch(slurm, "tiny")

    assert job.wait(timeout=30) == 2
    assert job.stderr is not None and "give name=" in job.stderr.read()
