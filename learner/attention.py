"""Attention inside a pack: every segment sees itself, causally, and the prompt it answers.

Registered with transformers under a name, so that a model needs no change. Nothing outside a
segment is ever multiplied with it: what is not computed cannot leak, and costs nothing. On a GPU
one kernel takes all segments, elsewhere they come one after the other.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

from learner.pack import Pack, Segment

NAME = "laconic_segments"

FLASH_DTYPES = (torch.bfloat16, torch.float16)


def register() -> None:
    """From now on a model can be loaded with ``attn_implementation=NAME``."""
    AttentionInterface.register(NAME, segment_attention)
    AttentionMaskInterface.register(NAME, _no_mask)


def segment_attention(
    module: torch.nn.Module,
    query_BHTD: Tensor,
    key_BHTD: Tensor,
    value_BHTD: Tensor,
    attention_mask: Any,
    scaling: float | None = None,
    dropout: float = 0.0,
    segments: tuple[Segment, ...] | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in every layer; ``segments`` comes through the model's forward."""
    if softcap is not None:
        raise NotImplementedError("attention with a soft cap")
    if segments is None:
        segments = (Segment(query_BHTD.shape[2]),)
    if sliding_window is not None and longest_sight(segments) > sliding_window:
        raise NotImplementedError(f"a context longer than the sliding window {sliding_window}")
    if query_BHTD.is_cuda and query_BHTD.dtype in FLASH_DTYPES and dropout == 0:
        return all_at_once(query_BHTD, key_BHTD, value_BHTD, segments, scaling), None
    return one_by_one(query_BHTD, key_BHTD, value_BHTD, segments, scaling, dropout), None


def one_by_one(
    query_BHTD: Tensor,
    key_BHTD: Tensor,
    value_BHTD: Tensor,
    segments: tuple[Segment, ...],
    scaling: float | None,
    dropout: float = 0.0,
) -> Tensor:
    sizes = [segment.num_positions for segment in segments]
    queries, keys, values = (x.split(sizes, dim=2) for x in (query_BHTD, key_BHTD, value_BHTD))
    grouped = query_BHTD.shape[1] != key_BHTD.shape[1]
    seen: list[Tensor] = []
    for index, segment in enumerate(segments):
        key, value, mask = keys[index], values[index], None
        if segment.prefix is not None:
            key = torch.cat([keys[segment.prefix], key], dim=2)
            value = torch.cat([values[segment.prefix], value], dim=2)
            mask = _below_diagonal(queries[index].shape[2], key.shape[2], key.device)
        seen.append(
            F.scaled_dot_product_attention(
                queries[index],
                key,
                value,
                attn_mask=mask,
                is_causal=mask is None,
                dropout_p=dropout,
                scale=scaling,
                enable_gqa=grouped,
            )
        )
    return torch.cat(seen, dim=2).transpose(1, 2)


def all_at_once(
    query_BHTD: Tensor,
    key_BHTD: Tensor,
    value_BHTD: Tensor,
    segments: tuple[Segment, ...],
    scaling: float | None,
) -> Tensor:
    """Flash attention over segments of different lengths. A response's keys are its prompt's and
    its own; the kernel lets its last query see all of them, the one before all but the last."""
    layout = _layout(segments, query_BHTD.device)
    query_THD, key_THD, value_THD = (
        x[0].transpose(0, 1) for x in (query_BHTD, key_BHTD, value_BHTD)
    )
    seen_THD = varlen_attn(
        query_THD,
        key_THD[layout.keys_K],
        value_THD[layout.keys_K],
        layout.query_ends_S,
        layout.key_ends_S,
        layout.longest_query,
        layout.longest_sight,
        scale=scaling,
        window_size=(-1, 0),
        enable_gqa=query_THD.shape[1] != key_THD.shape[1],
    )
    assert isinstance(seen_THD, Tensor)
    return seen_THD[None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where the segments' queries and keys begin and end. Suffixes: K keys, S segments and 1."""

    keys_K: Tensor
    """Positions in the pack, a shared prompt's once for each response to it."""
    query_ends_S: Tensor
    key_ends_S: Tensor
    longest_query: int
    longest_sight: int


@lru_cache(maxsize=4)  # every layer of a pack asks
def _layout(segments: tuple[Segment, ...], device: torch.device) -> _Layout:
    sizes = [segment.num_positions for segment in segments]
    starts = [0, *accumulate(sizes)]
    spans = [range(start, end) for start, end in pairwise(starts)]
    sights = [
        [*(spans[segment.prefix] if segment.prefix is not None else ()), *span]
        for segment, span in zip(segments, spans, strict=True)
    ]

    def ends(lengths: list[int]) -> Tensor:
        return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)

    return _Layout(
        keys_K=torch.tensor([key for sight in sights for key in sight], device=device),
        query_ends_S=ends(sizes),
        key_ends_S=ends([len(sight) for sight in sights]),
        longest_query=max(sizes),
        longest_sight=longest_sight(segments),
    )


def longest_sight(segments: tuple[Segment, ...]) -> int:
    return max(
        segment.num_positions
        + (0 if segment.prefix is None else segments[segment.prefix].num_positions)
        for segment in segments
    )


def _below_diagonal(num_queries: int, num_keys: int, device: torch.device) -> Tensor:
    """The last query sees all keys, the one before all but the last, and so on."""
    everything = torch.ones(num_queries, num_keys, dtype=torch.bool, device=device)
    return everything.tril(num_keys - num_queries)


def _no_mask(*_: Any, **__: Any) -> None:
    """The segments say who sees whom."""


def hidden_states(model: PreTrainedModel, pack: Pack) -> Tensor:
    """Outputs of the last layer, ``[T, hidden]``, before the logits."""
    decoder: Any = model.get_decoder()
    return decoder(
        input_ids=pack.ids_T[None],
        position_ids=pack.positions_T[None],
        use_cache=False,
        segments=pack.segments,
    ).last_hidden_state[0]
