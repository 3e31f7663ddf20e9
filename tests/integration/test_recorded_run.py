"""A real run of the made model, looked at afterwards: decided again, searched for confounders."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from actors.judge import Judge
from benchmarks.startup import phases
from configs.load import load_resolved, validate
from configs.run_files import latest_rollouts, read_table
from configs.schema import RunConfig
from tests.integration.conftest import Laconic
from verifiers.types import (
    Completion,
    Group,
    JudgedGroup,
    Message,
    Problem,
    Settlement,
    Ticket,
)

STEPS = [{"use": "duplicate"}, {"use": "max_kept", "settings": {"count": 3}}]
CHANGED = {
    "length_budget": 90,
    "steps": [
        {"use": "branchy", "settings": {"max": 30}},
        {"use": "duplicate"},
        {"use": "tests.own_parts:WORDY", "settings": {"most": 60}},
        {"use": "grape"},
    ],
}


@pytest.fixture(scope="module")
def run_dir(laconic: Laconic, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    done = laconic(
        "train", "tiny", "steps=3", "batch.problems=6", "data.heldout=null", "name=looked-at",
        f"runs_dir={folder}", f"filter.steps={json.dumps(STEPS)}", "debug=true",
        "filter.token_weights=tests.own_parts:first_tokens",
    )  # fmt: skip
    assert done.returncode == 0
    return folder / "looked-at"


def test_it_says_when_each_phase_of_its_start_ended(run_dir: Path):
    ends = phases(run_dir, began=0.0)

    in_turn = [ends[name] for name in ("imports", "prepared", "ray")]
    beside = [ends[name] for name in ("recorder", "queue", "judges", "learner", "engines")]
    then = ("started", "first_token", "first_batch", "first_step", "first_weights")
    after = [ends[name] for name in then]
    assert in_turn == sorted(in_turn) and in_turn[-1] <= min(beside)
    assert ends["recorder"] <= ends["queue"]
    assert after == sorted(after) and max(beside) <= after[0]
    assert ends["first_weights"] - ends["imports"] < 600


def printed(laconic: Laconic, *arguments: str) -> Any:
    done = laconic(*arguments, "--json")
    assert done.returncode == 0
    return json.loads(done.stdout)


class Nowhere:
    """Stands for the queue and the recorder; keeps what was judged."""

    def __init__(self) -> None:
        self.judged: list[JudgedGroup] = []

    async def settle(self, settlement: Settlement) -> bool:
        return True

    async def problems(self, problems: list[Problem]) -> None: ...

    async def rollouts(self, judged: JudgedGroup) -> None:
        self.judged.append(judged)

    async def verdicts(self, rows: list[dict[str, Any]]) -> None: ...


def groups_of(run_dir: Path, config: RunConfig) -> dict[str, Group]:
    """The recorded completions with their texts, as an engine would hand them to a judge."""
    texts = {row["rollout_id"]: row["text"] for row in read_table(run_dir, "text").to_pylist()}
    asked = {row["problem_id"]: row for row in read_table(run_dir, "problems").to_pylist()}
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in latest_rollouts(run_dir).to_pylist():
        rows[row["group_id"]].append(row)
    return {
        name: Group(
            ticket=Ticket(
                number=int(name.split(".")[0]),
                attempt=group[0]["attempt"],
                problem=Problem(
                    id=group[0]["problem_id"],
                    messages=(Message(role="user", content=asked[group[0]["problem_id"]]["text"]),),
                    answer=asked[group[0]["problem_id"]]["gold"],
                    source="tiny",
                    verifier=config.data.verifier,
                    prompt_ids=(1,),
                ),
                size=len(group),
                budget=config.filter.length_budget,
            ),
            generator_id="recorded",
            completions=tuple(
                Completion(
                    text=texts[row["rollout_id"]],
                    token_ids=(7,) * row["n_tokens"],
                    logprobs=(row["logp_mean"],) * row["n_tokens"],
                    finish_reason=row["finish_reason"],
                    first_version=row["first_version"],
                    last_version=row["last_version"],
                    start_us=0,
                    end_us=1,
                )
                for row in sorted(group, key=lambda row: row["sample"])
            ),
            temperature=1.0,
            top_p=1.0,
            max_tokens=120,
        )
        for name, group in rows.items()
    }


def test_without_changes_every_decision_of_the_run_comes_out_the_same(
    laconic: Laconic, run_dir: Path
):
    found = printed(laconic, "replay", str(run_dir))

    assert found["rollouts"] == found["agreeing"] == 3 * 6 * 8
    assert found["changed"] == []
    assert {"duplicate", "max_kept", "truncated"} & set(found["before"]["reasons"])
    assert found["before"]["kept"] > 0


async def test_a_replay_agrees_with_the_judges_own_filter_on_the_same_rollouts(
    laconic: Laconic, run_dir: Path
):
    recorded = {row["rollout_id"]: row["reason"] for row in latest_rollouts(run_dir).to_pylist()}
    before = load_resolved(run_dir / "resolved.yaml")
    values = before.model_dump(mode="json")
    config = validate({**values, "filter": {**values["filter"], **CHANGED}})
    nowhere = Nowhere()
    judge = Judge(config, nowhere, nowhere)
    await judge.start()
    for group in groups_of(run_dir, config).values():
        await judge.judge(group)
    await judge.close()

    found = printed(
        laconic, "replay", str(run_dir), "--set", "filter.length_budget=90",
        f"filter.steps={json.dumps(CHANGED['steps'])}",
    )  # fmt: skip

    replayed = dict(recorded)
    for change in found["changed"]:
        assert change["before"] == recorded[change["rollout_id"]]
        replayed[change["rollout_id"]] = change["after"]
    judged = {
        f"{group.group.ticket.number:06d}.{group.group.ticket.attempt}.{sample}": decision.reason
        for group in nowhere.judged
        for sample, decision in enumerate(group.decisions)
    }
    assert judged == replayed
    assert found["changed"]
    assert {"grape", "over_budget"} <= set(found["after"]["reasons"])


def test_the_report_for_people_ends_with_what_it_is_not(laconic: Laconic, run_dir: Path):
    done = laconic("replay", str(run_dir), "--set", "filter.length_budget=200")

    assert "144 of 144 decisions come out the same" in done.stdout
    assert "not observed: " in done.stdout  # the run cut them off at 120
    last = done.stdout.strip().splitlines()[-1]
    assert last == "replays recorded rollouts, does not predict training"


def test_what_a_replay_cannot_set_is_one_line(laconic: Laconic, run_dir: Path):
    done = laconic("replay", str(run_dir), "--set", "learner.objective=dft")

    assert done.returncode == 2
    assert done.stderr.startswith("laconic: learner.objective=dft decides nothing")
    assert "Traceback" not in done.stderr


def test_nothing_stands_between_what_was_kept_and_what_was_trained(laconic: Laconic, run_dir: Path):
    found = printed(laconic, "confounders", str(run_dir))

    stages = {stage["name"]: stage["rollouts"] for stage in found["report"]["stages"]}
    rows = latest_rollouts(run_dir).to_pylist()
    assert stages["generated"] == len(rows) == 144
    assert stages["kept"] == sum(row["accepted"] for row in rows)
    assert stages["trained"] == sum(row["fate"] == "trained" for row in rows) > 0
    assert found["verdict"].startswith("kept -> trained: no shift")
    assert found["lag"].startswith("lag: ")
    assert found["shares"]["truncated"] == sum(r["reason"] == "truncated" for r in rows) / 144

    shown = laconic("confounders", str(run_dir)).stdout
    assert "generated -> finished" in shown
    assert found["verdict"] in shown and found["lag"] in shown


def test_the_weights_of_ones_own_part_were_recorded_and_trained(run_dir: Path):
    rows = [row for row in latest_rollouts(run_dir).to_pylist() if row["accepted"]]

    assert rows
    for row in rows:
        assert row["weight_mean"] == pytest.approx(1 - 1 / row["n_tokens"])
        assert (row["reward"], row["weight"]) == (1.0, 1.0)
