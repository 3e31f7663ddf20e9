"""What the driver makes of the answers of several ranks; the ranks are fakes."""

import asyncio
import errno
from pathlib import Path

import pytest

from cluster.learner_group import LearnerGroup
from cluster.neighbours import LearnerLost
from configs.errors import PartDied


class Rank:
    def __init__(self, seconds: float = 0.0, failure: Exception | None = None) -> None:
        self.seconds, self.failure, self.wrote = seconds, failure, False

    async def saved(self) -> None:
        await asyncio.sleep(self.seconds)
        self.wrote = True
        if self.failure is not None:
            raise self.failure


def group_of(*ranks: Rank) -> LearnerGroup:
    return LearnerGroup(lambda: ranks, Path(), "cpu")


async def test_a_disk_that_is_full_for_one_rank_fails_the_save_once_all_have_ended():
    full, slow = Rank(failure=OSError(errno.ENOSPC, "full")), Rank(seconds=0.05)

    with pytest.raises(OSError, match="full"):
        await group_of(full, slow).saved()

    assert slow.wrote


async def test_a_rank_that_dies_while_it_writes_is_the_loss_of_the_learner():
    ranks = Rank(failure=OSError(errno.ENOSPC, "full")), Rank(failure=PartDied("learner-1 died"))

    with pytest.raises(LearnerLost, match="learner-1 died"):
        await group_of(*ranks).saved()
