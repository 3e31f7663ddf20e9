"""What is done to a run on purpose, and what must come of it: the rows of docs/reliability.md.

A test says ``@pytest.mark.row(4)``; ``make faults`` runs these tests and writes the table.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    number: int
    injected: str
    expected: str


_ROWS = (
    (
        "An engine's process is killed while it writes",
        "its problems are written again by the others; the learner never stops; another engine "
        "serves within 60 s and the time it takes to load",
    ),
    (
        "An engine is killed, or stands still, while it takes new weights",
        "the others reach the new version; nobody waits longer than the limit; it comes back at "
        "the newest version",
    ),
    (
        "The process inside an engine that computes is killed, or a part hangs while it is alive",
        "it is noticed, and started again",
    ),
    (
        "An engine is stopped for minutes and then goes on",
        "its problems are given to others; what it says late is refused, and nothing counts twice",
    ),
    (
        "The learner is killed between its step and the checkpoint",
        "it goes on from the checkpoint with the same rollouts and the same losses",
    ),
    (
        "The learner is killed at any point of a save",
        "the checkpoint before loads; half a one is never taken, and is cleared away",
    ),
    (
        "The newest checkpoint is cut off or has a flipped bit; LATEST is gone or torn",
        "its hash tells; the one before is taken, and a line says so",
    ),
    (
        "The queue or the recorder is killed",
        "it comes back from its files with exactly what it had promised",
    ),
    (
        "Who takes a batch dies before, while and after taking it",
        "the batch is taken again; none vanishes, none is trained twice",
    ),
    (
        "The driver or the head of Ray is killed",
        "the command goes on with --resume, and nothing has to be mended by hand",
    ),
    (
        "SIGTERM, then a second one",
        "a commit and exit code 75 within 30 s; the second ends at once",
    ),
    (
        "The disk is full under the log, a checkpoint or Ray",
        "nothing more is issued, the last good checkpoint stays, and with room it goes on",
    ),
    (
        "Writing or fsync fails, or hangs",
        "nothing is promised before it is on the disk; tries are bounded",
    ),
    (
        "A judge or an engine is killed for its memory",
        "it is isolated, counted and started again, more and more slowly; then the run ends",
    ),
    (
        "Answers that a judge cannot finish",
        "the process is killed at its limit, the verdict is a time-out, the pool stays as large, "
        "and good answers are judged as fast",
    ),
    (
        "The judge is asked from a thread, from asyncio and from a Ray actor",
        "every golden case has the same verdict everywhere",
    ),
    (
        "Answers that are code for Python, a shell or TeX",
        "no file and no connection comes of it; the verdict is wrong",
    ),
    (
        "Programs that fork, fill memory or disk, print for ever, read secrets, connect, kill, "
        "sleep or leave something behind",
        "they end within their limits, nothing is left, and nothing outside has changed",
    ),
    (
        "Problems that are empty, too long, not UTF-8, with control tokens, a megabyte in size, "
        "without an answer or with NaN for one",
        "refused before the run starts with file and row; what fails later becomes a dead letter",
    ),
    (
        "Every response is wrong or cut off",
        "no crash and no deadlock; an alarm; the run ends as it was told to",
    ),
    (
        "A number of rollouts that nothing divides; a single one; exactly L tokens with and "
        "without an end; a box in a response that was cut off",
        "none is dropped in silence; the gradient is that of one process",
    ),
    (
        "A loss or a gradient that is not finite",
        "the step is skipped and counted, such weights are never published, and after k of them "
        "the learner goes back",
    ),
    (
        "Published weights are damaged, for another base, out of order or applied twice",
        "refused by their checksum; the engine keeps the version it has, whole",
    ),
    (
        "A slow learner, a slow engine, a slow judge",
        "the others wait; memory stays flat and the bound on lag holds",
    ),
    (
        "The clock jumps by an hour; a part stands still for minutes and then goes on as before",
        "waits and leases do not follow the clock; one of the two writers is fenced off",
    ),
    (
        "Engines come and go; the learner goes on with another number of ranks",
        "the same rollouts, the same curve",
    ),
    (
        "Hours of work with a random part killed every minute",
        "at least 90 % of the time is work; memory and open files stay flat",
    ),
    (
        "An unknown key, a misspelt switch, a name that is a path, a secret as a setting, a "
        "resume with other settings, data or tokenizer",
        "refused by the exact key, secrets never shown, the difference named",
    ),
    (
        "The page: another host, another origin, no token, a script in a rollout, a path that "
        "leads out",
        "refused, or shown as plain text",
    ),
    (
        "Ray without authentication; a pickle where data is expected; a model that brings code",
        "refused before it is joined, read or run; the key that allows it is named",
    ),
)

ROWS = tuple(
    Row(number=number, injected=injected, expected=expected)
    for number, (injected, expected) in enumerate(_ROWS, start=1)
)

NOT_BUILT: dict[int, str] = {}
"""Rows without a test, and why. A row that gets its first test leaves this list."""
