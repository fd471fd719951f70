"""How this server runs: address, who may in, limits; from the command line and the environment."""

from __future__ import annotations

import ipaddress
import math
import os
import re
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from studio.errors import StudioError
from studio.folders import runs
from studio.launch import webhook
from studio.system import surroundings

AUTH = ("none", "token", "hf")
LEAST_TOKEN = 16  # characters of STUDIO_TOKEN: fewer can be guessed
FRAME = re.compile(r"https?://[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[0-9]{1,5})?")
GIB = 1 << 30
TURN_HOURS = 2.0  # on a Space
ACCOUNT = re.compile(r"[A-Za-z0-9][\w.-]{0,95}", re.ASCII)  # an account's name, or its id
ACCOUNT_ID = re.compile(r"[0-9a-f]{24}")


class SettingsError(StudioError):
    """Settings the server cannot start with: one sentence saying what to change."""


@dataclass(frozen=True)
class Limits:
    """What one person may have where strangers sign in."""

    runs: int = 3  # that wait
    jobs: int = 3  # that wait
    imports: int = 2  # under way at once
    drafts: int = 5  # data sets that wait for their files
    kept: int = 200  # data sets, and runs, in all
    bytes: int = 10 * 10**9  # of everything
    imports_of_all: int = 4  # under way at once on this server; further ones wait


@dataclass(frozen=True)
class Settings:
    """Facts of one server process. `public` means that strangers may sign in (`auth` is hf)."""

    home: Path
    host: str = "127.0.0.1"
    port: int = 7860
    auth: str = "none"
    token: str = ""
    container: bool = False
    hosts: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()  # further sites that may show the studio in a frame, as https://name
    upload_bytes: int = 20 * GIB
    upload_files: int = 10_000  # in one request; the page sends batches of 200
    import_wait: float = 20.0
    save_wait: float = 8.0
    import_roots: tuple[Path, ...] = ()  # folders of this machine that data sets may be imported from
    hub_cache_bytes: int | None = None  # of a Hub cache that lies in the home; None: a quarter of the disk
    limits: Limits | None = None  # None: one owner, who may have anything
    turn_seconds: float | None = None  # how long work goes on while another person's waits; None: to its end
    admins: tuple[str, ...] = ()  # where strangers sign in: account names and ids
    creator: str = ""  # the Space's, an account id

    @property
    def public(self) -> bool:
        return self.auth == "hf"

    def administers(self, account: str, name: str) -> bool:
        """Whether the account of that id and name is an administrator's: named in `admins`, else the Space's creator.

        What looks like an id is compared with ids alone: anybody may take a name that looks like one."""
        if not self.admins:
            return bool(account) and account == self.creator
        names = {admin.casefold() for admin in self.admins if not ACCOUNT_ID.fullmatch(admin)}
        return account in self.admins or name.casefold() in names

    @property
    def url(self) -> str:
        """What a person opens, with the token where one is needed."""
        host = self.host
        if _any_address(host):
            host = "127.0.0.1"
        if ":" in host:
            host = f"[{host}]"
        address = f"http://{host}:{self.port}/"
        if self.auth == "token":
            address += f"?token={self.token}"
        return address


def from_environment(host: str | None = None, port: int | None = None, home: Path | None = None,
                     env: Mapping[str, str] = os.environ) -> Settings:
    """The settings of a server; command-line values win over STUDIO_*, those over GRADIO_SERVER_*.

    Raises SettingsError.
    """
    host = host or env.get("STUDIO_HOST") or env.get("GRADIO_SERVER_NAME") or "127.0.0.1"
    port = _port(port, env)
    _check_webhook(env)
    auth = env.get("STUDIO_AUTH") or _default_auth(host, env)
    _check_auth(auth, host, env)
    limits = _limits(env)  # in every mode, so that a mistake is told at once
    token = _token(auth, env)
    settings = Settings(
        home=surroundings.whole(home or runs.home), host=host, port=port, auth=auth, token=token, frames=_frames(env),
        container=any(map(env.get, ("SPACE_ID", "STUDIO_SPACE", "STUDIO_CONTAINER"))), hosts=_hosts(env),
        import_roots=_import_roots(auth, env), hub_cache_bytes=_gigabytes("STUDIO_HUB_CACHE_GB", env),
        turn_seconds=_turn_seconds(env), admins=_admins(env), creator=env.get("SPACE_CREATOR_USER_ID", "").strip())
    if settings.public:
        return replace(settings, limits=limits, upload_bytes=2 * GIB, upload_files=1000)
    return settings


