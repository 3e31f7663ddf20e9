"""Heavy libraries stay at the edges: a typo must be told in a second, and logic needs no GPU."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("actors", "cluster", "configs", "dashboard", "evaluation", "learner", "verifiers")
LIGHT = (
    "actors.curriculum",
    "actors.generator",
    "actors.history",
    "actors.judge",
    "actors.ledger",
    "actors.prompts",
    "actors.recorder",
    "actors.replay",
    "actors.weight_image",
    "actors.weight_swap",
    "cluster.check",
    "cluster.checkpoint",
    "cluster.ckpt",
    "cluster.loop",
    "cluster.neighbours",
    "cluster.main",
    "cluster.plan",
    "cluster.replay",
    "configs.load",
    "dashboard.demo.write",
    "dashboard.server.app",
    "cluster.eval_rows",
    "evaluation.comparison",
    "evaluation.evaluator",
    "evaluation.figures",
    "verifiers.filters",
    "verifiers.hooks",
    "verifiers.pool",
    "verifiers.registry",
)


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_brings_no_heavy_library(module: str):
    code = (
        f"import sys, {module}; "
        "print({'torch', 'vllm', 'deepspeed', 'ray', 'transformers'} & set(sys.modules))"
    )

    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert found.stdout.strip() == "set()", found.stdout + found.stderr


@pytest.mark.parametrize("package", OURS)
def test_our_packages_are_ours(package: str):
    spec = importlib.util.find_spec(package)

    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).is_relative_to(ROOT)


def test_the_command_puts_our_packages_before_namesakes(tmp_path: Path):
    """A PyPI ``verifiers`` next to the console script, or first in PYTHONPATH, does not win."""
    site = tmp_path / "site"
    (site / "verifiers").mkdir(parents=True)
    (site / "verifiers" / "__init__.py").write_text("raise ImportError('the namesake')")
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import laconic_cli; del sys.path[0]; "
        f"sys.path.insert(0, {str(site)!r}); laconic_cli.put_root_first(); "
        "import os, subprocess, verifiers.types; "
        "subprocess.run([sys.executable, '-c', 'import verifiers.types'], check=True)"
    )

    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site), "PATH": ""},
        capture_output=True,
        text=True,
    )

    assert ran.returncode == 0, ran.stderr
