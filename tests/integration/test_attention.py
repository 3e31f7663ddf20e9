"""Both ways through a pack's segments. Suffixes: B batch, H heads, T positions, D head size."""

from typing import Any

import pytest
import torch
from torch import Tensor

from learner import attention
from learner.pack import Segment

SEGMENTS = (Segment(4), Segment(3, 0), Segment(1, 0), Segment(5), Segment(2, 3), Segment(6))


def inputs(
    dtype: torch.dtype = torch.float64, device: str = "cpu"
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    length = sum(segment.num_positions for segment in SEGMENTS)

    def randn(heads: int) -> Tensor:
        tensor = torch.randn(1, heads, length, 8, generator=generator, dtype=torch.float64)
        return tensor.to(device, dtype).requires_grad_()

    return randn(4), randn(2), randn(2)


def plain_varlen(
    query_THD: Tensor, key_THD: Tensor, value_THD: Tensor, query_ends: Tensor, key_ends: Tensor,
    longest_query: int, longest_key: int, *, scale: float, window_size: Any, enable_gqa: bool,
) -> Tensor:  # fmt: skip
    """What the kernel's documentation says, one query after the other; it runs on GPUs only."""
    assert window_size == (-1, 0) and enable_gqa
    assert longest_query == query_ends.diff().max() and longest_key == key_ends.diff().max()
    repeat = query_THD.shape[1] // key_THD.shape[1]
    key_THD, value_THD = (x.repeat_interleave(repeat, dim=1) for x in (key_THD, value_THD))
    rows = []
    for segment in range(len(query_ends) - 1):
        first, end = query_ends[segment], query_ends[segment + 1]
        key_first, key_end = key_ends[segment], key_ends[segment + 1]
        for position in range(first, end):
            upto = key_end - (end - 1 - position)
            scores = torch.einsum("hd,khd->hk", query_THD[position], key_THD[key_first:upto])
            weights = (scores * scale).softmax(-1)
            rows.append(torch.einsum("hk,khd->hd", weights, value_THD[key_first:upto]))
    return torch.stack(rows)


def test_all_segments_at_once_are_the_segments_one_by_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(attention, "varlen_attn", plain_varlen)
    one_by_one, at_once = inputs(), inputs()

    expected = attention.one_by_one(*one_by_one, SEGMENTS, 0.3)
    found = attention.all_at_once(*at_once, SEGMENTS, 0.3)
    expected.sin().sum().backward()
    found.sin().sum().backward()

    assert torch.allclose(found, expected)
    for ours, theirs in zip(at_once, one_by_one, strict=True):
        assert ours.grad is not None and theirs.grad is not None
        assert torch.allclose(ours.grad, theirs.grad)