def _check_webhook(env: Mapping[str, str]) -> None:
    """Raise SettingsError for a webhook that nothing can be sent to."""
    url = env.get(webhook.VARIABLE)
    if not url:
        return
    fault = webhook.wrong(url)
    if fault:
        raise SettingsError(f"{fault}.")


def _token(auth: str, env: Mapping[str, str]) -> str:
    """The token of this server, "" where it asks for none. Raises SettingsError for a short one."""
    if auth != "token":
        return ""
    token = env.get("STUDIO_TOKEN") or secrets.token_urlsafe(24)
    if len(token) < LEAST_TOKEN:
        raise SettingsError(f"STUDIO_TOKEN has fewer than {LEAST_TOKEN} characters, so it can be guessed. Take a "
                            "longer one, or leave it out: then a random one is printed at start.")
    return token


def _listed(text: str) -> tuple[str, ...]:
    """What stands between commas, without the spaces around it and without the empty ones."""
    return tuple(filter(None, map(str.strip, text.split(","))))


def _hosts(env: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(map(str.lower, _listed(env.get("SPACE_HOST", "")) + _listed(env.get("STUDIO_ALLOWED_HOSTS", ""))))


def _limits(env: Mapping[str, str]) -> Limits:
    """Every STUDIO_QUOTA_* that is set, over the defaults. Raises SettingsError."""
    names = {"runs": "STUDIO_QUOTA_RUNS", "jobs": "STUDIO_QUOTA_JOBS", "imports": "STUDIO_QUOTA_IMPORTS",
             "drafts": "STUDIO_QUOTA_DRAFTS", "kept": "STUDIO_QUOTA_KEPT", "imports_of_all": "STUDIO_IMPORTS"}
    limits = {field: _count(name, env[name]) for field, name in names.items() if env.get(name)}
    size = _gigabytes("STUDIO_QUOTA_GB", env)
    if size is not None:
        limits["bytes"] = size
    return Limits(**limits)


def _gigabytes(name: str, env: Mapping[str, str]) -> int | None:
    """The bytes of so many gigabytes; None where the variable is not set. Raises SettingsError."""
    text = env.get(name)
    if not text:
        return None
    return round(_number(name, text, "gigabytes, such as 10 or 0.5", least=0.001) * 1e9)


def _turn_seconds(env: Mapping[str, str]) -> float | None:
    """How long a turn is, on a Space TURN_HOURS unless said otherwise; None for no turns. Raises SettingsError."""
    text = env.get("STUDIO_TURN_HOURS")
    if text:
        return _number("STUDIO_TURN_HOURS", text, "hours, such as 2 or 0.5; 0 for no turns", least=0) * 3600 or None
    if env.get("SPACE_ID"):
        return TURN_HOURS * 3600
    return None


def _admins(env: Mapping[str, str]) -> tuple[str, ...]:
    names = _listed(env.get("STUDIO_ADMINS", ""))
    for name in names:
        if not ACCOUNT.fullmatch(name):
            raise SettingsError(f"STUDIO_ADMINS names {name[:40]!r}, which is no account: give account names or ids of "
                                "Hugging Face, separated by commas.")
    return names


def _count(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:10]) <= 10**6:
        raise SettingsError(f"{name} must be a whole number from 1 to 1000000, not {text[:40]!r}: correct it, or unset "
                            "it for the default.")
    return int(text)


