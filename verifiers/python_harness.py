"""The program around an answer that is called or tested, and what it is told on its stdin.

It learns of tests only after the answer was executed, and of the word that proves it only after the
tests ran, so that neither lies where an answer could stumble over it.
"""

import json
from collections.abc import Sequence
from typing import Any

LENGTH_DIGITS = 12

_COMMON = r"""
import json, os

encode, write, quit, take_bytes = json.dumps, os.write, os._exit, os.read
source, channel = os.dup(0), os.dup(3)
nothing = os.open("/dev/null", os.O_RDWR)
os.dup2(nothing, 0)
os.close(3)
os.close(nothing)

def exactly(size):
    data = b""
    while len(data) < size:
        chunk = take_bytes(source, size - len(data))
        if not chunk:
            quit(9)
        data += chunk
    return data

def take():
    return json.loads(exactly(int(exactly(12))))

def plain(value):
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"a result of type {type(value).__name__}")

def tell(value):
    data = encode(value, default=plain).encode() + b"\n"
    while data:
        data = data[write(channel, data):]

def problem(error):
    return [type(error).__name__, str(error)[:300]]

module = type(os)("answer")
__import__("sys").modules["answer"] = module
names = module.__dict__

def prepare():
    given = take()
    exec(given["setup"], names)
    try:
        code = compile(given["program"], "answer.py", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        tell({"syntax": problem(error)})
        quit(1)
    exec(code, names)

prepare()
"""

CALLING = (
    _COMMON
    + r"""
def find(name):
    return names[name] if name in names else getattr(names["Solution"](), name)

def answer_all():
    given = take()
    for number, (args, kwargs) in enumerate(given["arguments"]):
        try:
            tell({"number": number, "result": find(given["function"])(*args, **kwargs)})
        except BaseException as error:
            tell({"number": number, "problem": problem(error)})

answer_all()
quit(0)
"""
)
"""Reports ``{"number": 0, "result": …}`` or ``{"number": 0, "problem": [type, text]}``."""

TESTING = (
    _COMMON
    + r"""
def test_all():
    problems = []
    for test in take()["tests"]:
        try:
            exec(compile(test, "tests.py", "exec"), names)
            problems.append(None)
        except BaseException as error:
            problems.append(problem(error))
    tell({"word": take()["word"], "problems": problems})

test_all()
quit(0)
"""
)
"""Reports ``{"word": …, "problems": [null, [type, text]]}`` at the end."""

LEETCODE_NAMES = """
import bisect, collections, copy, functools, heapq, itertools, math, operator, random, re, string
from bisect import *
from collections import *
from functools import *
from heapq import *
from itertools import *
from math import *
from typing import *
"""
"""A ``class Solution`` is written for a place where these stand already."""


def messages(*values: Any) -> bytes:
    """What the harness takes one after the other: a length, then JSON."""
    texts = [json.dumps(value).encode() for value in values]
    return b"".join(b"%0*d%b" % (LENGTH_DIGITS, len(text), text) for text in texts)


def reports(channel: bytes) -> Sequence[dict[str, Any]]:
    """Every line that is a JSON object. The answer can write there too: believe no more than it
    could have known."""
    found = []
    for line in channel.split(b"\n"):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    return found
