"""What each judge must say, wherever it runs: ``(verifier, answer, response, status)``."""


def box(text: str) -> str:
    return rf"So the answer is \boxed{{{text}}}."


GOLDEN = [
    # integers, however they are dressed
    ("math", "7", box("7"), "correct"),
    ("math", "7", box("007"), "correct"),
    ("math", "7", box("7.0"), "correct"),
    ("math", "7", box("8"), "wrong"),
    ("math", "7", box("-7"), "wrong"),
    ("math", "-7", box("−7"), "correct"),
    ("math", "1234", box("1,234"), "correct"),
    ("math", "1,234", box("1{,}234"), "correct"),
    ("math", "12", box(r"\$12"), "correct"),
    ("math", "12", box("1 2"), "wrong"),
    ("math", "90", box(r"90^\circ"), "correct"),
    ("math", "12", box(r"12 \text{ cm}"), "correct"),
    # by value
    ("math", r"\frac{1}{2}", box("0.5"), "correct"),
    ("math", r"\frac{1}{2}", box("1/2"), "correct"),
    ("math", r"\frac{1}{2}", box(r"\dfrac{2}{4}"), "correct"),
    ("math", r"\frac{1}{2}", box("2"), "wrong"),
    ("math", r"\frac{1}{3}", box("0.33"), "wrong"),
    ("math", r"3\frac{1}{2}", box("7/2"), "correct"),
    ("math", r"\sqrt{8}", box(r"2\sqrt{2}"), "correct"),
    ("math", r"\sqrt{8}", box("2.8"), "wrong"),
    ("math", "x^2+2x+1", box("(x+1)^2"), "correct"),
    ("math", "x^2+2x+1", box("(x-1)^2"), "wrong"),
    ("math", "5", box("x = 5"), "correct"),
    ("math", "6 - 5i", box("-5i + 6"), "correct"),
    ("math", "2^{1024}", box("2^{2^{10}}"), "correct"),
    # order matters in a pair, not in a set
    ("math", r"\left( 3, \frac{\pi}{2} \right)", box(r"(3, \pi/2)"), "correct"),
    ("math", "(3, 4)", box("(4, 3)"), "wrong"),
    ("math", "1,2", box("2, 1"), "correct"),
    ("math", "[0,1)", box("[0,1)"), "correct"),
    ("math", "[0,1)", box("(0,1)"), "wrong"),
    ("math", r"\text{Evelyn}", box("Evelyn"), "correct"),
    ("math", r"\text{(A)}", box("A"), "correct"),
    # where the answer stands
    ("math", "2", r"\boxed{1}, no: \boxed{2}", "correct"),
    ("math", "1", r"\boxed{1}, no: \boxed{2}", "wrong"),
    ("math", "5", r"<think>\boxed{4}</think> \boxed{5}", "correct"),
    ("math", "4", r"<think>\boxed{4}</think> It is clear.", "no_answer"),
    ("math", "4", r"<think>so \boxed{4}, but wait", "no_answer"),
    ("math", "4", r"\boxed{4", "no_answer"),
    ("math", "4", r"\boxed{}", "no_answer"),
    ("math", "5", "The answer is 5.", "correct"),
    ("math", "5", "**Answer:** $5$", "correct"),
    ("math", "5", "2 + 3\n#### 5", "correct"),
    ("math", "5", "I count 5", "no_answer"),
    ("math", "5", "", "no_answer"),
    # plain numbers
    ("number", "72", "She sold 48 and 24, so 72.", "correct"),
    ("number", "72", "She sold 72, then 24.", "wrong"),
    ("number", "18", "$18 per day", "correct"),
    ("number", "1000000", "#### 1,000,000", "correct"),
    ("number", "steps\n#### 72", box("72"), "correct"),
    ("number", "2", "It is 1/2", "wrong"),
    ("number", "4", box("3+4"), "wrong"),
    ("number", "72", box(r"72\text{ clips}"), "correct"),
    ("number", "3", box("1,2,3"), "wrong"),
    ("number", "5", "the fifth", "no_answer"),
    ("number", "5", "5 </think>", "no_answer"),
    # words
    ("contains", "Paris", "It is PARIS, of course.", "correct"),
    ("contains", "Paris", "The Parisian way.", "wrong"),
    ("contains", "New York", "new\nyork", "correct"),
    ("contains", "C++", "I write c++.", "correct"),
    ("contains", "a.c", "abc", "wrong"),
    ("contains", "Paris", "<think>Paris?</think> Rome.", "wrong"),
    ("contains", "Paris", " \n ", "no_answer"),
]