def _number(name: str, text: str, what: str, *, least: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= 1e6:  # neither NaN nor infinite
        raise SettingsError(f"{name} must be a number of {what}, not {text[:40]!r}: correct it, or unset it for the "
                            "default.")
    return value


def _frames(env: Mapping[str, str]) -> tuple[str, ...]:
    sites = tuple(site.lower().rstrip("/") for site in _listed(env.get("STUDIO_FRAMES", "")))
    wrong = [site[:100] for site in sites if not FRAME.fullmatch(site)]
    if wrong:
        raise SettingsError(f"STUDIO_FRAMES names what is no site: {', '.join(wrong)}. Give whole names without "
                            "wildcards, such as https://art.example.org, separated by commas.")
    return sites


def _import_roots(auth: str, env: Mapping[str, str]) -> tuple[Path, ...]:
    texts = filter(None, env.get("STUDIO_IMPORT_ROOTS", "").split(os.pathsep))
    folders = [Path(text).expanduser() for text in texts]
    if folders and auth == "hf":
        raise SettingsError("STUDIO_IMPORT_ROOTS opens folders of this machine to everybody who signs in: unset it, or "
                            "use STUDIO_AUTH=token.")
    missing = [str(folder) for folder in folders if not folder.is_dir()]
    if missing:
        raise SettingsError(f"STUDIO_IMPORT_ROOTS names what is no folder: {', '.join(missing)}.")
    return tuple(map(Path.resolve, folders))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bind(host: str, port: int) -> socket.socket:
    """A listening socket: connections wait in it until the server answers. Raises SettingsError."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except (socket.gaierror, ValueError):  # a name that no address can have
        raise SettingsError(f"There is no address {host!r} to listen on. Give one of this machine's: 127.0.0.1, or "
                            "0.0.0.0 for all of them.") from None
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise SettingsError(f"Cannot listen on {host} port {port}: {why}. Stop what uses it, or choose another port: "
                            f"python app.py --port {port % 65535 + 1}") from None


def _port(port: int | None, env: Mapping[str, str]) -> int:
    """The port to listen on, 0 for any free one. Raises SettingsError."""
    text = env.get("STUDIO_PORT") or env.get("GRADIO_SERVER_PORT") or "7860"
    if port is not None:
        text = str(port)
    if not text.isdecimal() or not text.isascii() or len(text) > 5 or int(text) > 65535:
        raise SettingsError(f"The port must be a number from 0 to 65535, not {text[:40]!r}: set STUDIO_PORT or --port.")
    return int(text)


def _default_auth(host: str, env: Mapping[str, str]) -> str:
    """How people are let in unless it is said: a Space signs them in where it can, and a network needs the token."""
    if env.get("SPACE_ID") and env.get("OAUTH_CLIENT_ID"):
        return "hf"
    if is_loopback(host) and not env.get("SPACE_ID"):
        return "none"
    return "token"


def _check_auth(auth: str, host: str, env: Mapping[str, str]) -> None:
    if auth not in AUTH:
        raise SettingsError(f"STUDIO_AUTH is {auth[:40]!r}; there are: {', '.join(AUTH)}.")
    if auth == "none" and not is_loopback(host) and env.get("STUDIO_ALLOW_OPEN") != "1":
        raise SettingsError(f"STUDIO_AUTH=none on {host} would let everybody on the network in. Use STUDIO_AUTH=token, "
                            "or set STUDIO_ALLOW_OPEN=1 if that is meant.")
    needed = ("SPACE_ID", "OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES", "OPENID_PROVIDER_URL")
    missing = [name for name in needed if not env.get(name)]
    if auth == "hf" and missing:
        raise SettingsError(f"STUDIO_AUTH=hf needs a Space with `hf_oauth: true`; missing: {', '.join(missing)}.")


def _any_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
