from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from learner.examples import supervise
from learner.objectives.bind import bind
from learner.pack import (
    PADDING_ID,
    Pack,
    Packing,
    Segment,
    Slot,
    build,
    padded_length,
    plan,
)
from verifiers.types import Rollout


def rollout(prompt: tuple[int, ...], response: tuple[int, ...]) -> Rollout:
    return Rollout(
        id="000000.0.0", prompt_ids=prompt, response_ids=response, first_version=0, last_version=0
    )


def of_lengths(lengths: list[int], *, group_size: int = 1) -> list[Rollout]:
    """A prompt of three tokens for every group."""
    return [
        rollout((1, 2, 3 + index // group_size), (7,) * (length - 3))
        for index, length in enumerate(lengths)
    ]


def built(rollouts: list[Rollout], slot: Slot, **how: bool) -> Pack:
    return build(rollouts, supervise(rollouts, bind("sft", {}), "global_tokens", ""), slot, **how)


def packing(pack_tokens: int, *, share: bool = True, one_by_one: bool = False) -> Packing:
    return Packing(pack_tokens=pack_tokens, share_prompts=share, one_by_one=one_by_one)


def lengths(seed: int, number: int, longest: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(4, longest + 1, (number,), generator=generator).tolist()


CASES = [
    # (lengths, rollouts of a group, ranks, positions of a pack)
    ([], 1, 1, 64),
    ([], 1, 2, 64),
    ([5], 1, 1, 64),
    ([5], 1, 3, 64),
    ([64, 64, 64], 3, 2, 64),
    ([66, 4, 500, 63], 2, 2, 64),
    ([7] * 41, 8, 2, 256),
    (lengths(0, 256, 184), 8, 1, 4608),
    (lengths(1, 97, 184), 4, 4, 1000),
]


@pytest.mark.row(21)
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize(("sizes", "group_size", "ranks", "tokens"), CASES)
def test_every_rollout_is_in_exactly_one_pack_and_all_of_it(
    sizes, group_size, ranks, tokens, share
):
    rollouts = of_lengths(sizes, group_size=group_size)

    shares = plan(rollouts, ranks, packing(tokens, share=share))

    slots = [slot for slots in shares for slot in slots]
    assert sorted(member for slot in slots for member in slot.members) == list(range(len(sizes)))
    assert len({len(slots) for slots in shares}) == 1
    packs = [built(rollouts, slot) for slot in slots]
    assert sum(len(pack.tokens.targets_N) for pack in packs) == sum(
        len(r.response_ids) for r in rollouts
    )
    for slot, pack in zip(slots, packs, strict=True):
        assert len(pack.ids_T) == len(pack.positions_T) == slot.num_positions
        assert sum(segment.num_positions for segment in pack.segments) == slot.num_positions


@pytest.mark.parametrize(("sizes", "group_size", "ranks", "tokens"), CASES)
def test_only_a_rollout_longer_than_a_pack_exceeds_it_and_then_alone(
    sizes, group_size, ranks, tokens
):
    for slots in plan(of_lengths(sizes, group_size=group_size), ranks, packing(tokens)):
        for slot in slots:
            if slot.num_positions > tokens:
                assert len(slot.members) == 1
                assert sizes[slot.members[0]] - 1 > tokens


def test_a_prompt_stands_once_for_all_its_responses_and_each_response_sees_it():
    rollouts = [rollout((11, 12, 13), (21, 22, 2)), rollout((11, 12, 13), (31, 2))]
    [[slot]] = plan(rollouts, 1, packing(32))

    pack = built(rollouts, slot)

    assert pack.ids_T[:6].tolist() == [11, 12, 13, 21, 22, 31]
    assert pack.positions_T[:6].tolist() == [0, 1, 2, 3, 4, 3]
    assert pack.segments == (Segment(3), Segment(2, 0), Segment(1, 0), Segment(26))
    # The last prompt position predicts both first tokens; the end token is a target, no input.
    assert pack.where_N.tolist() == [2, 3, 4, 2, 5]
    assert pack.tokens.targets_N.tolist() == [21, 22, 2, 31, 2]


@pytest.mark.parametrize("how", [{"share": False}, {"one_by_one": True}])
def test_without_sharing_every_rollout_brings_its_prompt(how):
    rollouts = [rollout((11, 12), (21, 2)), rollout((11, 12), (2,))]

    packs = [built(rollouts, slot) for slot in plan(rollouts, 1, packing(32, **how))[0]]

    ids = [token for pack in packs for token in pack.ids_T.tolist() if token]
    assert ids == [11, 12, 21, 11, 12]
    assert [len(packs), len(packs[0].segments)] == ([2, 2] if how.get("one_by_one") else [1, 3])
    assert [t for pack in packs for t in pack.tokens.targets_N.tolist()] == [21, 2, 2]


def test_a_group_that_does_not_fit_into_a_pack_is_split_and_its_prompt_repeated():
    rollouts = of_lengths([20] * 5, group_size=5)  # 3 + 16 each

    slots = plan(rollouts, 1, packing(40))[0]

    assert sorted(len(slot.members) for slot in slots) == [1, 2, 2]
    assert all(built(rollouts, slot).ids_T[:3].tolist() == [1, 2, 3] for slot in slots)


def test_a_pack_without_rollouts_supervises_nothing():
    pack = built([], Slot(families=(), num_positions=32))

    assert (len(pack.ids_T), len(pack.where_N), pack.segments) == (32, 0, (Segment(32),))


@pytest.mark.parametrize("share", [True, False])
def test_an_end_token_that_also_pads_is_supervised_like_any_other(share: bool):
    """Many tokenizers have no padding token of their own."""
    end = PADDING_ID
    rollouts = [rollout((5, 6), (7, 8, end)), rollout((5, 6), (end,)), rollout((end, 9), (7, end))]

    [[slot]] = plan(rollouts, 1, packing(64, share=share))
    pack = built(rollouts, slot)

    expected = [token for each in slot.members for token in rollouts[each].response_ids]
    assert pack.tokens.targets_N.tolist() == expected
    assert expected.count(end) == 3
    tail = sum(len(each.prompt_ids + each.response_ids[:-1]) for each in rollouts)
    assert pack.where_N.max() < (tail if not share else tail - 2)


def test_a_rollout_of_exactly_a_pack_is_not_padded_beyond_it():
    [[slot]] = plan(of_lengths([4501]), 1, packing(4500))  # its last token is no input

    assert slot.num_positions == 4500


def test_packs_are_of_few_lengths_and_nearly_full():
    sizes = lengths(2, 256, 184)

    [slots] = plan(of_lengths(sizes), 1, packing(1024))

    assert len({slot.num_positions for slot in slots}) <= 3
    assert sum(slot.num_positions for slot in slots) <= 1.06 * sum(sizes)


def test_sharing_computes_fewer_positions():
    rollouts = [rollout(tuple(range(1, 101)), (7,) * 20)] * 8

    alone, shared = (
        sum(slot.num_positions for slot in plan(rollouts, 1, packing(2048, share=share))[0])
        for share in (False, True)
    )

    assert shared <= 0.3 * alone


@pytest.mark.parametrize("free_context", [float("inf"), 200.0])
def test_the_ranks_get_nearly_equal_work(free_context):
    rollouts = of_lengths([int(32 * 1.05**index) for index in range(64)])  # a few dominate
    how = Packing(pack_tokens=1024, share_prompts=True, free_context=free_context)

    work = [
        sum(family.work for slot in slots for family in slot.families)
        for slots in plan(rollouts, 4, how)
    ]

    assert max(work) <= 1.05 * min(work)


def test_long_sequences_count_for_more_than_their_tokens():
    short, long = of_lengths([101, 1001])
    how = Packing(pack_tokens=2000, share_prompts=True, free_context=500.0)

    [[slot]] = plan([short, long], 1, how)

    long_family, short_family = slot.families
    assert short_family.work == pytest.approx(100 * (1 + 50 / 500), rel=0.02)
    assert long_family.work == pytest.approx(1000 * (1 + 500 / 500), rel=0.02)


@pytest.mark.parametrize("length", [1, 31, 32, 33, 63, 64, 65, 100, 129, 4095])
def test_padding_is_at_most_a_quarter_of_the_length(length):
    padded = padded_length(length, 10_000)

    assert length <= padded <= max(32, 1.25 * length)


def test_the_plan_depends_on_nothing_but_its_input():
    rollouts = of_lengths([9] * 50)  # ties everywhere

    assert plan(rollouts, 3, packing(64)) == plan(list(rollouts), 3, packing(64))


def test_families_come_longest_first():
    [slots] = plan(of_lengths(lengths(3, 40, 90)), 1, packing(300))

    for slot in slots:
        sizes = [family.num_positions for family in slot.families]
        assert all(one >= other for one, other in pairwise(sizes))


def test_a_teachers_pack_has_the_same_responses_behind_its_own_prompts():
    first = replace(rollout((11, 12), (21, 22, 2)), teacher_prompt_ids=(1, 1, 1, 1, 1))
    second = replace(rollout((11, 12), (31, 2)), teacher_prompt_ids=(3,))
    rollouts = [first, first, second]
    [[slot]] = plan(rollouts, 1, packing(32))

    ours, theirs = built(rollouts, slot), built(rollouts, slot, teacher=True)

    assert ours.tokens.targets_N.tolist() == theirs.tokens.targets_N.tolist()
    for pack, last_of_prompt in ((ours, (12, 12, 12)), (theirs, (1, 1, 3))):
        firsts = [pack.ids_T[where].item() for where in pack.where_N[[0, 3, 6]]]
        assert tuple(firsts) == last_of_prompt
    # Of the same prompt with different answers in the teacher's, each has its own.
    assert sum(segment.prefix is not None for segment in ours.segments) == 2


def test_a_token_of_weight_0_is_no_target():
    rollouts = [
        rollout((11, 12), (21, 22, 2)),
        replace(rollout((13,), (31, 32, 2)), weights=(0.0, 2.0, 0.0)),
    ]
    [[slot]] = plan(rollouts, 1, packing(32))

    pack = built(rollouts, slot)

    assert pack.tokens.targets_N.tolist() == [21, 22, 2, 32]
    assert pack.ids_T[pack.where_N].tolist() == [12, 21, 22, 31]
    assert pack.tokens.weights_N is not None
    assert pack.tokens.weights_N.tolist() == [1, 1, 1, 2]
