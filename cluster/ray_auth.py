"""Who may talk to a Ray: a token of its own for a private one, and no open door elsewhere.

Ray listens on every interface of the machine, and whoever may talk to it may run code as its user.
"""

import secrets
from collections.abc import Mapping, MutableMapping
from ipaddress import ip_address
from pathlib import Path

import grpc

from configs.errors import UserError

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
PROBE = "/ray.rpc.NodeInfoGcsService/GetClusterId"
PROBE_S = 5.0
WAY_OUT = (
    f"set {MODE}=token and the token that the head was started with, {TOKEN}=… or {TOKEN_PATH}=…; "
    f"on the head `ray get-auth-token` shows it"
)


def lock_private(environment: MutableMapping[str, str]) -> None:
    """Give the private Ray that is about to start a token that nobody else knows.

    It stands in the environment of our own processes and in no file: Ray would leave one in the
    home folder that everybody can read. Ray itself switches tokens on for a Ray that it starts,
    which ``require_locked`` checks; to set the mode here would come too late for Ray's own copy of
    the environment and leave the two sides with different minds.
    """
    if environment.get(MODE, "token").lower() != "token":
        raise UserError(
            f"{MODE}={environment[MODE]}: a private Ray listens on every interface, and whoever "
            f"reaches it could run code as you; unset {MODE}, a token is made for you"
        )
    if TOKEN not in environment and TOKEN_PATH not in environment:
        environment[TOKEN] = secrets.token_hex(32)


def require_locked(environment: Mapping[str, str]) -> None:
    """After a private Ray has started."""
    if environment.get(MODE, "").lower() != "token":
        raise UserError("this Ray starts without token authentication; install ray>=2.59")


def require_closed(address: str, environment: Mapping[str, str]) -> None:
    """Refuse to join a Ray elsewhere that was told to let everybody in."""
    if environment.get(MODE, "").lower() == "disabled" and not is_loopback(address):
        raise UserError(
            f"{MODE}=disabled, and Ray at {address!r} is not on the loopback: whoever reaches it "
            f"could run code as you; start its head with {MODE}=token, and {WAY_OUT}"
        )


def require_welcome(address: str, environment: Mapping[str, str]) -> None:
    """``host:port`` answers to the token that we have, or asks for none. Ray itself would try again
    and again, and end in a traceback. Other troubles are Ray's to tell."""
    token = token_of(environment)
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary(PROBE, _same, _same)
        try:
            ask(b"", timeout=PROBE_S, metadata=metadata)
        except grpc.RpcError as error:
            # What an RpcError of a call is cannot be said in types: it is a grpc.Call as well.
            code = error.code() if isinstance(error, grpc.Call) else None
            if code is grpc.StatusCode.UNAUTHENTICATED:
                raise unwelcome(address, environment) from error


def unwelcome(address: str, environment: Mapping[str, str]) -> UserError:
    has = "another token than its own" if token_of(environment) else "no token in use"
    return UserError(f"Ray at {address!r} refuses us: we have {has}; {WAY_OUT}")


def token_of(environment: Mapping[str, str]) -> str | None:
    """The token that Ray would use here, if the mode is on."""
    if environment.get(MODE, "").lower() != "token":
        return None
    if token := environment.get(TOKEN):
        return token.strip()
    try:
        return token_file(environment).read_text().strip() or None
    except OSError:
        return None


def token_file(environment: Mapping[str, str]) -> Path:
    return Path(environment.get(TOKEN_PATH) or Path.home() / ".ray" / "auth_token")


def is_loopback(address: str) -> bool:
    """Of ``host:port``, ``ray://host:port`` or ``[::1]:port``; a name other than localhost is not,
    wherever it leads today."""
    host = address.rpartition("://")[2].rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _same(message: bytes) -> bytes:
    return message
