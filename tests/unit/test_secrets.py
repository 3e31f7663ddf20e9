"""What is named like a secret is no setting, and what looks like one is never written down."""

import json
import logging
from pathlib import Path

import pytest

from cluster import main, run_dir
from cluster.plan import make_plan
from cluster.ray_session import actor_environment
from cluster.spawn import _log_to
from cluster.tracker import without_secrets
from configs import secrets
from configs.load import ConfigError, dump, known_keys, load, load_judge, load_resolved
from configs.secrets import REDACTED, is_secret_name, redact, redact_values, secrets_of
from verifiers import nursery, sandbox_program
from verifiers.sandbox_commands import COMMANDS

pytestmark = pytest.mark.row(28)

SECRET_NAMES = [
    "token", "hub_token", "HF_TOKEN", "hubToken", "judge.API_KEY", "api_key", "apikey", "API-KEY",
    "wandb_key", "password", "db.password", "passwd", "secret", "client_secret", "secrets",
    "credentials", "AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN", "private_key",
]  # fmt: skip
PLAIN_NAMES = [
    "max_tokens", "micro_batch_tokens", "token_weights", "tokens", "monkey", "key", "sort_key",
    "eos_token", "pad_token", "penalty_per_token", "RAY_AUTH_TOKEN_PATH",
    "AWS_SHARED_CREDENTIALS_FILE", "keyboard", "revision", "tokenizer",
]  # fmt: skip

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOOKS = (
    "hf_" + "aB3" * 11,
    "sk-" + "proj-" + "x9" * 20,
    "sk-ant-api03-" + "Q_w" * 12,
    "AKIA" + "ABCDEFGH23456789",
    "ghp_" + "a1B2" * 9,
    "github_pat_" + "a1_B2" * 8,
    "wandb_v1_" + "a1_B2" * 8,
)
HARMLESS = (
    "a task-specific-and-rather-long-name",
    "hf_home is set",
    "risk-free and skin-deep",
    f"model.revision={COMMIT}",
    f"/hub/models--a--b/snapshots/{COMMIT}/config.json",
    "https://example.org/a?b=c@d",
    "s3://bucket/key:with@sign",
    "max_tokens=4096 and token_weights=fait",
    "num_tokens: 40961234, tokens=123456789",
    "AKIA is short",
    "step 12/25 version 12 loss 0.412 kept 143/256 tokens 91.2 lag 1",
)


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_name_of_a_secret_is_known(name: str):
    assert is_secret_name(name)


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_what_only_counts_tokens_is_none(name: str):
    assert not is_secret_name(name)


def test_no_key_of_ours_is_named_like_a_secret():
    assert [key for key in known_keys() if is_secret_name(key)] == []


@pytest.mark.parametrize("secret", LOOKS)
def test_what_looks_like_a_secret_is_taken_out_wherever_it_stands(secret: str):
    for text in (secret, f"('{secret}',)", f"a={secret}&b=1", f"say {secret}.", f"x\n{secret}\ny"):
        assert secret not in redact(text)
        assert REDACTED in redact(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_harmless_stays_as_it_is(text: str):
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("https://me:pass@host/a", f"https://{REDACTED}@host/a"),
        ("redis://:pass@host:1/a", f"redis://{REDACTED}@host:1/a"),
        ("Authorization: Bearer abc.def_ghi-jkl=", f"Authorization: Bearer {REDACTED}"),
        (f"wandb login {COMMIT}", f"wandb login {REDACTED}"),
        (f"api_key={COMMIT}", f"api_key={REDACTED}"),
        ("HF_TOKEN=something", f"HF_TOKEN={REDACTED}"),
        ("--hub-token=something more", f"--hub-token={REDACTED} more"),
        ('{"password": "something", "a": 1}', f'{{"password": "{REDACTED}", "a": 1}}'),
        ("{'client_secret': 'something'}", f"{{'client_secret': '{REDACTED}'}}"),
    ],
)
def test_the_words_before_it_may_tell_a_secret(text: str, redacted: str):
    assert redact(text) == redacted


def test_the_environments_own_secrets_are_known_by_their_value():
    known = secrets_of(
        {
            "WANDB_API_KEY": "plain-but-long",
            "HF_TOKEN": "plain-but-longer-than-the-other",
            "DB_PASSWORD": "short",
            "SESSION_SECRET": "disabled",
            "HOME": "/root/somewhere",
        }
    )

    assert known == ("plain-but-longer-than-the-other", "plain-but-long")
    assert redact("it said plain-but-longer-than-the-other!", known) == f"it said {REDACTED}!"


def test_a_structure_keeps_its_shape_and_its_commits():
    values = {
        "revision": COMMIT,
        "list": ["plain", LOOKS[0]],
        "deep": {"hub_token": "any", "count": 3, "none": None},
    }

    assert redact_values(values) == {
        "revision": COMMIT,
        "list": ["plain", REDACTED],
        "deep": {"hub_token": REDACTED, "count": 3, "none": None},
    }


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (["learner.objective_settings.api_key=abc"], "learner.objective_settings.api_key"),
        (["wandb.api_key=abc"], "wandb.api_key"),
        (["hub_token=abc"], "hub_token"),
        (["curriculum.policy_settings.password=abc"], "curriculum.policy_settings.password"),
        (["filter.steps=[{use: a, settings: {client_secret: abc}}]"], "filter.steps.0.settings"),
    ],
)
def test_a_secret_in_an_override_is_refused_by_its_key_and_never_quoted(
    settings: list[str], key: str
):
    with pytest.raises(ConfigError, match="environment") as refused:
        load("tiny", settings)

    assert str(refused.value).startswith(key)
    assert "abc" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_secret_in_a_file_or_a_variable_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "more.yaml").write_text("learner: {objective_settings: {hub_token: abcdefgh}}\n")

    with pytest.raises(ConfigError, match=r"learner\.objective_settings\.hub_token is named like"):
        load("tiny", [str(tmp_path / "more.yaml")])
    with pytest.raises(ConfigError, match=r"judge\.password is named like"):
        load_judge(["judge.password=abcdefgh"])
    monkeypatch.setenv("LACONIC__WANDB__API_KEY", "abcdefgh")
    with pytest.raises(ConfigError, match=r"wandb\.api_key is named like"):
        load("tiny", [])


