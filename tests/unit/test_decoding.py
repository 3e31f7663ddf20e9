"""The maths of decode-time methods: golden numbers, and scripted models that never stop."""

import math
import random
from collections import Counter

import pytest
import torch

from actors.decoding import Decoder, scaled
from verifiers.types import Decoding

STOP, WAIT, GO, EOS = 0, 1, 2, 3
END = (STOP,)


def write(
    rule: Decoding, logits: list[float], length: int, seed: int = 0, temperature: float = 1.0
) -> list[int]:
    """What a model with always the same logits writes."""
    rng = random.Random(seed)
    decoder = Decoder(rule, temperature, rng.random)
    written: list[int] = []
    while len(written) < length:
        changed = decoder(written, torch.tensor(logits))
        if temperature == 0:
            written.append(int(changed.argmax()))
        else:
            weights = (changed / temperature).softmax(-1).tolist()
            written.append(rng.choices(range(len(logits)), weights)[0])
    return written


@pytest.mark.parametrize(
    ("logits", "probability"),
    [([2.0, 1, 0], 0.766157), ([12.0, 11, 10], 0.975559), ([-2.0, -3, -4], 0.546549)],
)
def test_a_stop_temperature_of_0_8_has_the_golden_probabilities(
    logits: list[float], probability: float
):
    rule = Decoding(think_end_ids=END, stop_ids=(0,), stop_temperature=0.8)

    changed = Decoder(rule, 1.0, random.random)([], torch.tensor(logits, dtype=torch.float64))

    assert changed.softmax(-1)[0].item() == pytest.approx(probability, abs=1e-6)
    assert changed[1:].tolist() == logits[1:]


@pytest.mark.parametrize("shift", [0.0, 10.0, -4.0])
def test_a_bias_does_the_same_to_all_shifts(shift: float):
    rule = Decoding(think_end_ids=END, stop_ids=(0,), stop_bias=0.5)
    logits = torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64) + shift

    changed = Decoder(rule, 1.0, random.random)([], logits)

    assert changed.softmax(-1)[0].item() == pytest.approx(0.766157, abs=1e-6)


def test_neither_is_the_identity():
    assert scaled(torch.tensor([1.5, -2.0]), 1.0, 0.0).tolist() == [1.5, -2.0]


@pytest.mark.parametrize("end", [(STOP,), (GO, STOP)])
def test_nothing_is_touched_after_the_end_of_thinking(end: tuple[int, ...]):
    rule = Decoding(
        think_end_ids=end, stop_ids=(3,), stop_temperature=0.5, stop_bias=1, thinking_budget=2,
        forced_end_ids=(WAIT,), waits=0,
    )  # fmt: skip
    decoder = Decoder(rule, 1.0, random.random)
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4])

    assert decoder(list(end), logits.clone()).tolist() == logits.tolist()
    assert decoder([*end, 1, 1, 1], logits.clone()).tolist() == logits.tolist()


def test_a_budget_of_5_is_5_tokens_and_the_delimiter():
    rule = Decoding(think_end_ids=END, thinking_budget=5, forced_end_ids=(STOP, GO, GO))

    written = write(rule, [-math.inf, 0.0, -math.inf, 0.0], 12)

    assert STOP not in written[:5]
    assert written[5:8] == [STOP, GO, GO]
    assert set(written[8:]) <= {WAIT, EOS}


def test_a_model_that_stops_before_the_budget_is_not_forced():
    rule = Decoding(think_end_ids=END, thinking_budget=5, forced_end_ids=(STOP,))

    assert write(rule, [9.0, 0, 0, 0], 1, temperature=0) == [STOP]
    decoder = Decoder(rule, 1.0, random.random)
    assert decoder([GO, STOP, GO, GO, GO, GO], torch.zeros(4)).tolist() == [0.0] * 4


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_one_wait_is_exactly_one_wait(temperature: float):
    """It wants to stop, always: once it must go on."""
    rule = Decoding(think_end_ids=END, waits=1, wait_ids=(WAIT, GO))

    written = write(rule, [60.0, 0, 0, 0], 4, temperature=temperature)

    assert written == [WAIT, GO, STOP, STOP]


def test_waiting_is_drawing_and_then_replacing():
    """The same distribution as: draw a token; if it is the stop token, write Wait instead."""
    logits, draws = [1.0, 0.5, 0.2, -1.0], 40_000
    rule = Decoding(think_end_ids=END, waits=1, wait_ids=(WAIT,))
    expected = torch.tensor(logits).softmax(-1).tolist()

    counts = Counter(write(rule, logits, 1, seed=seed)[0] for seed in range(draws))

    assert counts[STOP] == 0
    for token, share in ((WAIT, expected[STOP] + expected[WAIT]), (GO, expected[GO])):
        assert counts[token] / draws == pytest.approx(share, abs=5 * math.sqrt(0.25 / draws))


def test_the_first_stop_that_is_wanted_is_the_one_that_waits():
    """A natural Wait does not use the order up."""
    rule = Decoding(think_end_ids=END, waits=1, wait_ids=(WAIT,))
    decoder = Decoder(rule, 0.0, random.random)
    wants = {"wait": [0.0, 9, 0, 0], "go": [0.0, 0, 9, 0], "stop": [9.0, 0, 0, 0]}
    written: list[int] = []
    for want in ("wait", "go", "stop", "go", "stop"):
        written.append(int(decoder(written, torch.tensor(wants[want])).argmax()))

    assert written == [WAIT, GO, WAIT, GO, STOP]


def test_a_call_that_is_repeated_for_the_same_place_counts_once():
    rule = Decoding(think_end_ids=END, waits=1, wait_ids=(WAIT,))
    decoder = Decoder(rule, 0.0, random.random)
    stop = [9.0, 0, 0, 0]

    first = [int(decoder([GO], torch.tensor(stop)).argmax()) for _ in range(3)]

    assert first == [WAIT] * 3
    assert int(decoder([GO, WAIT], torch.tensor(stop)).argmax()) == STOP


def test_a_request_that_was_preempted_in_a_forced_end_goes_on_with_it():
    rule = Decoding(think_end_ids=END, thinking_budget=2, forced_end_ids=(STOP, WAIT, EOS))

    after = [
        int(Decoder(rule, 1.0, random.random)([GO, GO, *end], torch.zeros(4)).argmax())
        for end in ([], [STOP], [STOP, WAIT])
    ]

    assert after == [STOP, WAIT, EOS]
    done = Decoder(rule, 1.0, random.random)([GO, GO, STOP, WAIT, EOS], torch.zeros(4))
    assert done.tolist() == [0.0] * 4


def test_a_request_that_was_preempted_does_not_wait_again():
    rule = Decoding(think_end_ids=END, waits=1, wait_ids=(WAIT,))

    again = Decoder(rule, 0.0, random.random)

    assert int(again([GO, WAIT, GO], torch.tensor([9.0, 0, 0, 0])).argmax()) == STOP
