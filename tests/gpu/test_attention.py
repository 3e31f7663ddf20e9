import pytest
import torch

from learner import attention
from tests.integration.test_attention import SEGMENTS, inputs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


def test_the_kernel_gives_what_the_segments_give_one_by_one():
    exact, fast = inputs(), inputs(torch.bfloat16, "cuda")

    expected = attention.one_by_one(*exact, SEGMENTS, 0.3)
    found, _ = attention.segment_attention(torch.nn.Module(), *fast, None, 0.3, segments=SEGMENTS)
    expected.sin().sum().backward()
    found.sin().sum().backward()

    assert torch.allclose(found.double().cpu(), expected, atol=2e-2)
    for ours, theirs in zip(fast, exact, strict=True):
        assert ours.grad is not None and theirs.grad is not None
        error = (ours.grad.double().cpu() - theirs.grad).norm() / theirs.grad.norm()
        assert error < 2e-2
