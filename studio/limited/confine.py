"""What a process that reads strangers' files may see: its own folders and the program's, no network, no other process.

Linux's Landlock holds files and TCP, a seccomp filter (`calls.py`) every other kind of socket and the calls that would
lead around both; either is for the rest of the process's life and for every child. By ctypes, since no package is
needed for it. Sources: the kernel's Documentation/userspace-api/landlock.rst, include/uapi/linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import os
import site
import struct
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from studio import PACKAGE
from studio.limited import calls

LIBRARIES = ("/usr", "/lib", "/lib64", "/nix/store")
FACTS = ("/etc/ld.so.cache", "/etc/localtime", "/proc/cpuinfo", "/proc/meminfo", "/dev/urandom", "/dev/random",
         "/sys/devices/system/cpu")
DEVICES = ("/dev/null", "/dev/zero")
RESOLVER = ("/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services",
            "/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/run/systemd/resolve")
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # variables that name files

# ------------------------------------------------------------------------------------------------------------ Landlock

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_DIR, MAKE_REG, REFER, TRUNCATE = 1 << 7, 1 << 8, 1 << 13, 1 << 14
READ = EXECUTE | READ_FILE | READ_DIR
# Files and folders alone: the studio reads what it finds there, and would follow a link, or wait for ever at a pipe.
WRITE = WRITE_FILE | READ_FILE | READ_DIR | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | TRUNCATE
PLACE = MAKE_DIR | MAKE_REG | REFER | REMOVE_FILE | REMOVE_DIR  # to move finished files to; they cannot be read there
FOR_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | 1 << 15
BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
CONNECT_TCP, ALL_TCP = 1 << 1, 0b11
ALL_SCOPES = 0b11  # abstract Unix sockets and signals of processes outside
_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same numbers on every architecture
_RULE_PATH, _RULE_PORT = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def landlock_version() -> int:
    """The kernel's Landlock ABI; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    return max(0, _libc.syscall(ctypes.c_long(_CREATE), None, ctypes.c_size_t(0), ctypes.c_uint32(1)))


def missing() -> list[str]:
    """What this system lacks for confining a process, in words; empty where nothing is."""
    version = landlock_version()
    lacks = []
    if not version:
        lacks.append("Landlock (Linux 5.13 or newer, not forbidden by the container)")
    elif version < 4:
        lacks.append("Landlock's rules for TCP (Linux 6.7 or newer)")
    elif version < 6:
        lacks.append("Landlock's rules for signals (Linux 6.12 or newer)")
    if sys.platform != "linux" or not calls.known():
        lacks.append("a seccomp filter (Linux on x86-64 or ARM64)")
    return lacks


