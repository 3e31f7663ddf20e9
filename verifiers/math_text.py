r"""Mathematics as text: what is the same however it is parsed, and what the parser cannot read."""

import re

_DELIMITERS = re.compile(r"(?<!\\)\\[()\[\]]|\\?\$")
_ALIKE = (
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\(?:left|right|displaystyle)(?![a-zA-Z])|\\[!,;:]"), ""),
    (_DELIMITERS, ""),
    (re.compile(r"(?<!\d)\s+|\s+(?!\d)"), ""),
)
_TEXT = re.compile(r"\\(?:text(?:rm|normal|it|bf|tt)?|math(?:rm|it|bf)|mbox)\s*+\{([^{}]*+)\}")
_WORDS = re.compile(r"[^\W\d_][^\W\d_]*+(?:[\s.'’-]++[^\W\d_]++)*+\.?")
LEAST_WORD = 5
"""Letters that make a word outside ``\\text``; fewer may be a product of variables."""

_LETTERS = re.compile(r"[^\W\d_]+")
_BASED = re.compile(r"(\d[\dA-Za-z]*+)_\{?(\d{1,2})\}?")
_REPEATING = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar)\s*\{?(\d+)\}?")
_DECIMAL = re.compile(r"(?<![\d.,])(\d*)\.(\d+)(?![\d.])")
_BRACKET = re.compile(r"\\\{|\\\}|[()\[\]]")


def bare(text: str) -> str:
    """The text without what never changes its meaning."""
    for pattern, replacement in _ALIKE:
        text = pattern.sub(replacement, text)
    return text.rstrip(".").replace("{,}", ",")


def words(text: str, least: int = LEAST_WORD) -> str | None:
    r"""The text when it is nothing but words, case and dressing removed; None when it may be
    mathematics: ``\text{(A)}`` is ``a``, ``xy`` is None."""
    plain = _TEXT.sub(r"\1", text)
    is_marked = plain != text
    plain = " ".join(plain.replace("\\ ", " ").split()).strip("() .$")
    if not _WORDS.fullmatch(plain):
        return None
    longest = max(len(word) for word in _LETTERS.findall(plain))
    return plain.casefold() if is_marked or longest >= least else None


def equal_in_bases(gold: str, found: str, *, must_name_base: bool) -> bool | None:
    """Compare ``2516_8`` by value, or by its digits where the answer leaves the base to the
    question. None when neither has a base."""
    wanted, given = _based(gold), _based(found)
    if wanted is None and given is None:
        return None
    if wanted and given:
        return wanted == given
    digits = bare(gold).partition("_")[0]
    return bool(wanted) and not must_name_base and digits == bare(found)


def _based(text: str) -> int | None:
    found = _BASED.fullmatch(bare(text))
    base = int(found[2]) if found else 0
    try:
        return int(found[1], base) if found and 2 <= base <= 36 else None
    except ValueError:  # a digit that the base does not have
        return None


def readable(text: str) -> str:
    """On one line, with what the parser knows in place of what it does not."""
    line = " ".join(_DELIMITERS.sub("", text).split())
    line = line.replace(r"\varnothing", r"\emptyset").replace("∅", r"\emptyset")
    return _REPEATING.sub(_repeating, line)


def _repeating(found: re.Match[str]) -> str:
    whole, fixed, repeated = found.groups()
    first = int(whole + fixed or "0")
    top = int(whole + fixed + repeated) - first
    return rf"(\frac{{{top}}}{{{10 ** len(fixed) * (10 ** len(repeated) - 1)}}})"


def exact(text: str) -> str:
    """Decimals as fractions, which no comparison rounds."""
    return _DECIMAL.sub(
        lambda found: rf"(\frac{{{int(found[1] + found[2])}}}{{{10 ** len(found[2])}}})", text
    )


def with_brackets_of(gold: str, found: str) -> str:
    """The found text with the reference's brackets for its own, if it has as many or none."""
    wanted = _BRACKET.findall(gold)
    if not wanted:
        return found
    own = _BRACKET.findall(found)
    if not own and len(wanted) == 2:
        return f"{wanted[0]}{found}{wanted[1]}"
    if len(own) != len(wanted):
        return found
    brackets = iter(wanted)
    return _BRACKET.sub(lambda _: next(brackets), found)
