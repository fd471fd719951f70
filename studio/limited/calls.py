"""Which calls to the system a confined process may not make: a seccomp filter of what Landlock does not hold.

Landlock looks at files that are opened, made, moved or removed, and at TCP. It does not look at rights, owners and
times of files, at what is watched, at memory and limits of other processes, at memory that belongs to none, or at
sockets of other kinds. Sources: the kernel's Documentation/userspace-api/seccomp_filter.rst and landlock.rst
("Current limitations"), and each architecture's unistd.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

# Numbers on x86-64 and on ARM64, which lacks the older calls.
_NUMBERS: dict[str, tuple[int, int | None]] = {
    "bind": (49, 200), "clone": (56, 220), "clone3": (435, 435), "execve": (59, 221),
    "execveat": (322, 281), "fcntl": (72, 25), "fork": (57, None), "ioctl": (16, 29), "kill": (62, 129),
    "listen": (50, 201), "prlimit64": (302, 261), "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274), "sched_setparam": (142, 118), "sched_setscheduler": (144, 119),
    "sendmmsg": (307, 269), "sendmsg": (46, 211), "sendto": (44, 206), "socket": (41, 198), "tgkill": (234, 131),
    "vfork": (58, None)}
_NEVER: dict[str, tuple[int, int | None]] = {
    # other processes
    "ioprio_set": (251, 30), "migrate_pages": (256, 238), "move_pages": (279, 239), "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "ptrace": (101, 117), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "setpriority": (141, 140), "tkill": (200, 130), "userfaultfd": (323, 282),
    # memory that no limit of this process counts, some of which outlives it
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "mq_open": (240, 180), "msgctl": (71, 187),
    "msgget": (68, 186), "msgrcv": (70, 188), "msgsnd": (69, 189), "semctl": (66, 191), "semget": (64, 190),
    "semop": (65, 193), "semtimedop": (220, 192), "shmat": (30, 196), "shmctl": (31, 195), "shmget": (29, 194),
    # files: their rights, owners, times and attributes, and what happens to them
    "chmod": (90, None), "chown": (92, None), "fanotify_init": (300, 262), "fchmod": (91, 52), "fchmodat": (268, 53),
    "fchmodat2": (452, 452), "fchown": (93, 55), "fchownat": (260, 54), "file_setattr": (469, 469),
    "fremovexattr": (199, 16), "fsetxattr": (190, 7), "futimesat": (261, None), "inotify_init": (253, None),
    "inotify_init1": (294, 26), "lchown": (94, None), "lremovexattr": (198, 15), "lsetxattr": (189, 6),
    "open_by_handle_at": (304, 265), "removexattr": (197, 14), "removexattrat": (466, 466), "setxattr": (188, 5),
    "setxattrat": (463, 463), "utime": (132, None), "utimensat": (280, 88), "utimes": (235, None),
    # ways around both filters, and what only the machine's administrator may
    "acct": (163, 89), "add_key": (248, 217), "adjtimex": (159, 171), "bpf": (321, 280), "chroot": (161, 51),
    "clock_adjtime": (305, 266), "clock_settime": (227, 112), "delete_module": (176, 106), "finit_module": (313, 273),
    "fsopen": (430, 430), "init_module": (175, 105), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425), "kcmp": (312, 272), "kexec_file_load": (320, 294), "kexec_load": (246, 104),
    "keyctl": (250, 219), "mount": (165, 40), "mount_setattr": (442, 442), "move_mount": (429, 429),
    "open_tree": (428, 428), "pivot_root": (155, 41), "quotactl": (179, 60), "reboot": (169, 142),
    "request_key": (249, 218), "setdomainname": (171, 162), "sethostname": (170, 161), "setns": (308, 268),
    "settimeofday": (164, 170), "swapoff": (168, 225), "swapon": (167, 224), "syslog": (103, 116),
    "umount2": (166, 39), "unshare": (272, 97)}
_MACHINES = {"x86_64": (0, 0xC000003E, 317), "aarch64": (1, 0xC00000B7, 277)}  # column, AUDIT_ARCH_*, seccomp's number
_X32 = 0x40000000  # x86-64's second table of the same calls

_LOAD, _EQUAL, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_ALLOW, _KILL, _REFUSE, _ABSENT = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EACCES, 0x00050000 | errno.ENOSYS
_NUMBER, _ARCH = 0, 4  # offsets in struct seccomp_data
_FIRST, _SECOND, _THIRD, _FOURTH = 16, 24, 32, 40  # of the arguments' lower halves
_ALL = 0xFFFFFFFF
_THREAD, _NAMESPACES = 0x10000, 0x7E020000  # CLONE_THREAD, CLONE_NEW*
_INTERNET, _STREAM_OR_DATAGRAM, _DEFAULT_TCP_UDP = (2, 10), (1, 2), (0, 6, 17)  # others are no TCP to Landlock
_FAST_OPEN = 0x20000000  # MSG_FASTOPEN connects, which Landlock does not see
# Commands that send signals to whom they name, or type into a terminal: F_SETOWN, F_SETSIG, F_SETOWN_EX; TIOCSTI,
# FIOSETOWN, SIOCSPGRP.
_COMMANDS = {"fcntl": (8, 10, 15), "ioctl": (0x5412, 0x8901, 0x8902)}

Instruction = tuple[int, int, int, int]
Condition = tuple[int, int, tuple[int, ...]]  # of an argument: where it lies, a mask, what it may then be


def known() -> bool:
    """Whether there are numbers for this machine's calls."""
    return platform.machine() in _MACHINES


