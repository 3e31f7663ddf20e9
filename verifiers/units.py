r"""Units behind a value: ``12\text{ cm}``, ``\$5``, ``90^\circ``. Text in, text out."""

import re

_GROUPS = """
mm millimeter millimetre|cm centimeter centimetre|m meter metre|km kilometer kilometre
in inch inches|ft foot feet|yd yard|mi mile
mg milligram|g gm gram|kg kilogram|oz ounce|lb lbs pound
s sec second|min minute|h hr hour|d day|wk week|mo month|yr year
ml milliliter millilitre|l liter litre|gal gallon
mph|kmh|hz hertz|n newton|j joule|w watt|v volt
° deg degree|rad radian|k kelvin
$ dollar usd|¢ cent|€ euro eur|£ gbp|₹ rupee|¥ yen
"""
_CANONICAL = {
    word: group.split()[0]
    for group in _GROUPS.strip().replace("\n", "|").split("|")
    for word in group.split()
}
_SCALES = {"hundred", "thousand", "million", "billion", "trillion", "dozen"}
_NO_UNITS = {"percent", "percentage", "pct", "pi", "or", "and", "if", "mod", "infinity", "choose"}
_POWERS = {"square": "2", "sq": "2", "squared": "2", "cubic": "3", "cu": "3", "cubed": "3"}

_IN_TEXT = re.compile(
    r"(?<=[\w})\]\s.,;!])\\(?:text(?:rm|normal|it|bf)?|math(?:rm|it|bf)|mbox|operatorname)"
    r"\s*+\{([^{}]*+)\}\s*+(?:\^\{?([23])\}?)?[\s.]*+$"
)
_IN_WORDS = re.compile(
    r"(?<=[\d})\]\s])((?:[A-Za-z]{2,}\.?\s+){0,3}[A-Za-z]{2,})(?:\^\{?([23])\}?)?[\s.]*+$"
)
_DEGREES = re.compile(r"(?:\^\s*+(?:\{\s*+\\circ\s*+\}|\\circ)|°|\\degree(?![a-zA-Z]))[\s.]*+$")
_CURRENCY = re.compile(r"^\s*+[-+]?\s*+(?:\\\$|([$€£₹¥])(?=\s*\d)(?![^$]*\$\s*$))")
PERCENT = re.compile(r"[ \t]*+(?:\\?%|\\text\{\s*percent\s*\}|percent\b)", re.IGNORECASE)
_PERCENT_AT_END = re.compile(rf"{PERCENT.pattern}[\s.]*+$", re.IGNORECASE)
_SPACES = re.compile(r"(?:\\[,;:! ]|~|\s)*+$")
_NUMBER = re.compile(r"[-+]?[\d.,]+\s*")


def split_unit(text: str) -> tuple[str, str]:
    r"""The value and its unit, "" without one. Words behind no value are no unit.

    >>> split_unit(r"12\text{ centimeters}"), split_unit(r"\text{east}"), split_unit("x + xy")
    (('12', 'cm'), ('\\text{east}', ''), ('x + xy', ''))
    """
    currency = _CURRENCY.match(text)
    if currency:
        symbol = currency[1] or "$"
        return text[: currency.end()].rstrip("\\$€£₹¥ ") + text[currency.end() :], symbol
    degrees = _DEGREES.search(text)
    if degrees:
        return text[: degrees.start()], "°"
    found = _IN_TEXT.search(text)
    value = _SPACES.sub("", text[: found.start()]) if found else ""
    if found is None or not value:
        found = _IN_WORDS.search(text)
        value = _SPACES.sub("", text[: found.start()]) if found else ""
        if found is None or not value or not _is_plain_unit(found[1], value):
            return text, ""
    unit = _canonical(found[1], found[2])
    words = set(unit.split())
    if not unit or words & (_SCALES | _NO_UNITS):
        return text, ""
    return value, unit


def split_percent(text: str) -> tuple[str, bool]:
    """The text without its percent sign, and whether it had one."""
    bare = _PERCENT_AT_END.sub("", text)
    return bare, bare != text


def contradict(unit: str, other: str) -> bool:
    """Whether the two are known and different: 12 m is not 12 cm, 12 is not known not to be."""
    return unit != other and all(_is_known(name) for name in (unit, other))


def _is_known(unit: str) -> bool:
    return unit.partition("^")[0] in _CANONICAL


def _is_plain_unit(words: str, value: str) -> bool:
    """Outside ``\\text`` letters may be variables: only what is known, or counts things."""
    if _is_known(_canonical(words, None)):
        return True
    return bool(_NUMBER.fullmatch(value)) and all(len(word) > 2 for word in words.split())


def _canonical(words: str, power: str | None) -> str:
    """``square centimeters``, ``cm squared`` and ``cm^2`` are ``cm^2``."""
    kept = []
    for word in re.sub(r"[.~]|\\[,;: ]", " ", words.lower()).split():
        if word in _POWERS:
            power = _POWERS[word]
        else:
            kept.append(_CANONICAL.get(word) or _CANONICAL.get(word.removesuffix("s"), word))
    unit = " ".join(kept)
    return f"{unit}^{power}" if power and unit else unit
