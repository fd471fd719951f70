"""Who may read which repository of the Hub: asked with a person's own token, whatever a cache holds, and remembered."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, cast

from studio.messages import Message, sentence
from studio.web.access import Viewer
from studio.web.http.errors import Unavailable, WebError

if TYPE_CHECKING:
    from huggingface_hub import DatasetInfo, HfApi, ModelInfo

Kind = Literal["model", "dataset"]
ALLOWED_SECONDS, REFUSED_SECONDS = 300.0, 20.0  # how long an answer is remembered
SECONDS = 10.0  # that the Hub may take to answer
MOST = 10_000  # answers remembered
SHOWN_TO_EVERYBODY = ("README.md", ".gitattributes")  # also of a gated repository


class NotReadable(WebError):
    """A repository that this person may not read; the same words as for one that does not exist."""

    status, code = 403, "not_readable"


class HubUnreachable(Exception):
    """The Hub gave no answer."""


def _not_there(kind: Kind, name: str) -> Message:
    if kind == "dataset":
        return Message("there is no data set {name} on the Hub, or it is private: check the name, or give a token of "
                       "an account that may read it", name=name)
    return Message("there is no model {base} on the Hub, or it is private: check the name, or give a token of an "
                   "account that may read it", base=name)


def _address(kind: Kind, name: str) -> str:
    """The repository's page on the Hub."""
    if kind == "dataset":
        return f"https://huggingface.co/datasets/{name}"
    return f"https://huggingface.co/{name}"


def ask_hub(kind: Kind, name: str, token: str | None) -> str | None:
    """None where the token (or nobody, without one) may read the repository's files, else why not, in words.

    Raises HubUnreachable where the Hub cannot be reached or says neither."""
    import httpx2
    from huggingface_hub import HfApi, errors

    api = HfApi(token=token or False)
    try:
        try:
            api.auth_check(name, repo_type=kind)
        except errors.HfHubHTTPError as error:
            if type(error) is not errors.HfHubHTTPError or error.response.status_code != 404:
                raise
            _look(api, kind, name, token)  # a mirror of the Hub may not know the question itself
        return None
    except (errors.GatedRepoError, errors.DisabledRepoError):
        return Message("{base} is gated: accept its licence at {page} while signed in, then give a token of that "
                       "account that may read it", base=name, page=_address(kind, name))
    except errors.RepositoryNotFoundError:
        return _not_there(kind, name)
    except errors.HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            return _not_there(kind, name)
        raise HubUnreachable from error
    except (httpx2.HTTPError, errors.OfflineModeIsEnabled, ConnectionError, OSError) as error:
        raise HubUnreachable from error


def _look(api: HfApi, kind: Kind, name: str, token: str | None) -> None:
    """Look at the repository, and where it is gated at one of its files. Raises what the Hub's client raises."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    info = cast("ModelInfo | DatasetInfo", api.repo_info(name, repo_type=kind, timeout=SECONDS))
    guarded = [file.rfilename for file in info.siblings or [] if file.rfilename not in SHOWN_TO_EVERYBODY]
    if info.gated and guarded:
        url = hf_hub_url(name, guarded[0], repo_type=kind, revision=info.sha)
        get_hf_file_metadata(url, token=token or False, timeout=SECONDS)


class Repositories:
    """The answers so far, by person and token. For any number of threads."""

    def __init__(self, ask: Callable[[Kind, str, str | None], str | None] = ask_hub):
        self._ask = ask
        self._lock = threading.Lock()
        self._answers: OrderedDict[tuple[str, str, Kind, str], tuple[float, str | None]] = OrderedDict()

    def why_not(self, viewer: Viewer, name: str, kind: Kind = "model", token: str | None = None) -> str | None:
        """None where the viewer may read the repository by `token` or their own, else why not, from an answer that is
        remembered or asked for now. Raises Unavailable where the Hub gives none."""
        token = token or viewer.token
        key = (viewer.id, hashlib.sha256((token or "").encode()).hexdigest(), kind, name)
        now = time.monotonic()
        with self._lock:
            until, reason = self._answers.get(key, (0.0, None))
        if until > now:
            return reason
        try:
            reason = self._ask(kind, name, token)
        except HubUnreachable:
            raise Unavailable(Message("The Hub did not say whether you may read {name}.", name=name),
                              Message("Ask again in a moment.")) from None
        seconds = REFUSED_SECONDS if reason else ALLOWED_SECONDS
        with self._lock:
            self._answers[key] = now + seconds, reason
            self._answers.move_to_end(key)
            while len(self._answers) > MOST:
                self._answers.popitem(last=False)
        return reason

    def require(self, viewer: Viewer, name: str, kind: Kind = "model", token: str | None = None) -> None:
        """Return if the viewer may read the repository. Raises NotReadable, Unavailable."""
        reason = self.why_not(viewer, name, kind, token)
        if reason is not None:
            raise NotReadable(sentence(reason), Message("Choose another, or sign in as who may read it."))
