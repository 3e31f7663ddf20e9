"""Texts that would do harm on a page that took them for anything but text."""

from collections.abc import Container
from dataclasses import replace

from dashboard.demo.problems import MadeProblem
from dashboard.demo.rollouts import Rollouts

MEGABYTE = 1 << 20

TEXTS = (
    "<img src=x onerror=\"document.title='harmed'\">",
    "<script>document.title='harmed'</script>",
    "\\(\\href{javascript:document.title='harmed'}{click}\\)",
    "\\[\\rule{19000px}{19000px}\\]",
    "\\(\\def\\x{\\x\\x}\\x\\)",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07",
    "\u202etxet desrever\u202c and \u2066isolated\u2069",
    "a\x00b\x01c\x7f",
    "\ufffd lone surrogates become this",
    "</span></div></body><svg onload=alert(1)>",
    "costs $5 and $6, or $x^2$",
    "{{constructor.constructor('alert(1)')()}}",
    "'); DROP TABLE rollouts; --",
    '=HYPERLINK("javascript:alert(1)")',
    "\u00a0\u200b\u200d" * 40,
    "x" * MEGABYTE,
)
EVERY = 12


def make_hostile(texts: dict[int, str], made: Rollouts, *, keep: Container[int]) -> None:
    """One rollout of one group in ``EVERY`` begins with something hostile; those of ``keep`` do
    not."""
    for row in texts:
        ticket = int(made.ticket[row])
        if made.sample[row] == 3 and ticket % EVERY == 0 and row not in keep:
            harm = TEXTS[ticket // EVERY % len(TEXTS)]
            texts[row] = f"{harm}\n{texts[row]}"


def hostile_problems(problems: list[MadeProblem]) -> list[MadeProblem]:
    """The first few have hostile texts, and wrong answers that are hostile too."""
    harmed = [
        replace(problem, text=f"{harm} {problem.text}", wrong=(harm, *problem.wrong[1:]))
        for problem, harm in zip(problems, TEXTS[:-1], strict=False)
    ]
    return harmed + problems[len(harmed) :]
