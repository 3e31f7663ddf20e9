"""What each judge must say, worked out by hand from the mathematics, one file a judge."""


def box(text: str) -> str:
    return rf"So the answer is \boxed{{{text}}}."