def test_a_number_is_nobodys_secret():
    config = load("tiny", ["learner.objective_settings.bonus_token=0.5"])

    assert config.learner.objective_settings == {"bonus_token": 0.5}


def test_a_run_writes_no_secret_down_and_still_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = [f"runs_dir={tmp_path}", "name=one", f"data.suffix=' {LOOKS[0]}'"]
    settings += [f"model.revision={COMMIT}", "wandb.project=token-of-wandb-9"]
    monkeypatch.setenv("WANDB_API_KEY", "token-of-wandb-9")
    monkeypatch.setattr("sys.argv", ["laconic", "train", "tiny", *settings])
    config = load("tiny", settings)

    run_dir.locate(config, "tiny", resume=False).create(config, "tiny")

    written = "".join(file.read_text() for file in (tmp_path / "one").iterdir() if file.is_file())
    assert LOOKS[0] not in written
    assert "token-of-wandb-9" not in written
    command = json.loads((tmp_path / "one" / "run.json").read_text())["starts"][0]["command"]
    assert command[-3:] == [
        f"data.suffix=' {REDACTED}'", f"model.revision={COMMIT}", f"wandb.project={REDACTED}"
    ]  # fmt: skip
    resolved = load_resolved(tmp_path / "one" / "resolved.yaml")
    assert resolved.data.suffix == f" {REDACTED}"
    assert resolved.model.revision == COMMIT
    assert run_dir.locate(config, "tiny", resume=True).is_resumed


def test_what_holds_no_secret_is_dumped_as_it_is(tmp_path: Path):
    config = load("tiny", [f"model.revision={COMMIT}", "filter.token_weights=fait"])
    (tmp_path / "resolved.yaml").write_text(dump(config))

    assert load_resolved(tmp_path / "resolved.yaml") == config


def test_an_actors_log_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", "my-own-1-token")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        root.handlers = []
        _log_to(tmp_path / "part.log")
        logging.getLogger("part").info("asked with %s", LOOKS[0])
        try:
            raise RuntimeError("401 for my-own-1-token")
        except RuntimeError:
            logging.getLogger("part").exception("it failed with %s", {"password": "open-sesame"})
        root.handlers[0].close()
    finally:
        root.handlers, root.level = handlers, level

    text = (tmp_path / "part.log").read_text()
    assert "INFO part asked with [redacted]" in text
    assert "RuntimeError: 401 for [redacted]" in text
    assert not any(secret in text for secret in (LOOKS[0], "my-own-1-token", "open-sesame"))


def test_the_line_of_a_failure_holds_no_secret(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_TOKEN", "my-own-1-token")

    main._failed(OSError(f"401 for {LOOKS[1]} and my-own-1-token"), 1)

    assert capsys.readouterr().err == f"laconic: 401 for {REDACTED} and {REDACTED}\n"


def test_wandb_gets_no_secret(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", "my-own-1-token")
    values = {"data": {"train": "https://me:pass@host/a", "suffix": "my-own-1-token"}}

    assert without_secrets(values | {"filter": {"token_weights": "fait"}}) == {
        "data": {"train": f"https://{REDACTED}@host/a", "suffix": REDACTED},
        "filter": {"token_weights": "fait"},
    }


def test_what_ray_is_told_of_an_actors_environment_holds_no_secret(
    monkeypatch: pytest.MonkeyPatch,
):
    for name in ("HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, f"secret-of-{name}-1")
    config = load("tiny", [])

    told = actor_environment(config, make_plan(config, gpus_seen=0, cores=(0, 1)))

    assert not any(is_secret_name(name) for name in told)
    assert not any("secret-of" in value for value in told.values())


def test_who_judges_or_runs_what_a_model_wrote_starts_without_secrets(
    monkeypatch: pytest.MonkeyPatch,
):
    for name in ("HF_TOKEN", "WANDB_API_KEY", "RAY_AUTH_TOKEN", "LACONIC_NOTE", "HOME"):
        monkeypatch.setenv(name, f"secret-of-{name}-1")

    started = [nursery._environment(), *(start()[1] for start in COMMANDS.values())]

    assert len(started) == 3
    for environment in [*started, sandbox_program.ENVIRONMENT]:
        assert set(environment) <= {
            *nursery.KEPT_VARIABLES,
            "PYTHONPATH",
            "PYTHONHASHSEED",
            "PYTHONUTF8",
        }
        assert not any("secret-of" in value for value in environment.values())


def test_a_long_text_is_redacted_in_no_time():
    text = "key " * 20_000 + "a" * 200_000 + "://" * 10_000 + ":x" * 10_000

    assert secrets.redact(text)
