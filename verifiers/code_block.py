"""Find the code in a response: what stands between fences. Linear, because the text is hostile."""

import re

_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*([\w+#.-]*)")


def last_block(text: str, languages: tuple[str, ...]) -> str | None:
    """The last fenced block marked as one of the languages, else the last without a mark.

    A block that never closes reaches to the end.

    >>> last_block("```py\\nx = 1\\n```\\nIt prints\\n```\\n1\\n```", ("python", "py"))
    'x = 1\\n'
    """
    marked = unmarked = None
    for language, code in _blocks(text):
        if language.lower() in languages:
            marked = code
        elif not language:
            unmarked = code
    return unmarked if marked is None else marked


def _blocks(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    fence = language = indent = ""
    lines: list[str] = []
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if not fence:
            if match:
                indent, fence, language = match.groups()
                lines = []
        elif match and match[2].startswith(fence) and line.strip() == match[2]:
            found.append((language, "".join(lines)))
            fence = ""
        else:  # a block inside a list is indented as a whole
            lines.append(line.removeprefix(indent) + "\n")
    if fence:
        found.append((language, "".join(lines)))
    return found
