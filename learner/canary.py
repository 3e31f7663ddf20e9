"""Does this DeepSpeed deliver every micro-batch's gradient? Asked before any weight is touched.

Some releases drop micro-batches without an error (METHODS §5.2). Micro-batch ``k`` of rank ``r``
has gradient 1 on row ``r * NUM_MICRO_BATCHES + k`` and 0 elsewhere, so one step of SGD with rate 1
writes down, as minus the weights, the list of what arrived. It must be all ones.
"""

import torch
from torch import Tensor

from learner.deepspeed_engine import PERSISTENT_ELEMENTS, VERSION, Engine, Weights

NUM_MICRO_BATCHES = 4
"""With two, the first and the last arrive and the fault is invisible."""

NUM_COLUMNS = PERSISTENT_ELEMENTS
"""Wide enough that ZeRO-3 really shards the weight."""


class Rows(torch.nn.Module):
    def __init__(self, num_rows: int) -> None:
        super().__init__()
        self.weight_RC = torch.nn.Parameter(torch.zeros(num_rows, NUM_COLUMNS))

    def forward(self, choice_R: Tensor) -> Tensor:
        return (choice_R.to(self.weight_RC.dtype) @ self.weight_RC).sum()


def delivered(zero_stage: int, offload_optimizer: bool, weights: Weights) -> Tensor:
    """How much of each micro-batch's gradient reached the optimizer; collective."""
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    module = Rows(world_size * NUM_MICRO_BATCHES)
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    engine = Engine(
        module,
        optimizer,
        zero_stage=zero_stage,
        clip=0.0,
        offload_optimizer=offload_optimizer,
        weights=weights,
    )
    for k in range(NUM_MICRO_BATCHES):
        choice_R = torch.zeros(world_size * NUM_MICRO_BATCHES, device=engine.device)
        choice_R[rank * NUM_MICRO_BATCHES + k] = 1.0
        engine.backward(engine(choice_R), last=k == NUM_MICRO_BATCHES - 1)
    engine.step()
    with engine.gathered(list(module.parameters())):
        arrived_RC = -module.weight_RC.detach().cpu().clone()
    engine.destroy()
    return arrived_RC


def require_all_delivered(
    zero_stage: int, offload_optimizer: bool = False, weights: Weights = "float32"
) -> None:
    arrived_RC = delivered(zero_stage, offload_optimizer, weights)
    if not torch.equal(arrived_RC, torch.ones_like(arrived_RC)):
        shares = ", ".join(f"{share:.2f}" for share in arrived_RC.mean(dim=1).tolist())
        raise RuntimeError(
            f"DeepSpeed {VERSION} with learner.zero_stage={zero_stage} loses gradients (of each "
            f"micro-batch arrived: {shares}); use another version or stage"
        )
