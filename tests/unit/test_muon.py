"""The optimizer of the tiny model against torch's own, which computes in bfloat16."""

import torch

from learner.muon import Muon, orthogonal


def test_singular_values_come_near_one_and_directions_stay():
    for shape in ((3, 8, 8), (2, 4, 12), (2, 12, 4)):
        matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))

        found = orthogonal(matrices)

        values = torch.linalg.svdvals(found)
        assert values.min() > 0.6 and values.max() < 1.3
        left, _, right = torch.linalg.svd(matrices, full_matrices=False)
        inner = left.mT @ found @ right.mT
        assert torch.allclose(inner, torch.diag_embed(inner.diagonal(dim1=1, dim2=2)), atol=1e-4)


def test_a_few_steps_are_those_of_torchs_muon_but_for_its_rounding():
    start = [torch.randn(s, generator=torch.Generator().manual_seed(2)) for s in ((8, 8), (16, 8))]
    ours, theirs = ([t.clone().requires_grad_() for t in start] for _ in range(2))
    mine = Muon(ours, lr=0.02, weight_decay=0.1)
    other = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")

    for number in range(4):
        for matrices, optimizer in ((ours, mine), (theirs, other)):
            for matrix in matrices:
                generator = torch.Generator().manual_seed(number)
                matrix.grad = torch.randn(matrix.shape, generator=generator)
            optimizer.step()

    for before, mine_now, other_now in zip(start, ours, theirs, strict=True):
        moved = (other_now - before).norm()
        assert (mine_now - other_now).norm() < 0.02 * moved
