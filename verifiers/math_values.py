r"""Mathematics by value: texts parsed and compared by math-verify. Used in judge processes only.

Importing this loads sympy (seconds). Time-outs of math-verify are off: they need the main thread
and signals; the judge process itself is what gets killed. Of its two parsers only the LaTeX one
is used, because the other one hands text to ``parse_expr``, which runs Python.
"""

from fractions import Fraction
from functools import lru_cache
from typing import Any

from latex2sympy2_extended import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify
from sympy import Eq, Expr, FiniteSet, I, Interval, MatrixBase, N, Symbol, Tuple

from verifiers.math_text import exact, readable

DECIMALS = 6
NEAR = Fraction(1, 10**3)
VERY_NEAR = Fraction(1, 10**12)

_CONFIG = (
    LatexExtractionConfig(
        normalization_config=NormalizationConfig(
            basic_latex=True,
            units=False,  # it takes the d of a+3d for days; verifiers.units knows better
            malformed_operators=True,
            nits=True,
            boxed="all",
        )
    ),
)


@lru_cache(maxsize=1024)
def parsed_once(text: str, *, is_exact: bool) -> list[Any]:
    """For references: a problem is answered many times. Nobody may change what is in it."""
    return parsed(text, is_exact=is_exact)


def parsed(text: str, *, is_exact: bool) -> list[Any]:
    """What math-verify reads in the text; empty when that is nothing."""
    line = readable(text)
    found = parse(rf"\boxed{{{exact(line) if is_exact else line}}}", _CONFIG, parsing_timeout=0)
    return [_with_one_i(item) for item in found if item != ""]


def are_equal(gold: list[Any], found: list[Any], *, is_exact: bool) -> bool:
    """As math-verify compares; with ``is_exact`` a set is not a tuple either."""
    if is_exact and {_order(gold), _order(found)} == {"free", "fixed"}:
        return False
    wanted, given = number_of(gold), number_of(found)
    if wanted is not None and given is not None and _are_apart(wanted, given, is_exact):
        return False
    return verify(
        gold,
        found,
        float_rounding=DECIMALS,
        allow_set_relation_comp=True,  # x < 3 is the interval below 3
        timeout_seconds=None,
    )


def _are_apart(wanted: Fraction, given: Fraction, is_exact: bool) -> bool:
    """Whether a glance at the values is enough: to simplify their difference takes seconds."""
    if abs(wanted - given) > max(Fraction(1, 10**DECIMALS), abs(wanted) * VERY_NEAR):
        return True
    is_small = min(abs(wanted), abs(given)) < NEAR
    return (is_exact or is_small) and not is_near(wanted, given, is_exact=is_exact)


def is_near(wanted: Fraction, given: Fraction, *, is_exact: bool) -> bool:
    """Six decimals are few, or none, of a number far below 1: so many digits agree besides."""
    return abs(wanted - given) <= abs(wanted) * (VERY_NEAR if is_exact else NEAR)


def number_of(items: list[Any]) -> Fraction | None:
    """The real number, to twenty digits; None where it is none. A percent sign stays as it is, so
    that what has one is none either."""
    value = items[0] if items else None
    if isinstance(value, Eq) and isinstance(value.lhs, Symbol):
        value = value.rhs
    if not isinstance(value, Expr) or not value.is_number:
        return None
    digits = N(value, 20)
    return Fraction(str(digits)) if digits.is_Float and digits.is_finite else None


def _order(items: list[Any]) -> str:
    value = items[0] if items else None
    if isinstance(value, FiniteSet):
        return "free"
    return "fixed" if isinstance(value, Interval | Tuple) else ""


def _with_one_i(item: Any) -> Any:
    """The parser's ``i`` is a symbol, real or not by what stands beside it; here it is the root."""
    if not isinstance(item, Expr | FiniteSet | Eq | MatrixBase | Tuple):
        return item
    symbols = [symbol for symbol in item.free_symbols if isinstance(symbol, Symbol)]
    if not any(symbol.name == "i" for symbol in symbols):
        return item
    values = {one: I if one.name == "i" else Symbol(one.name, real=True) for one in symbols}
    return item.xreplace(values)
