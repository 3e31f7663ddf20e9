"""The system calls that a program in the sandbox may not make, as a classic BPF filter.

The namespaces are the wall; this keeps a program away from the parts of the kernel in which walls
have had holes, and from starting processes. All else is allowed: honest programs differ a lot.
"""

import ctypes
import errno
import os
from typing import NamedTuple

DENIED: dict[str, tuple[int | None, int | None]] = {
    # Processes: a program is one process, so killing it ends it. clone is looked at below.
    "fork": (57, None),
    "vfork": (58, None),
    # Namespaces and mounts: they lead to capabilities, and to the bugs behind those.
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "statmount": (457, 457),
    "listmount": (458, 458),
    "open_tree_attr": (467, 467),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "fanotify_init": (300, 262),
    "lookup_dcookie": (212, 18),
    # Other processes: the server outside the filter has the same user.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "setpriority": (141, 140),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "sched_setaffinity": (203, 122),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # Talking: a socketpair is enough for asyncio, and it must stay a pair.
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    # Memory and objects that no limit counts, or that outlive a process.
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmdt": (67, 197),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # Wide and often broken interfaces that judged programs never need.
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_setup": (206, 0),
    "io_submit": (209, 2),
    "personality": (135, 92),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    # The machine itself.
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "iopl": (172, None),
    "ioperm": (173, None),
}
"""Name: its number on x86_64 and on aarch64, None where there is no such call."""

CLONE = (56, 220)
CLONE3 = (435, 435)
PRLIMIT = (302, 261)
SOCKETPAIR = (53, 199)
CLONE_THREAD = 0x10000
AF_UNIX = 1

MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""Audit architecture and column of the table."""

X32_BIT = 0x40000000
"""Set in the numbers of x86_64's second ABI, by which every rule could be walked around."""

LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16
"""Places in the kernel's ``struct seccomp_data``; of the argument it is the lower half."""

ALLOW, KILL = 0x7FFF0000, 0x80000000
DENY = 0x00050000 | errno.EPERM
NO_SUCH_CALL = 0x00050000 | errno.ENOSYS

NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER_MODE = 38, 22, 2  # of linux/prctl.h and seccomp.h


class Instruction(NamedTuple):
    code: int
    if_true: int
    if_false: int
    operand: int


class _SockFilter(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _SockProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_SockFilter)))


def rules(machine: str) -> list[Instruction]:
    """The filter for a machine as ``uname -m`` names it. Raises KeyError on others."""
    architecture, column = MACHINES[machine]
    program = [
        Instruction(LOAD, 0, 0, ARCHITECTURE),
        Instruction(JUMP_EQUAL, 1, 0, architecture),
        Instruction(RETURN, 0, 0, KILL),
        Instruction(LOAD, 0, 0, NUMBER),
    ]
    if machine == "x86_64":
        program += _when(JUMP_AT_LEAST, X32_BIT, KILL)
    for numbers in DENIED.values():
        number = numbers[column]
        if number is not None:
            program += _when(JUMP_EQUAL, number, DENY)
    program += _when(JUMP_EQUAL, CLONE3[column], NO_SUCH_CALL)  # glibc then tries clone
    program += _unless_argument(CLONE[column], JUMP_ANY_BIT, CLONE_THREAD)
    program += _unless_argument(PRLIMIT[column], JUMP_EQUAL, 0)  # 0 is the caller itself
    program += _unless_argument(SOCKETPAIR[column], JUMP_EQUAL, AF_UNIX)
    return [*program, Instruction(RETURN, 0, 0, ALLOW)]


def _when(comparison: int, operand: int, action: int) -> list[Instruction]:
    return [Instruction(comparison, 0, 1, operand), Instruction(RETURN, 0, 0, action)]


def _unless_argument(number: int, comparison: int, operand: int) -> list[Instruction]:
    """Deny the call unless its first argument passes. It decides: the number is overwritten."""
    return [
        Instruction(JUMP_EQUAL, 0, 4, number),
        Instruction(LOAD, 0, 0, FIRST_ARGUMENT),
        Instruction(comparison, 1, 0, operand),
        Instruction(RETURN, 0, 0, DENY),
        Instruction(RETURN, 0, 0, ALLOW),
    ]


def install() -> None:
    """From now on this thread, and whatever it executes, lives under the filter. Raises OSError."""
    program = rules(os.uname().machine)
    filters = (_SockFilter * len(program))(*program)
    whole = _SockProgram(len(program), filters)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    for arguments in (
        (NO_NEW_PRIVILEGES, 1, 0, 0, 0),
        (SET_SECCOMP, FILTER_MODE, ctypes.addressof(whole), 0, 0),
    ):
        if prctl(*arguments) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"seccomp: {os.strerror(number)}")
