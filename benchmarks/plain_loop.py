"""What a careful person writes in an afternoon: generate, verify, train, reload, in one process.

    python -m benchmarks.plain_loop JOB [--published]

A side of ``benchmarks.whole_loop``, which gives it its job. vLLM in this process writes, the
project's judge decides, transformers and AdamW learn, and the new weights go to the engine by a
call. Rows of similar length share a micro-batch of one of a few constant shapes, since a CPU is
several times slower when shapes vary; the sum of the loss is divided by the tokens of the step.

``--published`` makes the choices of the released code of On-Policy SFT (EIT-NLP/On-Policy-SFT):
answers are judged one by one by math-verify where they are numbers, micro-batches of four rows are
padded to the longest possible, each contributes the mean over its own tokens, and weights travel as
a complete saved model. It stays one update for a batch, as on the other sides.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from vllm import LLM, SamplingParams
from vllm.inputs import TokensPrompt
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

from benchmarks.loop_job import Job, Log

PUBLISHED_ROWS = 4
NARROWEST = 32

Row = tuple[list[int], int]
"""Tokens of a prompt and its response, and how many of them are the prompt's."""


def micro_batches(rows: list[Row], pack: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Tokens, and targets with -100 where nothing is learned: longest first, ``pack`` positions."""
    widths = [width for width in range(NARROWEST, pack + 1) if pack % width == 0]
    rows = sorted(rows, key=lambda row: -len(row[0]))
    while rows:
        longest = len(rows[0][0])
        width = next((width for width in widths if width >= longest), longest)
        height = max(1, pack // width)
        yield padded(rows[:height], height, width)
        rows = rows[height:]


def padded(rows: list[Row], height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids_BT = torch.zeros(height, width, dtype=torch.long)
    targets_BT = torch.full_like(ids_BT, -100)
    for index, (ids, prompt) in enumerate(rows):
        ids_BT[index, : len(ids)] = torch.tensor(ids)
        targets_BT[index, prompt : len(ids)] = ids_BT[index, prompt : len(ids)]
    return ids_BT, targets_BT


def summed_loss(
    model: PreTrainedModel, ids_BT: torch.Tensor, targets_BT: torch.Tensor, dtype: str
) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
        logits_BTV = model(input_ids=ids_BT, use_cache=False).logits[:, :-1]
    return F.cross_entropy(
        logits_BTV.float().flatten(0, 1), targets_BT[:, 1:].flatten(), reduction="sum"
    )


def learn(model: PreTrainedModel, rows: list[Row], job: Job) -> None:
    """The gradient of the mean over all response tokens of the step."""
    tokens = sum(len(ids) - prompt for ids, prompt in rows)
    for ids_BT, targets_BT in micro_batches(rows, job.pack_tokens):
        (summed_loss(model, ids_BT, targets_BT, job.learner_dtype) / tokens).backward()


def learn_as_published(model: PreTrainedModel, rows: list[Row], job: Job) -> None:
    """The mean of the micro-batches' own means."""
    width, number = job.max_prompt_tokens + job.budget, -(-len(rows) // PUBLISHED_ROWS)
    for start in range(0, len(rows), PUBLISHED_ROWS):
        some = rows[start : start + PUBLISHED_ROWS]
        tokens = sum(len(ids) - prompt for ids, prompt in some)
        loss = summed_loss(model, *padded(some, len(some), width), job.learner_dtype)
        (loss / tokens / number).backward()


def math_verify_says(answer: str, response: str) -> bool:
    from math_verify import parse, verify  # noqa: PLC0415  sympy, for one side only

    given = parse(response.rpartition("</think>")[2], parsing_timeout=0)
    gold = parse(rf"\boxed{{{answer}}}", parsing_timeout=0)
    return bool(verify(gold, given, timeout_seconds=None))


def started_engine(job: Job) -> LLM:
    return LLM(
        job.model_dir,
        dtype=getattr(torch, job.engine_dtype),
        max_model_len=job.max_model_len,
        max_num_seqs=job.max_num_seqs,
        enforce_eager=True,
        generation_config="vllm",
        seed=job.seed,
        disable_log_stats=True,
    )


def reload(llm: LLM, model: PreTrainedModel, job: Job) -> None:
    dtype = getattr(torch, job.engine_dtype)
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    weights = (
        (name, weight.detach().to(dtype).clone())
        for name, weight in model.state_dict().items()
        if name not in tied
    )
    llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
    _serve_them(llm)


def reload_as_published(llm: LLM, model: PreTrainedModel, job: Job) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        llm.collective_rpc("reload_weights", kwargs={"weights_path": folder})
    _serve_them(llm)


def _serve_them(llm: LLM) -> None:
    llm.apply_model(_repack_output_layer)
    llm.reset_prefix_cache()


def _repack_output_layer(model: torch.nn.Module) -> None:
    """vLLM 0.32 computes with a packed copy on a CPU, and forgets it where weights are tied."""
    for layer in model.modules():
        if isinstance(layer, ParallelLMHead):
            quant_method: Any = layer.quant_method
            quant_method.process_weights_after_loading(layer)


def run(job: Job, *, published: bool) -> None:
    judge: Callable[[str, str], bool] = job.is_right
    if published and job.verifier == "number":
        judge = math_verify_says
    compute_gradient = learn_as_published if published else learn
    bring = reload_as_published if published else reload
    log = Log(job)
    llm = started_engine(job)
    tokenizer = AutoTokenizer.from_pretrained(job.model_dir)
    model = AutoModelForCausalLM.from_pretrained(job.model_dir, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=job.lr,
        betas=job.betas,
        eps=job.eps,
        weight_decay=job.weight_decay,
    )
    sampling = SamplingParams(n=job.group, temperature=1.0, max_tokens=job.budget)
    log.ready()
    for step, problems in enumerate(job.batches(), start=1):
        prompts = [_prompt(tokenizer, problem["prompt"]) for problem in problems]
        outputs = llm.generate(
            [TokensPrompt(prompt_token_ids=ids) for ids in prompts], sampling, use_tqdm=False
        )
        rows: list[Row] = [
            (ids + list(answer.token_ids), len(ids))
            for problem, ids, output in zip(problems, prompts, outputs, strict=True)
            for answer in output.outputs
            if answer.finish_reason == "stop" and judge(str(problem["answer"]), answer.text)
        ]
        if rows:
            compute_gradient(model, rows, job)
            torch.nn.utils.clip_grad_norm_(model.parameters(), job.clip)
            for group in optimizer.param_groups:
                group["lr"] = job.lr * min(1.0, step / max(1, job.warmup_steps))
            optimizer.step()
            optimizer.zero_grad()
            bring(llm, model, job)
        log.step(
            generated=sum(len(a.token_ids) for output in outputs for a in output.outputs),
            trained=sum(len(ids) - prompt for ids, prompt in rows),
            rollouts=job.problems * job.group,
            accepted=len(rows),
        )


def _prompt(tokenizer: Any, question: str) -> list[int]:
    turns = [{"role": "user", "content": question}]
    return tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("job", help="JSON of benchmarks.loop_job.Job")
    parser.add_argument("--published", action="store_true")
    given = parser.parse_args()
    run(Job.read(given.job), published=given.published)
    os._exit(0)  # the rows are written; what vLLM does at its end is not of interest


if __name__ == "__main__":
    main()
