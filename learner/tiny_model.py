"""Pre-training of the tiny model: first how to calculate (terse flawless solutions), then how to
ramble (the teacher's). It is the supervised stage that On-Policy SFT starts from.

Every batch holds the same number of padded tokens: CPU kernels want constant shapes.
Axes: B documents, T positions, V vocabulary.
"""

import itertools
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from configs.processor import computes_bfloat16
from learner.muon import Muon
from learner.tiny_task import Chain, Teacher, draw, draw_verbosity
from learner.tiny_tokenizer import END, MODEL_MAX_LENGTH, PAD, render_prompt, token_id

BATCH_TOKENS = 2880
LENGTHS = tuple(length for length in range(72, 721) if BATCH_TOKENS % length == 0)
MAX_RESPONSE = 640
"""Longer solutions are not taught, so that few samples outgrow the context."""
EAGER_LENGTH = 240
"""Up to here plain attention beats the fused kernel on a CPU."""
CHUNK = 64
IGNORED = -100
REPORT_S = 5.0

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretraining:
    steps: int = 1000
    terse_share: float = 0.4
    """Part of the steps spent on terse, flawless solutions."""
    lr: float = 6e-3
    warmup_steps: int = 40
    decay_share: float = 0.5
    """Part of the steps over which the rate falls to ``final_lr`` times its height."""
    final_lr: float = 0.02
    weight_decay: float = 0.05
    seed: int = 0

    def lr_at(self, step: int) -> float:
        rising = min(1.0, (step + 1) / self.warmup_steps)
        left = (1 - step / self.steps) / self.decay_share
        return self.lr * rising * max(self.final_lr, min(1.0, left))


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    prompt_ids: list[int]
    response_ids: list[int]

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.response_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    ids_BT: Tensor
    labels_BT: Tensor
    """The response's tokens, ``IGNORED`` elsewhere."""


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A Llama of 0.9 million weights. Heads of 32, or vLLM has no CPU kernel for it."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=MODEL_MAX_LENGTH,
        tie_word_embeddings=True,
        rms_norm_eps=1e-5,
        initializer_range=0.08,  # the usual 0.02 is too small at this width
        bos_token_id=None,
        eos_token_id=token_id(tokenizer, END),
        pad_token_id=token_id(tokenizer, PAD),
    )
    return LlamaForCausalLM(config)


def pretrain(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, plan: Pretraining, report: Report
) -> None:
    """Train ``model`` in place. The weights depend on the plan and the
    processor, not on the clock."""
    optimizers = _optimizers(model, plan)
    probe = _probe(tokenizer, plan.seed)
    started = reported = time.monotonic()
    for step, batch in enumerate(_batches(tokenizer, plan)):
        loss = _step(model, optimizers, batch, plan.lr_at(step))
        now, done = time.monotonic(), step + 1
        if now - reported >= REPORT_S or done == plan.steps:
            reported = now
            accuracy = equation_accuracy(model, probe)
            left = (now - started) / done * (plan.steps - done)
            report(
                f"tiny: step {done}/{plan.steps}, loss {loss:.3f}, "
                f"equation accuracy {accuracy:.2f}, {left:.0f} s left"
            )


def _step(
    model: LlamaForCausalLM, optimizers: list[torch.optim.Optimizer], batch: Batch, lr: float
) -> float:
    short = batch.ids_BT.shape[1] <= EAGER_LENGTH
    model.set_attn_implementation("eager" if short else "sdpa")
    with _compute():
        logits_BTV = model(input_ids=batch.ids_BT).logits
    loss = F.cross_entropy(
        logits_BTV[:, :-1].float().flatten(0, 1),
        batch.labels_BT[:, 1:].flatten(),
        ignore_index=IGNORED,
    )
    model.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
    return loss.item()


def _compute() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=computes_bfloat16())


@torch.no_grad()
def equation_accuracy(model: LlamaForCausalLM, probe: Batch) -> float:
    """Share of labelled tokens of ``probe`` that the model would write itself."""
    with _compute():
        guesses_BT = model(input_ids=probe.ids_BT).logits[:, :-1].argmax(-1)
    labels_BT = probe.labels_BT[:, 1:]
    asked_BT = labels_BT != IGNORED
    return (guesses_BT == labels_BT)[asked_BT].float().mean().item()