def restrict(*, network: bool, children: bool) -> None:
    """Refuse, with EACCES, the calls above for the rest of this process's life. With `network` it may have streams and
    datagrams of the internet, else no socket; with `children` it may start programs, else not even copies of itself.
    Raises OSError where the system refuses."""
    column, architecture, seccomp = _MACHINES[platform.machine()]
    program: list[Instruction] = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL),
                                  (_LOAD, 0, 0, _NUMBER)]
    if column == 0:
        program += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _REFUSE)]
    for numbers in _NEVER.values():
        program += _refused(numbers[column])
    for name, rule in _rules(network=network, children=children).items():
        number = _NUMBERS[name][column]
        if rule is None:
            program += _refused(number)
        else:
            program += _held(number, rule)
    for name, commands in _COMMANDS.items():
        program += _barred(_NUMBERS[name][column], commands)
    program += _refused(_NUMBERS["clone3"][column], _ABSENT)  # its flags are out of sight: libraries then take clone
    program.append((_RETURN, 0, 0, _ALLOW))
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    described = struct.pack("=H6xQ", len(program), ctypes.addressof(buffer))
    if _libc.syscall(ctypes.c_long(seccomp), ctypes.c_uint(1), ctypes.c_uint(1), described) < 0:
        raise OSError(ctypes.get_errno(), "seccomp(SECCOMP_SET_MODE_FILTER) failed")


def _rules(*, network: bool, children: bool) -> dict[str, list[Condition] | None]:
    """What the arguments of some calls may be; None for a call that is refused whole."""
    rules: dict[str, list[Condition] | None] = {"bind": None, "listen": None, "socket": None}
    for name in ("prlimit64", "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler"):
        rules[name] = [(_FIRST, _ALL, (0,))]  # of this process itself
    if children:  # they are held by Landlock alone in whom they send signals
        rules["clone"] = [(_FIRST, _NAMESPACES, (0,))]
    else:
        rules |= dict.fromkeys(("execve", "execveat", "fork", "kill", "vfork"))
        rules |= {"clone": [(_FIRST, _NAMESPACES | _THREAD, (_THREAD,))], "tgkill": [(_FIRST, _ALL, (os.getpid(),))]}
    if network:
        rules |= {"socket": [(_FIRST, _ALL, _INTERNET), (_SECOND, 0xF, _STREAM_OR_DATAGRAM),
                             (_THIRD, _ALL, _DEFAULT_TCP_UDP)],
                  "sendto": [(_FOURTH, _FAST_OPEN, (0,))], "sendmsg": [(_THIRD, _FAST_OPEN, (0,))],
                  "sendmmsg": [(_FOURTH, _FAST_OPEN, (0,))]}
    return rules


def _refused(number: int | None, how: int = _REFUSE) -> list[Instruction]:
    return [] if number is None else [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, how)]


def _held(number: int | None, conditions: list[Condition]) -> list[Instruction]:
    """The call is made where every condition holds, else refused."""
    if number is None:
        return []
    body: list[Instruction] = []
    for offset, mask, values in conditions:
        body += [(_LOAD, 0, 0, offset), (_AND, 0, 0, mask)]
        body += [(_EQUAL, len(values) - place, 0, value) for place, value in enumerate(values)]
        body.append((_RETURN, 0, 0, _REFUSE))
    body.append((_RETURN, 0, 0, _ALLOW))
    return [(_EQUAL, 0, len(body), number), *body]


def _barred(number: int | None, commands: tuple[int, ...]) -> list[Instruction]:
    """The call is made but with these commands, its second argument."""
    if number is None:
        return []
    body: list[Instruction] = [(_LOAD, 0, 0, _SECOND)]
    body += [(_EQUAL, len(commands) - place, 0, command) for place, command in enumerate(commands)]
    return [(_EQUAL, 0, len(body) + 2, number), *body, (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
