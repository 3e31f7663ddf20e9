"""Verdicts already given: the same verifier, answer and response never cost a second look."""

import hashlib
import threading
from collections import OrderedDict

from verifiers.types import Task, Verdict


class VerdictCache:
    """The ``capacity`` verdicts used last, keyed by a hash of what they judge. Thread-safe.

    The rules are not part of the key: a pool has one set of them.
    """

    def __init__(self, capacity: int) -> None:
        self.num_hits = 0
        self._capacity = capacity
        self._lock = threading.Lock()
        self._verdicts: OrderedDict[bytes, Verdict] = OrderedDict()

    def get(self, path: str, task: Task, response: str) -> Verdict | None:
        key = _key(path, task.answer, task.prompt, response)
        with self._lock:
            verdict = self._verdicts.get(key)
            if verdict is not None:
                self._verdicts.move_to_end(key)
                self.num_hits += 1
            return verdict

    def put(self, path: str, task: Task, response: str, verdict: Verdict) -> None:
        key = _key(path, task.answer, task.prompt, response)
        with self._lock:
            self._verdicts[key] = verdict
            self._verdicts.move_to_end(key)
            if len(self._verdicts) > self._capacity:
                self._verdicts.popitem(last=False)


def _key(*parts: str) -> bytes:
    """A cryptographic hash, since the texts are hostile; lengths keep the parts apart."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.digest()
