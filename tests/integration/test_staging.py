"""Weights that are staged beside the model replace the last ones, and leave nothing behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.integration.conftest import ROOT
from tests.tiny_llama import write_tiny_llama


def test_a_swap_leaves_nothing_of_the_one_before(tmp_path: Path):
    write_tiny_llama(tmp_path, seed=0)

    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.staging_cases", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=300,
        check=True,
    )

    first, *others = json.loads(done.stdout.splitlines()[-1])
    assert others == [first] * 4  # the last one after a staging that was given up
