"""Made-up problems of school mathematics, with the sentences that an answer to one is made of."""

import random
from collections.abc import Callable
from dataclasses import dataclass

OPENING = "<think>\n"
THINK_END = "\n</think>"

FILLERS = (
    " Okay, let me work through this carefully.",
    " Wait, let me double-check that step before going on.",
    " Hmm, is there a quicker way to see this?",
    " Actually, let me verify it once more, just to be sure.",
    " But I should make sure that nothing was missed on the way.",
    " So far so good.",
    " Alternatively, I could substitute the numbers back and compare.",
    " However, it never hurts to look at the units again.",
    " Let me think about whether this could be read in another way.",
    " I am fairly confident in this, but let me re-read the question.",
    " That seems right, and the size of the number is plausible.",
    " Wait, did I copy the numbers correctly? Yes, I did.",
    " Let me restate what is being asked, so that I answer exactly that.",
    " Hmm, let me go over the whole thing from the start.",
    " In other words, everything comes down to one small computation.",
    " Actually, hold on, let me recompute this part by hand.",
    " This is the same as before, good.",
    " But what if the order matters here? It does not.",
    " Alternatively, think of it on a number line.",
    " OK, moving on to the next part.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeProblem:
    id: str
    source: str
    text: str
    gold: str
    difficulty: float
    """0 is easy and 1 is hard."""
    steps: tuple[str, ...]
    """What a right answer says, in this order; each begins with a space."""
    checks: tuple[str, ...]
    """What a long answer says again."""
    wrong: tuple[str, ...]
    """Answers that are near and wrong."""


def make_problems(count: int, seed: int) -> list[MadeProblem]:
    rng = random.Random(seed)
    kinds = sorted(_KINDS)
    return [_KINDS[kinds[i % len(kinds)]](rng, i // len(kinds)) for i in range(count)]


def _problem(
    rng: random.Random,
    source: str,
    number: int,
    text: str,
    answer: int,
    steps: list[str],
    difficulty: float,
) -> MadeProblem:
    checks = [f" Let me check: {step.strip()[0].lower()}{step.strip()[1:]}" for step in steps]
    checks += [f" So I get {answer} again.", f" The value \\({answer}\\) fits everything so far."]
    wrong = sorted({answer + 1, answer - 1, answer + 10, 2 * answer + 3, -answer - 1} - {answer})
    return MadeProblem(
        id=f"{source}-{number:04d}",
        source=source,
        text=text,
        gold=str(answer),
        difficulty=min(1.0, max(0.0, difficulty + rng.gauss(0, 0.12))),
        steps=tuple(f" {step}" for step in steps),
        checks=tuple(checks),
        wrong=tuple(map(str, wrong)),
    )


def _linear(rng: random.Random, number: int) -> MadeProblem:
    a, x, b = rng.randint(2, 12), rng.randint(-9, 20), rng.randint(1, 40)
    steps = [
        f"Start from \\({a}x+{b}={a * x + b}\\).",
        f"Subtract \\({b}\\) on both sides: \\({a}x={a * x}\\).",
        f"Divide by \\({a}\\): \\(x=\\frac{{{a * x}}}{{{a}}}={x}\\).",
    ]
    text = f"Solve \\({a}x+{b}={a * x + b}\\) for \\(x\\). Put the answer in \\boxed{{}}."
    return _problem(rng, "linear", number, text, x, steps, 0.25)


def _series(rng: random.Random, number: int) -> MadeProblem:
    first, gap, n = rng.randint(1, 15), rng.randint(2, 9), rng.randint(5, 24)
    last = first + gap * (n - 1)
    total = n * (first + last) // 2
    steps = [
        f"The terms are \\(a_1={first}\\), \\(d={gap}\\) and \\(n={n}\\).",
        f"The last one is \\(a_{{{n}}}={first}+{gap}\\cdot {n - 1}={last}\\).",
        f"The sum is \\(S_{{{n}}}=\\frac{{{n}\\,({first}+{last})}}{{2}}\\).",
        f"That gives \\(S_{{{n}}}={total}\\).",
    ]
    text = (
        f"An arithmetic series has first term {first} and common difference {gap}. "
        f"Compute \\[\\sum_{{k=1}}^{{{n}}} a_k.\\] Put the answer in \\boxed{{}}."
    )
    return _problem(rng, "series", number, text, total, steps, 0.45)


def _modular(rng: random.Random, number: int) -> MadeProblem:
    base, power, modulus = rng.randint(2, 9), rng.randint(6, 30), rng.choice((7, 11, 13, 17))
    answer = pow(base, power, modulus)
    powers = [pow(base, k, modulus) for k in range(1, 5)]
    steps = [
        f"I need \\({base}^{{{power}}} \\bmod {modulus}\\).",
        *(
            f"\\({base}^{{{k}}} \\equiv {value} \\pmod{{{modulus}}}\\)."
            for k, value in enumerate(powers, start=1)
        ),
        f"By Fermat \\({base}^{{{modulus - 1}}} \\equiv 1 \\pmod{{{modulus}}}\\), "
        f"so the exponent counts modulo {modulus - 1}: "
        f"\\({power} \\equiv {power % (modulus - 1)}\\).",
        f"Hence \\({base}^{{{power}}} \\equiv {answer} \\pmod{{{modulus}}}\\).",
    ]
    text = (
        f"What is the remainder when \\({base}^{{{power}}}\\) is divided by {modulus}? "
        "Put the answer in \\boxed{}."
    )
    return _problem(rng, "modular", number, text, answer, steps, 0.65)


def _quadratic(rng: random.Random, number: int) -> MadeProblem:
    p, q = rng.randint(1, 12), rng.randint(1, 12)
    steps = [
        f"The equation is \\(x^2-{p + q}x+{p * q}=0\\).",
        f"Its roots add up to \\({p + q}\\) and multiply to \\({p * q}\\).",
        f"The discriminant is \\(\\Delta={p + q}^2-4\\cdot {p * q}={(p - q) ** 2}\\).",
        f"So \\(x=\\frac{{{p + q}\\pm\\sqrt{{{(p - q) ** 2}}}}}{{2}}\\), which is {p} or {q}.",
        f"The sum of squares is \\({p}^2+{q}^2={p * p + q * q}\\).",
    ]
    text = (
        f"Let \\(r,s\\) be the roots of \\(x^2-{p + q}x+{p * q}=0\\). Find \\(r^2+s^2\\). "
        "Put the answer in \\boxed{}."
    )
    return _problem(rng, "quadratic", number, text, p * p + q * q, steps, 0.7)


def _money(rng: random.Random, number: int) -> MadeProblem:
    pens, price, paid = rng.randint(3, 12), rng.randint(2, 9), rng.randint(120, 200)
    cost = pens * price
    steps = [
        f"Each pen costs ${price}, and there are {pens} of them.",
        f"Together that is {pens} times ${price}, which is ${cost}.",
        f"From ${paid} there remain ${paid} - ${cost} = ${paid - cost}.",
    ]
    text = (
        f"Ada buys {pens} pens at ${price} each and pays with ${paid}. How many dollars does she "
        "get back? Put the answer in \\boxed{}."
    )
    return _problem(rng, "money", number, text, paid - cost, steps, 0.15)


_KINDS: dict[str, Callable[[random.Random, int], MadeProblem]] = {
    "linear": _linear,
    "modular": _modular,
    "money": _money,
    "quadratic": _quadratic,
    "series": _series,
}
