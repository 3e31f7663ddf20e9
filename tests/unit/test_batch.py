import pytest
import torch

from learner.batch import IGNORED, Totals, build, count, padded_length, plan
from verifiers.types import Rollout


def rollout(
    prompt: tuple[int, ...], response: tuple[int, ...], name: str = "000000.0.0"
) -> Rollout:
    return Rollout(
        id=name, prompt_ids=prompt, response_ids=response, first_version=0, last_version=0
    )


def lengths(seed: int, number: int, longest: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2, longest + 1, (number,), generator=generator).tolist()


CASES = [
    # (lengths, ranks, tokens of a micro-batch)
    ([], 1, 64),
    ([], 2, 64),
    ([5], 1, 64),
    ([5], 3, 64),
    ([64, 64, 64], 2, 64),
    ([65, 2, 500, 63], 2, 64),
    ([7] * 41, 2, 256),
    (lengths(0, 256, 184), 1, 4608),
    (lengths(1, 97, 184), 4, 1000),
]


@pytest.mark.parametrize(("sizes", "ranks", "tokens"), CASES)
def test_every_rollout_is_in_exactly_one_micro_batch_and_fits(sizes, ranks, tokens):
    slots = [slot for share in plan(sizes, ranks, tokens) for slot in share]

    members = sorted(member for slot in slots for member in slot.members)
    assert members == list(range(len(sizes)))
    for slot in slots:
        assert len(slot.members) <= slot.num_rows
        assert all(sizes[member] <= slot.num_positions for member in slot.members)


@pytest.mark.parametrize(("sizes", "ranks", "tokens"), CASES)
def test_every_rank_has_as_many_micro_batches_as_the_others(sizes, ranks, tokens):
    assert len({len(share) for share in plan(sizes, ranks, tokens)}) == 1


@pytest.mark.parametrize(("sizes", "ranks", "tokens"), CASES)
def test_only_a_rollout_longer_than_the_limit_exceeds_it_and_then_alone(sizes, ranks, tokens):
    for share in plan(sizes, ranks, tokens):
        for slot in share:
            if slot.cost > tokens:
                assert slot.num_rows == 1
                assert sizes[slot.members[0]] > tokens


def test_a_rollout_of_exactly_the_limit_is_not_padded_beyond_it():
    (slot,) = plan([4500], 1, 4500)[0]

    assert (slot.num_rows, slot.num_positions) == (1, 4500)


def test_shapes_are_few_full_and_waste_little():
    sizes = lengths(2, 256, 184)

    (slots,) = plan(sizes, 1, 4608)

    assert len({(slot.num_rows, slot.num_positions) for slot in slots}) <= 8
    assert all(len(slot.members) == slot.num_rows for slot in slots[:-1])
    assert sum(slot.cost for slot in slots) <= 1.35 * sum(sizes)


def test_the_ranks_get_nearly_equal_work():
    sizes = [int(32 * 1.05**index) for index in range(64)]  # a few rollouts dominate

    work = [
        sum(sizes[member] for slot in share for member in slot.members)
        for share in plan(sizes, 4, 1024)
    ]

    assert max(work) <= 1.05 * min(work)


@pytest.mark.parametrize("length", [1, 31, 32, 33, 63, 64, 65, 100, 129, 4095])
def test_padding_is_at_most_a_quarter_of_the_length(length):
    padded = padded_length(length, 10_000)

    assert length <= padded <= max(32, 1.25 * length)


def test_the_plan_depends_on_nothing_but_its_input():
    sizes = [9] * 50  # ties everywhere

    assert plan(sizes, 3, 64) == plan(list(sizes), 3, 64)


def test_targets_are_the_response_seen_one_position_earlier():
    rollouts = [rollout((11, 12, 13), (21, 22, 2))]
    (slot,) = plan([6], 1, 32)[0]

    micro_batch = build(rollouts, slot)

    assert micro_batch.ids_BT[0, :6].tolist() == [11, 12, 13, 21, 22, 2]
    # The last prompt position predicts 21; the last response token, 2, predicts nothing.
    assert micro_batch.targets_BT[0, :6].tolist() == [IGNORED, IGNORED, 21, 22, 2, IGNORED]


def test_padding_rows_and_positions_have_no_targets():
    rollouts = [rollout((1,), (7,)), rollout((1, 2), (7,)), rollout((1, 2, 3), (7,))]
    (slot,) = plan([2, 3, 4], 1, 32 * 4)[0]

    micro_batch = build(rollouts, slot)

    assert micro_batch.ids_BT.shape == (4, 32)
    supervised_B = (micro_batch.targets_BT != IGNORED).sum(dim=1)
    assert sorted(supervised_B.tolist()) == [0, 1, 1, 1]


def test_the_counts_are_those_of_the_responses():
    rollouts = [rollout((1, 2, 3), (5, 6)), rollout((1,), (5, 6, 7, 8, 9))]

    assert count(rollouts) == Totals(num_tokens=7, num_rollouts=2, max_tokens=5)
    assert count([]) == Totals(num_tokens=0, num_rollouts=0, max_tokens=0)
