"""The guardrail: how sure it must be, what follows from what it sees, and what survives a death."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from cluster.checkpoint import CheckpointStore, TrainState
from cluster.export import find_checkpoint
from cluster.guarded import Guarded
from configs.errors import UserError
from configs.guardrail import GuardrailConfig
from configs.load import ConfigError, load
from configs.run_files import GUARDRAIL
from evaluation.guardrail import Guardrail, Look, shares_right, upper_bound
from verifiers.types import EvalSample

HELDOUT = "data.heldout=tiny"


def sample(problem: str, *, right: bool, finish: str = "stop", number: int = 0) -> EvalSample:
    return EvalSample(
        problem_id=problem,
        sample=number,
        version=0,
        status="correct" if right else "wrong",
        finish_reason=finish,  # pyright: ignore[reportArgumentType]
        num_tokens=3,
        text="",
        extracted=None,
    )


def test_the_bound_is_agresti_and_mins_for_one_response_a_problem():
    """Written out for counts: b gained, c lost, n problems, half a problem added to each cell."""
    gained, lost, same = 3, 9, 28
    differences = [1.0] * gained + [-1.0] * lost + [0.0] * same
    n = len(differences) + 2
    mean = (gained - lost) / n
    variance = ((gained + lost + 1) - (gained - lost) ** 2 / n) / n
    expected = mean + 1.6448536269514722 * math.sqrt(variance / n)

    assert upper_bound(differences, 0.95) == pytest.approx(expected, rel=1e-12)


def test_certainty_needs_problems_and_grows_with_them():
    assert upper_bound([0.0] * 10, 0.99) > 0
    assert upper_bound([-1.0] * 10, 0.99) < -0.5
    assert upper_bound([-1.0, 0.0] * 100, 0.99) < upper_bound([-1.0, 0.0] * 10, 0.99)


@pytest.mark.parametrize("num_problems", [20, 200])
def test_a_model_that_lost_just_the_margin_is_seldom_called_worse(num_problems: int):
    """One time in a hundred, by the confidence; 2000 tries of it."""
    rng = random.Random(0)
    margin, tries, alarms = 0.1, 2000, 0
    for _ in range(tries):
        differences = [rng.choices([-1, 0, 1], [0.2, 0.7, 0.1])[0] for _ in range(num_problems)]
        alarms += upper_bound(differences, 0.99) < -margin

    assert alarms / tries < 0.018


def test_a_collapse_is_seen_at_the_first_look():
    rng = random.Random(0)
    guardrail = Guardrail(config=GuardrailConfig(every=2))
    base = {f"p{i}": float(rng.random() < 0.6) for i in range(100)}
    guardrail.look(0, base)

    look, what_next = guardrail.look(2, {p: float(rng.random() < 0.2) for p in base})

    assert (look.is_breach, what_next) == (True, "go_back")
    assert look.base == pytest.approx(sum(base.values()) / 100)
    assert "going back" not in str(look) and "% before training" in str(look)


def test_a_response_that_was_cut_off_is_not_right():
    samples = [sample("a", right=True), sample("a", right=True, finish="length", number=1)]

    assert shares_right([*samples, sample("b", right=False)]) == {"a": 0.5, "b": 0.0}


GOOD, BAD = dict.fromkeys(map(str, range(50)), 1.0), dict.fromkeys(map(str, range(50)), 0.0)


@pytest.mark.parametrize(
    ("settings", "answers"),
    [
        ({"action": "stop"}, ["go_on", "go_on", "end"]),
        ({"action": "pause"}, ["go_on", "go_on", "pause", "pause", "resume", "go_on"]),
        ({"rollbacks": 2}, ["go_on", "go_on", "go_back", "go_back", "resume", "end"]),
        ({"rollbacks": 0}, ["go_on", "go_on", "end"]),
    ],
)
def test_what_follows_is_as_configured(settings: dict[str, Any], answers: list[str]):
    guardrail = Guardrail(config=GuardrailConfig(every=1, **settings))
    seen = [GOOD, GOOD, BAD, BAD, GOOD, BAD if answers[-1] == "end" else GOOD]

    found = [guardrail.look(v, shares)[1] for v, shares in enumerate(seen[: len(answers)])]

    assert found == answers
    assert guardrail.is_over == (answers[-1] == "end")
    expected = [v for v, shares in enumerate(seen[: len(answers)]) if shares is GOOD]
    assert guardrail.good == expected


class World:
    """A guarded run; what the engines would answer is ``answers``, version by version."""

    def __init__(self, folder: Path, *, is_resumed: bool = False, start: int = 0, **settings: Any):
        self.right = True
        self.budgets: list[tuple[str, int]] = []
        self.looks: list[Look] = []
        self.num_asked = 0
        config = GuardrailConfig(every=2, problems=10, **settings)
        self.guarded = Guarded(config, folder, self.ask, self, self)
        if is_resumed:
            self.guarded.resume(start)

    async def ask(self) -> list[EvalSample]:
        self.num_asked += 1
        return [sample(str(number), right=self.right) for number in range(30)]

    def pause_budgets(self, version: int) -> None:
        self.budgets.append(("pause", version))

    def unpause_budgets(self, version: int) -> None:
        self.budgets.append(("unpause", version))

    async def looked(self, look: Look, what_next: str) -> None:
        self.looks.append(look)

    async def look(self, version: int, *, right: bool) -> None:
        self.right = right
        await self.guarded.look(version)


async def test_the_run_goes_back_after_a_breach_and_knows_its_good_versions(tmp_path: Path):
    world = World(tmp_path)
    await world.look(0, right=True)
    await world.look(2, right=True)
    await world.look(4, right=False)
    assert world.guarded.wants_back
    assert world.budgets == [("pause", 2)]

    assert json.loads((tmp_path / GUARDRAIL).read_text())["num_breaches"] == 0, "not yet"

    world.guarded.went_back(5)
    assert not world.guarded.wants_back
    assert json.loads((tmp_path / GUARDRAIL).read_text())["good"] == [0, 2]
    world.guarded.committed(5)

    assert json.loads((tmp_path / GUARDRAIL).read_text())["good"] == [0, 2, 5]
    await world.look(6, right=True)
    assert world.budgets == [("pause", 2), ("unpause", 6)]


async def test_a_good_version_is_not_looked_at_twice_and_nobody_looks_while_it_goes_back(
    tmp_path: Path,
):
    world = World(tmp_path)
    await world.look(0, right=True)
    await world.look(0, right=True)
    await world.look(2, right=False)
    await world.look(4, right=False)

    assert world.num_asked == 2
    assert world.guarded.summary()["num_breaches"] == 1


async def test_a_death_before_the_checkpoint_of_going_back_is_a_look_again(tmp_path: Path):
    world = World(tmp_path)
    await world.look(0, right=True)
    await world.look(2, right=False)
    world.guarded.went_back(3)

    again = World(tmp_path, is_resumed=True, start=2)
    assert (again.guarded.good, again.guarded.wants_back) == ([0], False)
    await again.look(2, right=False)

    assert again.guarded.wants_back


async def test_a_checkpoint_of_a_later_step_is_not_of_the_weights_that_were_good(tmp_path: Path):
    world = World(tmp_path)
    await world.look(0, right=True)
    await world.look(2, right=False)
    world.guarded.went_back(3)

    world.guarded.committed(2)
    assert json.loads((tmp_path / GUARDRAIL).read_text())["num_breaches"] == 0
    world.guarded.committed(4)

    state = json.loads((tmp_path / GUARDRAIL).read_text())
    assert (state["good"], state["num_breaches"]) == ([0], 1)


async def test_the_end_is_remembered_and_so_is_the_first_model(tmp_path: Path):
    world = World(tmp_path, action="stop")
    await world.look(0, right=True)
    await world.look(2, right=False)
    assert not world.guarded.is_over, "first it goes back"
    world.guarded.went_back(3)
    assert world.guarded.is_over
    world.guarded.committed(3)

    again = World(tmp_path, is_resumed=True, start=3, action="stop")

    assert again.guarded.is_over and again.guarded.knows_first
    assert again.guarded.good == [0, 3]


async def test_what_a_restart_takes_back_is_not_known_to_be_good(tmp_path: Path):
    world = World(tmp_path)
    for version in (0, 2, 4):
        await world.look(version, right=True)

    again = World(tmp_path, is_resumed=True, start=2)
    assert again.guarded.good == [0, 2]

    await world.look(6, right=False)
    world.guarded.went_back(7)
    world.guarded.forget_after(6)
    assert world.guarded.wants_back, "the learner lost the weights that it went back to"
    world.guarded.forget_after(4)
    assert not world.guarded.wants_back, "it went back to good ones by itself"


async def test_a_paused_budget_is_paused_after_a_restart(tmp_path: Path):
    world = World(tmp_path, action="pause")
    await world.look(0, right=True)
    await world.look(2, right=False)

    again = World(tmp_path, is_resumed=True, start=2, action="pause")

    assert again.budgets == [("pause", 0)]
    await again.look(4, right=True)
    again.guarded.forget_after(4)
    assert again.budgets[1:] == [("unpause", 4), ("unpause", 4)], "as the checkpoint knew it"


def commit(store: CheckpointStore, step: int) -> None:
    folder = store.begin(step)
    (folder / "model").mkdir()
    store.commit(folder, TrainState(step=step, end_ticket=step, seconds=0.0))


def test_the_newest_good_checkpoint_stays_and_is_what_is_exported(tmp_path: Path):
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    store.good = [0, 2]
    for step in (0, 2, 4, 6, 8):
        commit(store, step)
    assert [path.name for path in store.folders()] == ["step-000002", "step-000006", "step-000008"]
    assert find_checkpoint(tmp_path).name == "step-000008"

    (tmp_path / GUARDRAIL).write_text(json.dumps({"good": [0, 2]}))
    assert find_checkpoint(tmp_path).name == "step-000002"

    (tmp_path / GUARDRAIL).write_text(json.dumps({"good": [1]}))
    with pytest.raises(UserError, match=r"guardrail found good"):
        find_checkpoint(tmp_path)
    (tmp_path / GUARDRAIL).write_text("{")
    with pytest.raises(UserError, match=r"guardrail\.json is damaged"):
        find_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["data.heldout=null"], "needs problems to look at: set data.heldout"),
        (["sync_every=2", "max_lag=1", "guardrail.every=3"], "no multiple of sync_every 2"),
        (["guardrail.action=pause"], "budget.kind is fixed"),
    ],
)
def test_what_cannot_be_guarded_is_told(settings: list[str], words: str):
    with pytest.raises(ConfigError, match=words):
        load("tiny", ["guardrail.every=5", *settings])