def confine(read: Iterable[Path] = (), write: Iterable[Path] = (), place: Iterable[Path] = (),
            ports: Collection[int] | None = None, *, children: bool = False) -> None:
    """Let this process, for the rest of its life, read the program, `read` and `write`, and change `write` alone.

    Into the folders `place` files can be moved that it made elsewhere; they cannot be read there. `ports` are the TCP
    ports it may connect to (None: no network at all, not even a socket). With `children` it may start programs, which
    are confined as it is. What the system lacks (`missing`) is left out. Raises OSError where it refuses, and
    RuntimeError in a process of several threads, of which the others would go free.
    """
    if sys.platform != "linux":
        return
    nested = _libc.prctl(39, 0, 0, 0, 0) == 1  # PR_GET_NO_NEW_PRIVS: one that may not look into /proc any more
    if not nested and len(os.listdir("/proc/self/task")) > 1:
        raise RuntimeError("a process must be confined before it has threads")
    _checked(_libc.prctl(38, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS")
    if landlock_version():
        _restrict_files(_rules(read, write, place, network=ports is not None), ports or ())
    if calls.known():
        calls.restrict(network=ports is not None, children=children)


def _rules(read: Iterable[Path], write: Iterable[Path], place: Iterable[Path], *,
           network: bool) -> Iterator[tuple[Path, int]]:
    for path in _program():
        yield path, READ
    for name in FACTS:
        yield Path(name), READ
    if network:
        for name in (*RESOLVER, *filter(None, map(os.environ.get, CERTIFICATES))):
            yield Path(name), READ
    for name in DEVICES:
        yield Path(name), READ_FILE | WRITE_FILE
    for path in read:
        yield path, READ_FILE | READ_DIR
    for path in place:
        yield path, PLACE
    for path in write:
        yield path, WRITE


def _program() -> Iterator[Path]:
    """The interpreter, its libraries, and this package; never the folder above it, where a home may lie."""
    yield from map(Path, (*LIBRARIES, sys.prefix, sys.base_prefix, sys.exec_prefix))
    yield PACKAGE
    if site.ENABLE_USER_SITE:
        yield Path(site.getuserbase())
    above = {PACKAGE, *PACKAGE.parents}
    for name in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        if name and Path(name).resolve() not in above:
            yield Path(name)


def _restrict_files(rules: Iterable[tuple[Path, int]], ports: Collection[int]) -> None:
    version = landlock_version()
    handled = BY_VERSION[min(version, 5)]
    attributes = struct.pack("=QQQ", handled, ALL_TCP, ALL_SCOPES)
    if version < 4:
        attributes = attributes[:8]
    elif version < 6:
        attributes = attributes[:16]
    ruleset = _checked(_libc.syscall(ctypes.c_long(_CREATE), attributes, ctypes.c_size_t(len(attributes)),
                                     ctypes.c_uint32(0)), "landlock_create_ruleset")
    try:
        for path, access in rules:
            _allow_path(ruleset, path, access & handled)
        if version >= 4:
            for port in ports:
                rule = struct.pack("=QQ", CONNECT_TCP, port)
                _checked(_libc.syscall(ctypes.c_long(_ADD), ruleset, _RULE_PORT, rule, ctypes.c_uint32(0)), "port rule")
        _checked(_libc.syscall(ctypes.c_long(_RESTRICT), ruleset, ctypes.c_uint32(0)), "landlock_restrict_self")
    finally:
        os.close(ruleset)


def _allow_path(ruleset: int, path: Path, access: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return  # what is not there cannot be read either
    try:
        if not path.is_dir():
            access &= FOR_FILES
        rule = struct.pack("=Qi", access, handle)
        _checked(_libc.syscall(ctypes.c_long(_ADD), ruleset, _RULE_PATH, rule, ctypes.c_uint32(0)), f"rule for {path}")
    finally:
        os.close(handle)


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what} failed: {os.strerror(code)}")
    return result


# --------------------------------------------------------------------------------------------------------- environment

_KEPT = {"PATH", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME",
         "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE", "PYTHONUTF8"}
_OF_THE_NETWORK = {"HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_XET", *CERTIFICATES, "HTTP_PROXY", "HTTPS_PROXY",
                   "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"}


def environment(folder: Path, *, network: bool = False) -> dict[str, str]:
    """This process's environment for one that reads strangers' files: names on a list alone, and `folder` as the only
    place it knows."""
    names = _KEPT
    if network:
        names = _KEPT | _OF_THE_NETWORK
    variables = {name: value for name, value in os.environ.items() if name in names or name.startswith("LC_")}
    if site.ENABLE_USER_SITE:
        variables["PYTHONUSERBASE"] = site.getuserbase()
    return {**variables, "HOME": str(folder), "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1", "MALLOC_ARENA_MAX": "2",
            "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def hub_ports() -> set[int]:
    """The TCP ports at which this process reaches the Hub: its address's, or its proxies'."""
    from urllib.parse import urlsplit

    names = ("HF_ENDPOINT", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    standard = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080, "socks4": 1080}
    ports = {443, 53}  # downloads lie on other hosts than the Hub, all behind https; long DNS answers come by TCP
    for address in filter(None, map(os.environ.get, names)):
        with suppress(ValueError):
            if "://" not in address:
                address = f"http://{address}"
            parts = urlsplit(address)
            ports.add(parts.port or standard.get(parts.scheme, 443))
    return ports
