"""Where DeepSpeed's optimizers keep what they know of a parameter, and how it is got whole and put
back, whatever the stage and however many ranks there are.

From stage 1 on they lay the float32 masters of many parameters one behind the other in flat
tensors, and every rank has a part of each: one ``Piece`` of a parameter, or none. The optimizer's
own tensors have the shape of the flat one, or are a number that counts for all of it. At stage 0
every rank has all, and the parameter is its own flat tensor.

DeepSpeed's ``safe_get_full_optimizer_state`` is no help: it knows nothing of numbers, loses the
sign of zero, and finds no state ever when the first step of a run was skipped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MASTER = "master"
"""The float32 weights themselves, beside the names of the optimizer's tensors."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What this rank has of one parameter."""

    flat: Tensor
    """What the optimizer steps on, and the key of its state."""
    at: int
    """First element, in the flat tensor."""
    start: int
    """The same element, in the parameter."""
    length: int


class OptimizerShards:
    def __init__(self, optimizer: Any, zero_stage: int) -> None:
        """``optimizer``: DeepSpeed's, around ours from stage 1 on."""
        self._optimizer = optimizer
        self._stage = zero_stage
        self._state = getattr(optimizer, "optimizer", optimizer).state
        self._rank = torch.distributed.get_rank()
        self._is_whole = zero_stage == 0 or torch.distributed.get_world_size() == 1

    def kinds(self) -> list[str]:
        """What there is of every parameter: before the first step nothing but the master."""
        state = next((self._state[flat] for flat in self._flats() if flat in self._state), {})
        return [MASTER, *sorted(state)]

    def gather(
        self, parameters: Sequence[torch.nn.Parameter], kind: str, to: int, device: torch.device
    ) -> list[Tensor]:
        """Copies in the memory of rank ``to``'s host, whole; nothing elsewhere. Collective.

        A number comes without dimensions, and nothing else does.
        """
        if not parameters or (self._is_whole and self._rank != to):
            return []
        is_number = self._is_number(kind)
        shapes = [() if is_number else _shape(parameter) for parameter in parameters]
        sizes = [torch.Size(shape).numel() for shape in shapes]
        make = torch.empty if self._is_whole else torch.zeros
        buffer = make(sum(sizes), device="cpu" if self._is_whole else device)
        for parameter, room in zip(parameters, buffer.split(sizes), strict=True):
            self._copy_to(room, parameter, kind, is_number)
        if not self._is_whole:
            # As whole numbers, because -0.0 + 0.0 is another zero.
            torch.distributed.reduce(buffer.view(torch.int32), to)
        if self._rank != to:
            return []
        parts = buffer.cpu().split(sizes)
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]

    def begin(self, kinds: Sequence[str]) -> None:
        """Before all parameters are given their tensors of these kinds, and no others."""
        if self._stage == 3:
            self._optimizer.checkpoint_event_prologue()
        for flat in self._flats():
            state = self._state.get(flat, {})
            for kind in set(state) - set(kinds):
                del state[kind]
            if not state:
                self._state.pop(flat, None)

    def restore(self, parameter: torch.nn.Parameter, kind: str, whole: Tensor) -> None:
        piece = self._piece(parameter)
        if piece is None:
            return
        if whole.dim() == 0:
            self._tensor(piece.flat, kind, is_number=True).copy_(whole)
            return
        target = self._tensor(piece.flat, kind, is_number=False).view(-1)
        source = whole.reshape(-1)[piece.start : piece.start + piece.length]
        target[piece.at : piece.at + len(source)].copy_(source)

    def finish(self) -> None:
        """Make the weights that compute of the masters. Collective."""
        if self._stage == 3:
            for number in range(len(self._flats())):
                self._optimizer._reassign_or_swap_out_partitioned_parameters(number)
            self._optimizer.checkpoint_event_epilogue()
        elif self._stage > 0:
            self._optimizer.update_lp_params()

    def _flats(self) -> list[Tensor]:
        optimizer = self._optimizer
        if self._stage == 0:
            return [p for group in optimizer.param_groups for p in group["params"]]
        if self._stage == 3:
            return optimizer.fp32_partitioned_groups_flat
        if hasattr(optimizer, "fp32_groups_flat_partition"):  # stage 1 with bfloat16 weights
            return optimizer.fp32_groups_flat_partition
        return optimizer.single_partition_of_fp32_groups

    def _piece(self, parameter: Any) -> Piece | None:
        if self._stage == 0:
            return Piece(parameter, 0, 0, parameter.numel())
        if self._stage == 3:
            group, at, length = self._optimizer.grad_position[parameter.ds_id]
            start = self._rank * length
            length = min(length, parameter.ds_numel - start)  # the rest is padding
            return Piece(self._flats()[group], at, start, length) if length > 0 else None
        mapping = parameter._hp_mapping
        if mapping is None:
            return None
        here, there = mapping.hp_fragment_address, mapping.lp_fragment_address
        flat = self._flats()[mapping.param_group_index]
        return Piece(flat, here.start, there.start, here.numel)

    def _is_number(self, kind: str) -> bool:
        if kind == MASTER:
            return False
        flat = max((f for f in self._flats() if f in self._state), key=Tensor.numel)
        tensor = self._state[flat][kind]
        if tensor.dtype != torch.float32 or (tensor.dim() > 0 and tensor.shape != flat.shape):
            raise TypeError(f"the optimizer's {kind!r} is {tensor.dtype} {tuple(tensor.shape)}")
        return tensor.dim() == 0

    def _copy_to(
        self, room: Tensor, parameter: torch.nn.Parameter, kind: str, is_number: bool
    ) -> None:
        piece = self._piece(parameter)
        if piece is None:
            return
        tensor = self._tensor(piece.flat, kind, is_number)
        if not is_number:
            source = tensor.view(-1)[piece.at : piece.at + piece.length]
            room[piece.start : piece.start + piece.length].copy_(source)
        elif piece.start == 0:  # all owners of a parameter know it, and one of them says it
            room.copy_(tensor)

    def _tensor(self, flat: Tensor, kind: str, is_number: bool) -> Tensor:
        """The flat tensor of this kind, made when the optimizer has not taken a step yet."""
        if kind == MASTER:
            return flat.detach()
        state = self._state[flat]
        if kind not in state:
            state[kind] = flat.new_zeros(()) if is_number else torch.zeros_like(flat)
        return state[kind]


def _shape(parameter: Any) -> tuple[int, ...]:
    """The whole one, which never is ``()``: that is a number's."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape)) or (1,)
