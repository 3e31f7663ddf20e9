"""``laconic verify``: judge answers that somebody else wrote."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from configs.schema import JudgeConfig
from verifiers.verify_file import verify_file


def verify_lines(path: Path, default_verifier: str, emit: Callable[[str], None]) -> None:
    """One JSON line for every row, in the file's order, as soon as it is judged."""

    async def stream() -> None:
        async for verdict in verify_file(path, default_verifier, JudgeConfig()):
            emit(json.dumps(verdict, ensure_ascii=False))

    asyncio.run(stream())
