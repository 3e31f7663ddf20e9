"""Whom a Ray lets in, decided before it starts or is joined."""

from pathlib import Path

import pytest

from cluster import ray_auth
from configs.errors import UserError

pytestmark = pytest.mark.row(30)


def test_every_private_ray_gets_a_new_token_and_a_given_one_stays():
    first: dict[str, str] = {}
    second = {"RAY_AUTH_MODE": "Token"}
    given = {"RAY_AUTH_TOKEN": "mine"}
    in_a_file = {"RAY_AUTH_TOKEN_PATH": "/somewhere"}

    for environment in (first, second, given, in_a_file):
        ray_auth.lock_private(environment)

    assert len(first["RAY_AUTH_TOKEN"]) == 64
    assert first["RAY_AUTH_TOKEN"] != second["RAY_AUTH_TOKEN"]
    assert given == {"RAY_AUTH_TOKEN": "mine"}
    assert in_a_file == {"RAY_AUTH_TOKEN_PATH": "/somewhere"}


def test_a_private_ray_is_never_open():
    with pytest.raises(UserError, match="unset RAY_AUTH_MODE"):
        ray_auth.lock_private({"RAY_AUTH_MODE": "disabled"})
    with pytest.raises(UserError, match="install ray>="):
        ray_auth.require_locked({})
    ray_auth.require_locked({"RAY_AUTH_MODE": "token"})


@pytest.mark.parametrize(
    ("address", "is_loopback"),
    [
        ("127.0.0.1:6379", True),
        ("127.3.2.1:6379", True),
        ("localhost:6379", True),
        ("[::1]:6379", True),
        ("ray://127.0.0.1:10001", True),
        ("10.0.0.1:6379", False),
        ("0.0.0.0:6379", False),
        ("127.0.0.1.evil.example:6379", False),
        ("head:6379", False),
        ("ray://head:10001", False),
        ("auto", False),
    ],
)
def test_an_open_ray_is_joined_on_the_loopback_alone(address: str, is_loopback: bool):
    ray_auth.require_closed(address, {})
    ray_auth.require_closed(address, {"RAY_AUTH_MODE": "token"})
    if is_loopback:
        ray_auth.require_closed(address, {"RAY_AUTH_MODE": "disabled"})
        return
    with pytest.raises(UserError, match="RAY_AUTH_MODE=disabled, and Ray at") as refused:
        ray_auth.require_closed(address, {"RAY_AUTH_MODE": "Disabled"})
    assert "\n" not in str(refused.value)


def test_the_token_is_the_one_that_ray_would_take(tmp_path: Path):
    file = tmp_path / "token"
    file.write_text(" from-the-file\n")
    on = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(file)}

    assert ray_auth.token_of(on) == "from-the-file"
    assert ray_auth.token_of(on | {"RAY_AUTH_TOKEN": "from-the-variable"}) == "from-the-variable"
    assert ray_auth.token_of(on | {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")}) is None
    assert ray_auth.token_of({"RAY_AUTH_TOKEN": "but the mode is off"}) is None
