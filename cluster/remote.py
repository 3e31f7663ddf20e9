"""A folder somewhere else, by its URL: whatever fsspec can reach, and one line for what it cannot.

Who may write there is for the environment to say, as the storage's own tools have it: nothing
secret stands in a URL or in a configuration.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from configs.errors import UserError
from verifiers.durable import sync

OPTIONS: dict[str, dict[str, Any]] = {
    "file": {"auto_mkdir": True},
    # Two pieces of 50 MiB at a time are enough, and all of it is written and read once.
    "s3": {"max_concurrency": 2, "use_listings_cache": False, "skip_instance_cache": True},
}
PROBE = "probe"


class RemoteError(OSError):
    """The storage did not do what it was asked."""


class Remote:
    def __init__(self, url: str) -> None:
        """Raises UserError for what is no URL of a storage that can be reached from here."""
        scheme, separator, rest = url.partition("://")
        if not separator or not rest:
            raise UserError(f"{url!r} is no URL; write s3://bucket/folder or file:///folder")
        if "@" in rest.partition("/")[0]:
            raise UserError(
                f"a key in a {scheme}:// URL would be shown and kept; give it in the environment, "
                "such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        self.url = url.rstrip("/")
        self._fs, self._root = _connect(self.url, scheme)
        self._is_local = scheme in ("file", "local")

    def probe(self) -> None:
        """Raises UserError unless one can write there, read it, see it and take it away."""
        try:
            self.write(PROBE, b"laconic")
            if self.read(PROBE) != b"laconic" or self.names(PROBE) != [PROBE]:
                raise RemoteError(f"{self.url} does not give back what was written there")
            self.remove([PROBE])
        except RemoteError as error:
            raise UserError(str(error)) from error

    def read(self, name: str) -> bytes | None:
        """None: there is no such file."""
        with self._told("read", name):
            try:
                return self._fs.cat_file(self._at(name))
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Whole or not at all: a reader sees what was there before, or this. As ``put``, durably:
        for a bucket that is so as soon as it answers."""
        with self._told("write", name):
            if not self._is_local:
                self._fs.pipe_file(self._at(name), content)
                return
            temporary = f"{self._at(name)}.tmp"
            self._fs.pipe_file(temporary, content)
            sync(Path(temporary))
            os.replace(temporary, self._at(name))
            self._sync_folders(name)

    def put(self, source: Path, name: str) -> None:
        with self._told("write", name):
            self._fs.put_file(str(source), self._at(name))
            if self._is_local:
                sync(Path(self._at(name)))
                self._sync_folders(name)

    def get(self, name: str, target: Path) -> None:
        with self._told("read", name):
            self._fs.get_file(self._at(name), str(target))

    def names(self, folder: str) -> list[str]:
        """Of every file that is there below it."""
        with self._told("list", folder):
            found = self._fs.find(self._at(folder))
        return [name.removeprefix(f"{self._root}/") for name in found]

    def remove(self, names: list[str]) -> None:
        """Whatever is not there is no harm."""
        for name in names:
            with self._told("remove", name):
                try:
                    self._fs.rm_file(self._at(name))
                except FileNotFoundError:
                    continue

    def _sync_folders(self, name: str) -> None:
        """Those that may have been made for this local file, and the one that they are in."""
        for folder in Path(self._at(name)).parents[: name.count("/") + 2]:
            sync(folder)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _told(self, doing: str, name: str) -> Iterator[None]:
        """Every kind of storage has errors of its own, so all that comes from there is caught."""
        try:
            yield
        except FileNotFoundError as error:
            raise RemoteError(f"{self.url} is not there: {_line(error)}") from error
        except PermissionError as error:
            raise RemoteError(
                f"{self.url} may not be used with the credentials that are set here: {_line(error)}"
            ) from error
        except Exception as error:
            raise RemoteError(f"cannot {doing} {self.url}/{name}: {_line(error)}") from error


def _connect(url: str, scheme: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs  # noqa: PLC0415  only a run with a mirror needs it
    except ImportError:
        raise UserError(f"{url} needs the package fsspec: pip install fsspec") from None
    try:
        return url_to_fs(url, **OPTIONS.get(scheme, {}))
    except ImportError as error:
        package = "s3fs" if scheme == "s3" else "for it"
        raise UserError(f"{scheme}:// needs the package {package}: {_line(error)}") from error
    except ValueError as error:
        raise UserError(f"{url!r} names no storage that is known: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
