"""Which problem is asked next, how many rollouts it gets, and within which limits.

    order of the data ─► asked at all? ─► size, budget, wording, temperature ─► Ticket
                              ▲                    ▲
                              └── what is known ───┘◄── groups, as the learner is given them

Everything is decided from what ``learn`` was told, in ticket order, and from coins that can be
thrown again. When an answer was finished decides nothing; how much was known at a decision stands
in the ticket as ``seen``. The same ``seen`` gives the same tickets.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from actors.budgets import make_budgets
from actors.coins import coin
from actors.problem_policy import bind_policy
from actors.running_limits import RunningLimits, followed
from actors.temperature import Temperature
from actors.ticket_rows import decode_ticket, worded, wording
from actors.visits import Known, Visit, visit_of
from configs.errors import UserError
from configs.schema import RunConfig
from verifiers.steps import bind_steps
from verifiers.types import GroupOutcome, Problem, Ticket

State = dict[str, Any]


class Source(Protocol):
    """The problems of the data in an order that seed and position repeat."""

    @property
    def cursor(self) -> int: ...
    @property
    def num_problems(self) -> int: ...
    def draw(self) -> Problem | None: ...
    def seek(self, cursor: int) -> None: ...
    def problem(self, id: str) -> Problem | None: ...


def check_curriculum(config: RunConfig) -> None:
    """Raises UserError, one line, for a policy that is none, or a number that it cannot have."""
    bind_policy(config.curriculum)
    Temperature(config.sampling.policy)


class Curriculum:
    """``draw`` ticket after ticket; ``learn`` what became of them."""

    def __init__(self, source: Source, config: RunConfig) -> None:
        """Raises what ``check_curriculum`` raises."""
        self._source = source
        self._config = config
        self._policy = bind_policy(config.curriculum)
        self._budgets = make_budgets(config)
        self._temperature = Temperature(config.sampling.policy)
        self._limits = RunningLimits(followed(bind_steps(config.filter.steps)))
        self._known: dict[str, Known] = {}
        self._seen = 0
        self._untaught = self.state()

    def draw(self, number: int, version: int) -> Ticket | None:
        """Ticket ``number``, written by ``version`` or later; None after the end of the data.

        A problem whose coin is against it is passed over. When a whole pass over the data was, the
        next problem is asked whatever its coin says: given the coins before it that was certain,
        and so its probability is 1.
        """
        for _ in range(self._source.num_problems):
            problem = self._source.draw()
            if problem is None:
                return None
            probability = self._policy(problem.id, self._of(problem))
            if coin(self._config.seed, "ask", self._source.cursor) < probability:
                return self._ticket(number, version, problem, probability)
        problem = self._source.draw()
        return None if problem is None else self._ticket(number, version, problem, 1.0)

    def again(self, record: Mapping[str, Any]) -> Ticket:
        """The ticket that the queue's log holds as ``record``, as it was decided then."""
        problem = self._source.problem(record["problem"])
        if problem is None or wording(problem) != record["wording"]:
            raise UserError(
                f"ticket {record['ticket']} asks problem {record['problem']!r}, which is "
                f"{'gone' if problem is None else 'another one now'}: data.train changed since "
                "the run began; give the data as it was, or start a new run"
            )
        return decode_ticket(record, problem)

    def learn(self, groups: Sequence[GroupOutcome]) -> list[str]:
        """The groups of one optimizer step, in ticket order. Returns alarms, one line each."""
        tickets = [group.ticket for group in groups]
        assert tickets == list(range(self._seen, self._seen + len(groups))), (self._seen, tickets)
        self._seen += len(groups)
        settings = self._config.curriculum
        for group in groups:
            if (visit := visit_of(group)) is not None:
                known = self._known.get(group.problem_id, Known())
                self._known[group.problem_id] = known.after(visit, settings.memory, settings.band)
        self._temperature.learn(groups)
        self._limits.learn(groups)
        return self._budgets.learn(groups)

    def pause_budgets(self, version: int) -> None:
        """Length budgets shrink no further; a schedule goes back to where it was at ``version``."""
        self._budgets.pause(version)

    def unpause_budgets(self, version: int) -> None:
        self._budgets.unpause(version)

    def state(self) -> State:
        """All that was learned, for JSON. The position in the data is the queue's to know."""
        return {
            "seen": self._seen,
            "problems": {
                id: [[[v.accepted, v.written, v.num_tokens] for v in known.visits], known.outside]
                for id, known in self._known.items()
            },
            "budgets": self._budgets.state(),
            "temperature": self._temperature.value,
            "limits": self._limits.state(),
        }

    def restore(self, state: State | None, cursor: int) -> None:
        """Go on from ``state`` (None: nothing was learned yet) behind ``cursor`` draws."""
        self._source.seek(cursor)
        self.unlearn(state)

    def unlearn(self, state: State | None) -> None:
        """Know no more than ``state`` says, and go on with the data where it is."""
        state = state or self._untaught
        self._seen = state["seen"]
        self._known = {
            id: Known(
                visits=tuple(Visit(accepted=a, written=w, num_tokens=n) for a, w, n in visits),
                outside=outside,
            )
            for id, (visits, outside) in state["problems"].items()
        }
        self._budgets.restore(state["budgets"])
        self._temperature.value = state["temperature"]
        self._limits.restore(state["limits"])

    def _of(self, problem: Problem) -> Known:
        return self._known.get(problem.id, Known())

    def _ticket(self, number: int, version: int, problem: Problem, probability: float) -> Ticket:
        known = self._of(problem)
        size = self._size(known)
        budget = self._budgets.of(problem.id, number, version)
        template = self._template(number)
        templates = self._config.data.templates
        return Ticket(
            number=number,
            attempt=0,
            problem=worded(problem, template),
            size=size,
            budget=budget.tokens,
            cursor=self._source.cursor,
            seen=self._seen,
            propensity=probability * size / self._config.group_size,
            explores=budget.explores,
            template=template,
            level=None if template is None else templates[template].level,
            temperature=self._temperature.value,
            expected_tokens=known.mean_tokens,
            limits=self._limits.current(),
        )

    def _size(self, known: Known) -> int:
        """As many as ``target_accepted`` needs at the share (accepted + 1) / (written + 2)."""
        settings, size = self._config.curriculum, self._config.group_size
        if settings.group_sizes is None:
            return size
        if known.visits:
            size = math.ceil(settings.target_accepted * (known.written + 2) / (known.accepted + 1))
        return min(max(size, settings.group_sizes[0]), settings.group_sizes[1])

    def _template(self, number: int) -> int | None:
        count = len(self._config.data.templates)
        return int(coin(self._config.seed, "template", number) * count) if count else None
