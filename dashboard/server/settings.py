"""How a server was asked to be started."""

import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from configs.errors import UserError

PORT = 8421
LOOPBACK = ("127.0.0.1", "::1", "localhost")
TOKEN_FILE = Path("~/.config/laconic/dashboard-token")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    runs: tuple[Path, ...]
    host: str = "127.0.0.1"
    port: int | None = None
    """None: 8421, or the next free one."""
    root_path: str = ""
    """Prefix under which a proxy that does not strip it shows the page."""
    token: str | None = field(default=None, repr=False)
    """None: nobody is asked for one."""
    allowed_hosts: tuple[str, ...] = ()
    """Names, besides this machine's, by which a browser may call it."""
    sql: bool = True
    memory_gib: float = 1.0
    query_s: float = 10.0
    """Longest answer."""
    instance: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def is_local(self) -> bool:
        return self.host in LOOPBACK


def token_for(
    *, host: str, token_file: Path | None, wants_token: bool, unsafe_no_auth: bool
) -> str | None:
    """The token of this server. Raises UserError where it would be open to the network without."""
    if unsafe_no_auth:
        if token_file or wants_token:
            raise UserError("--unsafe-no-auth and a token exclude each other; leave one out")
        return None
    if token_file is not None:
        return read_or_make_token(token_file)
    if wants_token or host not in LOOPBACK:
        return read_or_make_token(TOKEN_FILE.expanduser())
    return None


def read_or_make_token(path: Path) -> str:
    """A token that only this user can read."""
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
        mode = path.stat().st_mode
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"--token-file {path} cannot be used: {getattr(error, 'strerror', None) or error}"
        ) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UserError(
            f"--token-file {path} can be read by others (mode {stat.S_IMODE(mode):o}); "
            f"chmod 600 {path}"
        )
    if len(token) < 16 or not token.isascii() or any(c.isspace() for c in token):
        raise UserError(
            f"--token-file {path} must hold one word of at least 16 ASCII characters; "
            "remove the file and one is made"
        )
    return token
