"""Programs and queries: few, because each is run; ``test_code_verdicts.py`` has the rest."""

import json

ADD = json.dumps({"function": "add", "calls": [{"args": [2, 3], "result": 5}]})
ECHO = json.dumps({"cases": [{"input": "3 4", "output": "7"}, {"input": "0 0", "output": "0"}]})
HIGH = json.dumps(
    {
        "schema": "CREATE TABLE t (name, points); INSERT INTO t VALUES ('a', 1), ('b', 5);",
        "query": "SELECT name FROM t WHERE points > 3",
    }
)


def program(source: str) -> str:
    return f"Here it is:\n```python\n{source}\n```\n"


PYTHON = [
    (ADD, program("def add(a, b):\n    return a + b"), "correct"),
    (ADD, program("def add(a, b):\n    return a - b"), "wrong"),
    (ADD, program("def sub(a, b):\n    return 5"), "wrong"),
    (ADD, "It is easy to add them.", "no_answer"),
    (ECHO, program("print(sum(map(int, input().split())))"), "correct"),
    (ECHO, program("print(7)"), "wrong"),
    ("assert twice(4) == 8", program("def twice(x):\n    return 2 * x"), "correct"),
    ("assert twice(4) == 8", program("import sys\nsys.exit(0)"), "wrong"),
]

SQL = [
    (HIGH, "```sql\nSELECT name FROM t WHERE points >= 5\n```", "correct"),
    (HIGH, "```sql\nSELECT name FROM t\n```", "wrong"),
    (HIGH, "```sql\nDROP TABLE t\n```", "wrong"),
    (HIGH, "There is only b.", "no_answer"),
]
