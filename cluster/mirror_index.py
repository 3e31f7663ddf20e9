"""What belongs to a run's copy somewhere else, and under which name each file is there."""

import json
from dataclasses import asdict, dataclass, field

import xxhash

from cluster.checkpoint import MANIFEST
from cluster.remote import Remote
from configs.errors import UserError

INDEX = "index.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Piece:
    name: str
    size: int
    digest: str


@dataclass(slots=True, kw_only=True)
class Index:
    format: int = FORMAT
    run: str
    """Which run it is: two of one name are not mixed."""
    checkpoints: dict[str, str] = field(default_factory=dict)
    """Manifests by folder."""
    files: dict[str, list[Piece]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    def names(self) -> set[str]:
        """Of everything that it needs."""
        pieces = {piece.name for pieces in self.files.values() for piece in pieces}
        files = (checkpoint_files(*one).values() for one in self.checkpoints.items())
        return pieces.union(*files)


def read_index(remote: Remote) -> Index | None:
    """None: nothing was copied there yet."""
    content = remote.read(INDEX)
    if content is None:
        return None
    try:
        values = json.loads(content)
        if values["format"] != FORMAT:
            raise UserError(f"{remote.url} has format {values['format']}, this is {FORMAT}")
        values["files"] = {
            name: [Piece(**piece) for piece in pieces] for name, pieces in values["files"].items()
        }
        return Index(**values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{remote.url}/{INDEX} is no index of a run: {error!r}") from None


def checkpoint_files(name: str, manifest: str) -> dict[str, str]:
    """By the file's name in the checkpoint, where it is there; the manifest last."""
    folder = f"checkpoints/{name}-{xxhash.xxh3_64_hexdigest(manifest.encode())[:8]}"
    return {file: f"{folder}/{file}" for file in (*json.loads(manifest)["files"], MANIFEST)}
