"""What is done to the logits of one response while it thinks. vLLM calls it in its own process.

Axes: V vocabulary.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from verifiers.types import Decoding

GREEDY_BELOW = 1e-5
"""Temperatures below it take the likeliest token, here as in vLLM."""


class Decoder:
    """Called with what was written so far and the raw logits of the next token, which it may
    change in place. Called twice for the same place, only the last call counts."""

    def __init__(self, rule: Decoding, temperature: float, chance: Callable[[], float]) -> None:
        """``chance`` draws from 0 … 1."""
        self._rule = rule
        self._temperature = temperature
        self._chance = chance
        self._scanned = 0
        self._end: int | None = None
        """Tokens up to the end of the thinking, once it has come."""
        self._waits: list[int] | None = None
        """Where each of the waits begins; None before the first call."""

    def __call__(self, written: Sequence[int], logits_V: Tensor) -> Tensor:
        rule, place = self._rule, len(written)
        if self._waits is None:  # there is something written if the engine had preempted it
            self._waits = _occurrences(written, rule.wait_ids)[: rule.waits] if rule.waits else []
        self._look_for_end(written)
        forced = self._forced(place)
        if forced is not None:
            return only(forced, logits_V)
        if self._end is not None:
            return logits_V
        if rule.stop_ids:
            ids = list(rule.stop_ids)
            logits_V[ids] = scaled(logits_V[ids], rule.stop_temperature, rule.stop_bias)
        return self._hold(place, logits_V) if rule.waits else logits_V

    def _forced(self, place: int) -> int | None:
        """The token that must stand here: of the end that a budget forces, whose thinking tag may
        already be behind us, or of a wait that was begun."""
        budget, end_ids = self._rule.thinking_budget, self._rule.forced_end_ids
        if budget is not None and budget <= place < budget + len(end_ids):
            thinks_still = self._end is None or self._end > budget
            return end_ids[place - budget] if thinks_still else None
        for start in (self._waits or [])[-1:]:
            if start < place < start + len(self._rule.wait_ids):
                return self._rule.wait_ids[place - start]
        return None

    def _hold(self, place: int, logits_V: Tensor) -> Tensor:
        """Draw whether the model would end its thinking here. If so, wait; if not, it does not.
        Together that is drawing a token, and replacing it where it is that one."""
        waits = self._waits = [start for start in self._waits or [] if start < place]
        if len(waits) >= self._rule.waits:
            return logits_V
        (stop,) = self._rule.think_end_ids
        if self._would_write(stop, logits_V):
            waits.append(place)
            return only(self._rule.wait_ids[0], logits_V)
        logits_V[stop] = -torch.inf
        return logits_V

    def _would_write(self, token: int, logits_V: Tensor) -> bool:
        if self._temperature < GREEDY_BELOW:
            return int(logits_V.argmax()) == token
        probability = (logits_V.float() / self._temperature).softmax(-1)[token]
        return self._chance() < float(probability)

    def _look_for_end(self, written: Sequence[int]) -> None:
        ids = self._rule.think_end_ids
        if self._end is not None and self._end > len(written):
            self._end, self._scanned = None, 0  # taken back: the engine may preempt
        while self._end is None and self._scanned + len(ids) <= len(written):
            self._scanned += 1
            if tuple(written[self._scanned - 1 : self._scanned - 1 + len(ids)]) == ids:
                self._end = self._scanned - 1 + len(ids)


def scaled(logits: Tensor, temperature: float, bias: float) -> Tensor:
    """Of the stop tokens: ``logit / T + b``. Not the same for all shifts of the logits: T alone
    pushes a negative one down."""
    return logits / temperature + bias


def only(token: int, logits_V: Tensor) -> Tensor:
    """In place: this token and no other."""
    logits_V.fill_(-torch.inf)
    logits_V[token] = 0.0
    return logits_V


def _occurrences(written: Sequence[int], ids: Sequence[int]) -> list[int]:
    """Where ``ids`` begin. Some of them the model may have written by itself."""
    last = len(written) - len(ids)
    return [at for at in range(last + 1) if list(written[at : at + len(ids)]) == list(ids)]
