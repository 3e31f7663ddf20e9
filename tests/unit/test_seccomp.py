"""The filter, run by a small interpreter of classic BPF: no kernel needed, both machines."""

import errno

import pytest

from verifiers import seccomp
from verifiers.seccomp import ALLOW, DENIED, DENY, KILL, NO_SUCH_CALL

pytestmark = pytest.mark.row(18)

X86, ARM = 0xC000003E, 0xC00000B7
COLUMNS = [("x86_64", X86, 0), ("aarch64", ARM, 1)]
ALLOWED = {
    "read": (0, 63),
    "write": (1, 64),
    "openat": (257, 56),
    "close": (3, 57),
    "mmap": (9, 222),
    "futex": (202, 98),
    "execve": (59, 221),
    "exit_group": (231, 94),
    "kill": (62, 129),
    "getrandom": (318, 278),
    "pipe2": (293, 59),
    "epoll_create1": (291, 20),
    "clock_gettime": (228, 113),
    "unlinkat": (263, 35),
    "setrlimit": (160, 164),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "rseq": (334, 293),
}


def decide(machine: str, architecture: int, number: int, argument: int = 0) -> int:
    """What the kernel would do with a call whose first argument is ``argument``."""
    data = {0: number, 4: architecture, 16: argument & 0xFFFFFFFF, 20: argument >> 32}
    program = seccomp.rules(machine)
    tests = {
        0x15: lambda value, operand: value == operand,
        0x35: lambda value, operand: value >= operand,
        0x45: lambda value, operand: bool(value & operand),
    }
    loaded = place = 0
    while True:
        code, if_true, if_false, operand = program[place]
        place += 1
        if code == 0x20:
            loaded = data[operand]
        elif code == 0x06:
            return operand
        else:
            place += if_true if tests[code](loaded, operand) else if_false


@pytest.mark.parametrize(("machine", "architecture", "column"), COLUMNS)
def test_every_call_of_the_table_is_denied(machine: str, architecture: int, column: int):
    numbers = [numbers[column] for numbers in DENIED.values()]

    verdicts = {decide(machine, architecture, number) for number in numbers if number is not None}

    assert verdicts == {DENY} == {0x00050000 | errno.EPERM}


@pytest.mark.parametrize(("machine", "architecture", "column"), COLUMNS)
def test_what_honest_programs_do_is_allowed(machine: str, architecture: int, column: int):
    refused = {
        name
        for name, numbers in ALLOWED.items()
        if decide(machine, architecture, numbers[column]) != ALLOW
    }

    assert refused == set()


@pytest.mark.parametrize(("machine", "architecture", "column"), COLUMNS)
def test_threads_may_start_and_processes_may_not(machine: str, architecture: int, column: int):
    clone = (56, 220)[column]
    thread = 0x3D0F00  # what pthread_create asks for
    process = 0x01200011  # and fork

    assert decide(machine, architecture, clone, thread) == ALLOW
    assert decide(machine, architecture, clone, process) == DENY
    assert decide(machine, architecture, clone, 0x10000 << 32) == DENY  # the kernel drops it
    assert decide(machine, architecture, clone, 0x4011) == DENY  # vfork
    assert decide(machine, architecture, 435, thread) == NO_SUCH_CALL == 0x00050000 | errno.ENOSYS


@pytest.mark.parametrize(("machine", "architecture", "column"), COLUMNS)
def test_some_calls_may_be_made_on_oneself_only(machine: str, architecture: int, column: int):
    prlimit, socketpair = (302, 261)[column], (53, 199)[column]

    assert decide(machine, architecture, prlimit, 0) == ALLOW
    assert decide(machine, architecture, prlimit, 1) == DENY
    assert decide(machine, architecture, socketpair, 1) == ALLOW
    assert decide(machine, architecture, socketpair, 2) == DENY


@pytest.mark.parametrize(
    ("machine", "architecture"),
    [("x86_64", ARM), ("aarch64", X86), ("x86_64", 0x40000003), ("aarch64", 0x40000028)],
)
def test_another_architecture_ends_the_process(machine: str, architecture: int):
    assert decide(machine, architecture, 0) == KILL == 0x80000000


def test_the_second_abi_of_x86_64_ends_the_process():
    assert decide("x86_64", X86, 0x40000000) == KILL
    assert decide("x86_64", X86, 0x40000000 | 57) == KILL
    assert decide("x86_64", X86, 0x3FFFFFFF) == ALLOW


def test_no_number_stands_in_the_table_twice():
    for column in (0, 1):
        numbers = [pair[column] for pair in DENIED.values() if pair[column] is not None]
        assert len(numbers) == len(set(numbers))


def test_the_gravest_calls_stand_in_the_table():
    """A name that falls out of the table is not noticed by the tests above."""
    needed = {"fork", "vfork", "unshare", "setns", "mount", "umount2", "pivot_root", "chroot"}
    needed |= {"ptrace", "process_vm_readv", "process_vm_writev", "bpf", "userfaultfd", "keyctl"}
    needed |= {"io_uring_setup", "perf_event_open", "socket", "memfd_create", "shmget", "semget"}
    needed |= {"open_by_handle_at", "kexec_load", "init_module", "pidfd_getfd", "mount_setattr"}

    assert needed <= DENIED.keys()


def test_an_unknown_machine_has_no_filter():
    with pytest.raises(KeyError):
        seccomp.rules("riscv64")
