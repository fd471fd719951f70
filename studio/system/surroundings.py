"""What a program makes of where it was started: text as UTF-8, a home that can be written, proxies that can be used."""

from __future__ import annotations

import errno
import io
import ipaddress
import os
import sys
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path

PROXIES = ("http_proxy", "https_proxy", "all_proxy")
CERTIFICATES = "SSL_CERT_FILE"
WITHOUT = "{} names a proxy of a kind that cannot be used here: it is left out."
NO_HOSTS = "{} names a host that cannot be one: it is left out."
NO_CERTIFICATES = "{} names no file of certificates that can be read: it is left out."


class UnusableEnvironment(Exception):
    """Surroundings in which nothing can start: one sentence with what to do."""


def use_utf8() -> None:
    """Start this program anew with UTF-8 text where the locale says ASCII, and print what a terminal cannot show as
    escapes."""
    if sys.getfilesystemencoding().lower() not in ("utf-8", "utf8") and os.environ.get("PYTHONUTF8") != "1":
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "PYTHONUTF8": "1"})
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def whole(folder: Path | Callable[[], Path]) -> Path:
    """The whole path of the studio's home. Raises UnusableEnvironment."""
    try:
        if not isinstance(folder, Path):
            folder = folder()
        return folder.expanduser().resolve()
    except RuntimeError:
        raise UnusableEnvironment("The studio's home begins with ~, and there is no such person's folder: give a "
                                  "whole path by --home or STUDIO_HOME.") from None
    except (OSError, ValueError) as error:
        why = str(error)
        if isinstance(error, OSError):
            why = _why(error)
        raise UnusableEnvironment(f"The studio's home cannot be found from here ({why}): start in a folder that is "
                                  "there, or give a whole path by --home or STUDIO_HOME.") from None


def home(folder: Path | Callable[[], Path], flag: str = "STUDIO_HOME") -> Path:
    """The whole path of the studio's home, made where it is not there, and writable. Raises UnusableEnvironment.

    One on a disk that can only be read is taken: it can be looked at, and each change is refused with the reason."""
    place = whole(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        if not os.access(place, os.W_OK | os.X_OK) and not os.statvfs(place).f_flag & os.ST_RDONLY:
            raise PermissionError(errno.EACCES, "not to be written")
    except OSError as error:
        raise UnusableEnvironment(f"The studio keeps everything in {str(place)!r}, which cannot be written "
                                  f"({_why(error)}): name a folder of your own by {flag}.") from None
    return place


def drop_unusable(env: MutableMapping[str, str]) -> Iterator[str]:
    """Take variables out of `env` with which no connection could be made; tells each in a sentence."""
    if env.get(CERTIFICATES):
        import ssl

        try:
            ssl.create_default_context(cafile=env[CERTIFICATES])
        except OSError:
            del env[CERTIFICATES]
            yield NO_CERTIFICATES.format(CERTIFICATES)
    for name in _drop_proxies(env):
        yield WITHOUT.format(name)
    for name in _drop_hosts(env):
        yield NO_HOSTS.format(name)


def _drop_proxies(env: MutableMapping[str, str]) -> list[str]:
    """Take variables out of `env` that name a proxy of a kind that cannot be used; returns their names."""
    names = [name for name in env if name.lower() in PROXIES and env[name].strip()]
    if not names:
        return []
    import httpx

    dropped = []
    for name in names:
        proxy = env[name].strip()
        if "://" not in proxy:
            proxy = f"http://{proxy}"
        try:
            httpx.HTTPTransport(proxy=proxy).close()
        except (ValueError, ImportError, httpx.InvalidURL):
            dropped.append(name)
            del env[name]
    return dropped


def _drop_hosts(env: MutableMapping[str, str]) -> list[str]:
    """Leave hosts out of NO_PROXY at which httpx would fail; returns the names of the variables."""
    dropped = []
    for name in [name for name in env if name.lower() == "no_proxy" and env[name].strip()]:
        hosts = env[name].split(",")
        usable = [host for host in hosts if _is_host(host.strip())]
        if len(usable) < len(hosts):
            dropped.append(name)
            env[name] = ",".join(usable)
    return dropped


def _is_host(host: str) -> bool:
    """Whether httpx makes a pattern of addresses of it (as its `get_environment_proxies` does)."""
    import httpx

    try:
        httpx.URL(_address_pattern(host))
    except httpx.InvalidURL:
        return False
    return True


def _address_pattern(host: str) -> str:
    """What httpx makes of an entry of NO_PROXY."""
    if "://" in host:
        return host
    try:
        version = ipaddress.ip_address(host.split("/")[0]).version
    except ValueError:
        return f"all://*{host}"
    if version == 6:
        return f"all://[{host}]"
    return f"all://{host}"


def _why(error: OSError) -> str:
    if error.errno:
        return os.strerror(error.errno)
    return type(error).__name__