def _probe(tokenizer: PreTrainedTokenizerFast, seed: int) -> Batch:
    """Flawless held-out solutions, labelled only where a result is due: the digits after ``=``."""
    rng = random.Random(f"{seed} probe")
    chains = [draw(rng, heldout=True) for _ in range(20)]
    texts = [Teacher().flawless.solve(chain, rng, 0.0) for chain in chains]
    batch = _collate(_encode(tokenizer, chains, texts), 144, token_id(tokenizer, PAD))
    digits = {token_id(tokenizer, digit) for digit in "0123456789"}
    equals = token_id(tokenizer, "=")
    for row, ids in zip(batch.labels_BT, batch.ids_BT.tolist(), strict=True):
        due = False
        for position, token in enumerate(ids):
            due = token == equals or (due and token in digits)
            if not due or token == equals:
                row[position] = IGNORED
    return batch


def _batches(tokenizer: PreTrainedTokenizerFast, plan: Pretraining) -> Iterator[Batch]:
    pad_id = token_id(tokenizer, PAD)
    terse = int(plan.steps * plan.terse_share)
    for style, count in (("terse", terse), ("rambling", plan.steps - terse)):
        documents = _documents(tokenizer, plan, style)
        yield from itertools.islice(_bucketed(documents, pad_id), count)


def _bucketed(documents: Iterator[Document], pad_id: int) -> Iterator[Batch]:
    buckets: dict[int, list[Document]] = {length: [] for length in LENGTHS}
    for document in documents:
        length = next(length for length in LENGTHS if length >= len(document))
        bucket = buckets[length]
        bucket.append(document)
        if len(bucket) * length == BATCH_TOKENS:
            yield _collate(bucket, length, pad_id)
            bucket.clear()


def _documents(
    tokenizer: PreTrainedTokenizerFast, plan: Pretraining, style: str
) -> Iterator[Document]:
    rng = random.Random(f"{plan.seed} {style}")
    teacher = Teacher() if style == "rambling" else Teacher().flawless
    while True:
        chains = [draw(rng, heldout=False) for _ in range(CHUNK)]
        texts = [
            teacher.solve(chain, rng, draw_verbosity(rng) if style == "rambling" else 0.03)
            for chain in chains
        ]
        documents = _encode(tokenizer, chains, texts)
        yield from (doc for doc in documents if len(doc.response_ids) <= MAX_RESPONSE)


def _encode(
    tokenizer: PreTrainedTokenizerFast, chains: list[Chain], texts: list[str]
) -> list[Document]:
    prompts = tokenizer([render_prompt(chain.question) for chain in chains])["input_ids"]
    responses = tokenizer([text + END for text in texts])["input_ids"]
    return [
        Document(prompt_ids=prompt, response_ids=response)
        for prompt, response in zip(prompts, responses, strict=True)
    ]


def _collate(documents: list[Document], length: int, pad_id: int) -> Batch:
    ids_BT = torch.full((len(documents), length), pad_id)
    labels_BT = torch.full((len(documents), length), IGNORED)
    for row, document in enumerate(documents):
        start, end = len(document.prompt_ids), len(document)
        ids_BT[row, :end] = torch.tensor(document.prompt_ids + document.response_ids)
        labels_BT[row, start:end] = ids_BT[row, start:end]
    return Batch(ids_BT=ids_BT, labels_BT=labels_BT)


def _optimizers(model: LlamaForCausalLM, plan: Pretraining) -> list[torch.optim.Optimizer]:
    """Muon for the matrices between the embeddings: it learns in half of AdamW's steps here."""
    matrices, others = [], []
    for name, weight in model.named_parameters():
        inner = weight.ndim == 2 and "embed_tokens" not in name
        (matrices if inner else others).append(weight)
    muon = Muon(matrices, lr=plan.lr, weight_decay=plan.weight_decay)
    adamw = torch.optim.AdamW(others, lr=plan.lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    return [muon, adamw]
