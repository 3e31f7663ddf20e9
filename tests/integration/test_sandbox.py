"""The sandbox on the real kernel, both ways: what hostile programs get, and that honest ones run.

What must not happen is looked for outside: canary files, listening sockets, processes left over.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hostile_programs import HONEST, HOSTILE, PRELUDE, REFUSED, SHORT
from verifiers import sandbox as sandbox_module
from verifiers.sandbox import WAYS, Limits, Sandbox, SandboxError
from verifiers.sandbox_commands import COMMANDS

pytestmark = pytest.mark.row(18)

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=WAYS, scope="module")
def way(request: pytest.FixtureRequest) -> str:
    problem = sandbox_module._problem(request.param)
    if problem:
        pytest.skip(f"{request.param}: {problem}")
    return request.param


@pytest.fixture
def sandbox(way: str) -> Iterator[Sandbox]:
    with Sandbox(way) as sandbox:
        yield sandbox


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_program_ends_and_the_next_one_finds_an_empty_sandbox(
    sandbox: Sandbox, name: str
):
    hostile = HOSTILE[name]

    ran = sandbox.run(hostile.program, hostile.stdin, hostile.limits)

    assert hostile.holds(ran), ran
    after = sandbox.run("import os\nprint(os.listdir('/tmp'), os.getpid() < 100)")
    assert after.stdout == b"['main.py'] True\n", after


@pytest.fixture(scope="module")
def shared(way: str) -> Iterator[Sandbox]:
    with Sandbox(way) as sandbox:
        yield sandbox


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_program_may_not_do_is_refused(shared: Sandbox, tmp_path: Path, name: str):
    if os.uname().machine != "x86_64" and name == "keys":
        pytest.skip("the number is another")
    canary = tmp_path / "canary"
    canary.write_text("sings")
    secret_name = "\0laconic-" + os.urandom(8).hex()
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as abstract:
        tcp.setblocking(False)
        abstract.setblocking(False)
        abstract.bind(secret_name)
        abstract.listen()
        attempt = REFUSED[name].format(
            pid=os.getpid(),
            folder=str(tmp_path),
            port=tcp.getsockname()[1],
            name=secret_name,
            abstract=b"\1\0" + secret_name.encode(),
        )

        ran = shared.run(PRELUDE.replace("{attempt}", attempt))

        assert ran.stdout == b"refused\n", (name, ran)
        for listener in (tcp, abstract):
            with pytest.raises(BlockingIOError):
                listener.accept()
    assert canary.read_text() == "sings"


def test_outside_the_libraries_there_is_nothing_to_read(sandbox: Sandbox):
    program = (
        "import os, sys\n"
        "known = ['/usr', '/bin', '/lib', '/lib32', '/lib64', '/laconic', '/tmp', sys.prefix]\n"
        "for folder, folders, files in os.walk('/'):\n"
        "    folders[:] = [n for n in folders if os.path.join(folder, n) not in known]\n"
        "    for name in files: print(os.path.join(folder, name))\n"
        "print(sorted(os.environ))"
    )

    *files, environment = sandbox.run(program).stdout.decode().splitlines()

    devices = {f"/dev/{name}" for name in ("null", "zero", "random", "urandom")}
    assert set(files) - {"/etc/ld.so.cache"} == devices
    allowed = {"PYTHONHASHSEED", "PYTHONUTF8", "LD_LIBRARY_PATH", "LC_CTYPE"}
    assert set(eval(environment)) <= allowed


@pytest.mark.parametrize("name", HONEST)
def test_honest_programs_run(shared: Sandbox, name: str):
    program, stdin, output = HONEST[name]

    ran = shared.run(program, stdin)

    assert (ran.exit_code, ran.stdout.decode()) == (0, output), ran


def test_two_runs_of_a_program_are_alike(way: str):
    program = "print(list({str(i) for i in range(50)}))"
    with Sandbox(way) as one, Sandbox(way) as other:
        assert one.run(program).stdout == other.run(program).stdout


def test_another_binary_stays_inside(sandbox: Sandbox):
    script = "echo hi; echo x > /usr/x; sleep 1 & :"

    ran = sandbox.run(f"import os\nos.execv('/bin/sh', ['sh', '-c', {script!r}])")

    assert ran.stdout == b"hi\n"
    assert b"fork" in ran.stderr


def descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *descendants(child)]
    return found


def wait_until(condition: Callable[[], object], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_alive(pid: int) -> bool:
    """An orphan that ended stays a zombie until the machine's process 1 looks after it."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_program(pid: int) -> bool:
    return b"main.py" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_the_program_has_namespaces_of_its_own_and_no_privileges(way: str):
    outer = {name: os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")}
    with Sandbox(way) as sandbox:
        thread = threading.Thread(
            target=lambda: sandbox.run("import time\ntime.sleep(1)", limits=SHORT)
        )
        thread.start()
        assert sandbox.pid
        pid = sandbox.pid
        assert wait_until(lambda: any(map(is_program, descendants(pid))), 5)
        *_, server, program = descendants(pid)
        time.sleep(0.1)  # until it has executed Python
        inner = {name: os.readlink(f"/proc/{program}/ns/{name}") for name in outer}
        states = [
            dict(
                line.split(":\t", 1)
                for line in Path(f"/proc/{process}/status").read_text().splitlines()
            )
            for process in (server, program)
        ]
        thread.join()

    shared = {name for name in outer if outer[name] == inner[name]}
    assert shared <= {"time", "time_for_children"} | ({"user"} if way == "bubblewrap" else set())
    for state in states:
        assert "0" not in (state["Uid"] + "\t" + state["Gid"]).split("\t")
        assert {int(state[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
        assert state["NoNewPrivs"] == "1"
    assert (states[0]["Seccomp"], states[1]["Seccomp"]) == ("0", "2")


def test_nothing_is_left_when_a_sandbox_is_closed(way: str):
    with Sandbox(way) as sandbox:
        program = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()"
        assert sandbox.run(program, limits=SHORT).timed_out
        assert sandbox.pid
        inside = [sandbox.pid, *descendants(sandbox.pid)]
        assert len(inside) >= 2

    assert wait_until(lambda: not any(map(is_alive, inside)), 1)


NO_DEATH_SIGNAL = "bubblewrap started by root drops what it needs to kill another user's process"
HOLDER = """
import sys
from verifiers.sandbox import Limits, Sandbox
with Sandbox(sys.argv[1]) as sandbox:
    print(sandbox.pid, flush=True)
    sandbox.run("import time; time.sleep(60)", limits=Limits(wall_s=60))
"""


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("is_stuck", [False, True])
def test_killing_who_holds_a_sandbox_leaves_no_orphan(
    way: str, blow: signal.Signals, is_stuck: bool
):
    if is_stuck and way == "bubblewrap" and os.geteuid() == 0:
        pytest.skip(NO_DEATH_SIGNAL)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, way], cwd=ROOT, stdout=subprocess.PIPE)
    assert holder.stdout
    pid = int(holder.stdout.readline())
    assert wait_until(lambda: any(map(is_program, descendants(pid))), 10)
    inside = [pid, *descendants(pid)]
    if is_stuck:  # nobody inside can notice by himself that he is alone
        for process in inside[1:]:
            os.kill(process, signal.SIGSTOP)

    holder.send_signal(blow)
    holder.communicate()

    assert wait_until(lambda: not any(map(is_alive, inside)), 1)


def test_killing_the_process_outside_ends_what_is_inside(way: str):
    if way == "bubblewrap" and os.geteuid() == 0:
        pytest.skip(NO_DEATH_SIGNAL)
    failures = []

    def run() -> None:
        with pytest.raises(SandboxError) as failure:
            sandbox.run("import time; time.sleep(60)", limits=Limits(wall_s=60))
        failures.append(failure.value)

    with Sandbox(way) as sandbox:
        thread = threading.Thread(target=run)
        thread.start()
        pid = sandbox.pid
        assert pid
        assert wait_until(lambda: any(map(is_program, descendants(pid))), 10)
        inside = descendants(pid)

        os.kill(pid, signal.SIGKILL)

        assert wait_until(lambda: not any(map(is_alive, inside)), 1)
        thread.join(30)
        assert len(failures) == 1
        assert sandbox.run("print(1)").stdout == b"1\n"  # it starts again


def test_it_works_under_the_limits_of_a_judge_process_and_off_the_main_thread(way: str):
    code = (
        "import resource, threading\n"
        "from verifiers.sandbox import Sandbox\n"
        "for kind, most in (('AS', 1 << 30), ('NOFILE', 64), ('FSIZE', 1 << 20), ('CORE', 0)):\n"
        "    resource.setrlimit(getattr(resource, f'RLIMIT_{kind}'), (most, most))\n"
        "def run():\n"
        f"    with Sandbox({way!r}) as sandbox: print(sandbox.run('print(6 * 7)').stdout)\n"
        "thread = threading.Thread(target=run); thread.start(); thread.join()"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True)

    assert done.stdout == b"b'42\\n'\n", done.stderr


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare of util-linux")
def test_it_works_for_whoever_has_one_user_id_only(way: str):
    """As for an ordinary user, and for root in a container without further ids."""
    code = (
        "from verifiers.sandbox import Sandbox\n"
        "program = 'import os; print(os.getuid()); os.chmod(\"/\", 0o777)'\n"
        f"with Sandbox({way!r}) as sandbox: print(sandbox.run(program))"
    )
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", code]

    done = subprocess.run(command, cwd=ROOT, capture_output=True)

    assert b"stdout=b'1000\\n'" in done.stdout, done.stderr
    assert b"Read-only file system" in done.stdout


def test_a_program_that_cannot_be_limited_is_not_run(sandbox: Sandbox):
    endless: Any = "much"

    with pytest.raises(SandboxError, match="not started: TypeError"):
        sandbox.run("print(1)", limits=Limits(file_bytes=endless))


@pytest.mark.parametrize(
    "said", [b"", b"no JSON\n", b"[1]\n", b"{}\n", b'{"ready": 1}\n', b"x" * 5000]
)
def test_a_sandbox_that_talks_nonsense_is_an_error(monkeypatch: pytest.MonkeyPatch, said: bytes):
    command = [sys.executable, "-c", f"import os; os.write(1, {said!r}); os.write(2, b'why')"]
    monkeypatch.setitem(COMMANDS, "namespaces", lambda: (command, {}))

    with pytest.raises(SandboxError), Sandbox("namespaces") as sandbox:
        sandbox.run("print(1)")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"nonsense\n",
        b'{"exit_code": 0}\n',
        b'{"exit_code": 0, "signal": null, "stdout": 7, "stderr": "", "channel": "", '
        b'"cpu_s": 0, "wall_s": 0, "timed_out": false, "output_capped": false}\n',
        b'{"error": "no limits"}\n',
        b"[" * 100_000 + b"\n",
        b"x" * 100_000_000,
    ],
)
def test_a_reply_that_cannot_be_understood_is_an_error(
    monkeypatch: pytest.MonkeyPatch, said: bytes
):
    code = "import sys, os; print('{\"ready\": true}', flush=True); sys.stdin.readline(); "
    text = f"b'x' * {len(said)}" if len(said) > 10**6 else f"{said!r}"
    command = [sys.executable, "-c", code + f"os.write(1, {text})"]
    monkeypatch.setitem(COMMANDS, "namespaces", lambda: (command, {}))

    with Sandbox("namespaces") as sandbox, pytest.raises(SandboxError):
        sandbox.run("print(1)")
