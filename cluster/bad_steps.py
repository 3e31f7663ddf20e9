"""When optimizer steps fail one after the other, and when that is the end."""

from dataclasses import dataclass

from configs.errors import UserError


@dataclass(slots=True)
class BadSteps:
    """Counts optimizer steps in a row whose loss or gradient was not finite."""

    limit: int
    in_a_row: int = 0
    """While it is not 0, no checkpoint is made: it would be the one to go back to."""
    _went_back: bool = False

    def should_go_back(self, *, skipped: bool, diverged: bool) -> bool:
        """Told of every step; true when it was the last that is allowed.

        Raises UserError when going back has not helped. A step without tokens says nothing.
        """
        if not skipped:
            self.in_a_row, self._went_back = 0, False
        self.in_a_row += diverged
        if self.in_a_row < self.limit:
            return False
        if self._went_back:
            raise UserError(
                f"{self.limit} optimizer steps in a row were not finite, and as many again from "
                "the checkpoint: look at learner.optimizer.lr and at the rollouts of these steps"
            )
        self.in_a_row, self._went_back = 0, True
        return True
