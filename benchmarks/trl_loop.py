"""The nearest thing that a ready trainer does: TRL's GRPOTrainer with a reward of 0 or 1.

    python -m benchmarks.trl_loop JOB

A side of ``benchmarks.whole_loop``, which gives it its job; needs `pip install trl`. transformers
writes, since on a CPU TRL's vLLM mode fails at its first sync of weights. No reference model, one
update for a batch. It learns from rejected samples too: what is counted as trained are the accepted
ones, so its generated tokens say as much.
"""

import argparse
import os
import sys
import tempfile
from typing import Any

from benchmarks.loop_job import Job, Log

ROWS = 64
"""Completions of one forward pass when it learns."""


def run(job: Job) -> None:
    try:
        from trl import GRPOConfig, GRPOTrainer  # noqa: PLC0415  optional
    except ImportError as error:
        sys.exit(f"trl is missing ({error}): pip install trl, or give --trl FOLDER that holds it")
    import torch  # noqa: PLC0415  after the message
    from datasets import Dataset  # noqa: PLC0415  comes with trl
    from transformers import (  # noqa: PLC0415
        AutoModelForCausalLM,
        AutoTokenizer,
        TrainerCallback,
    )

    log = Log(job)
    tokenizer = AutoTokenizer.from_pretrained(job.model_dir)
    model = AutoModelForCausalLM.from_pretrained(job.model_dir, dtype=torch.float32)
    step: dict[str, int] = {}

    def reward(completion_ids: list[list[int]], answer: list[str], **_: Any) -> list[float]:
        right = []
        for ids, gold in zip(completion_ids, answer, strict=True):
            ended = bool(ids) and ids[-1] == tokenizer.eos_token_id
            text = tokenizer.decode(ids, skip_special_tokens=True)
            right.append(ended and job.is_right(gold, text))
        step["generated"] = sum(map(len, completion_ids))
        step["trained"] = sum(len(ids) for ids, ok in zip(completion_ids, right, strict=True) if ok)
        step["rollouts"], step["accepted"] = len(right), sum(right)
        return [float(ok) for ok in right]

    class Rows(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            log.ready()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            log.step(**step)

    size = job.problems * job.group
    rows = min(ROWS, size)
    settings = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        use_cpu=True,
        bf16=job.learner_dtype == "bfloat16",
        max_steps=job.steps,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=size // rows,
        num_generations=job.group,
        max_completion_length=job.budget,
        temperature=1.0,
        beta=0.0,
        use_vllm=False,
        shuffle_dataset=False,
        learning_rate=job.lr,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=job.warmup_steps,
        adam_beta1=job.betas[0],
        adam_beta2=job.betas[1],
        adam_epsilon=job.eps,
        weight_decay=job.weight_decay,
        max_grad_norm=job.clip,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        logging_steps=10**6,
        seed=job.seed,
    )
    questions = [
        {
            "prompt": [{"role": "user", "content": problem["prompt"]}],
            "answer": str(problem["answer"]),
        }
        for batch in job.batches()
        for problem in batch
    ]
    GRPOTrainer(
        model=model,
        args=settings,
        reward_funcs=reward,
        train_dataset=Dataset.from_list(questions),
        processing_class=tokenizer,
        callbacks=[Rows()],
    ).train()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("job", help="JSON of benchmarks.loop_job.Job")
    run(Job.read(parser.parse_args().job))
    os._exit(0)  # the rows are written


if __name__ == "__main__":
    main()
