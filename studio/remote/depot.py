"""What goes to a rented machine and comes back: a private repository of the person's own on the Hub, and its errors.

    studio.zip run.zip (there and nowhere else)    control/<id>.json (asked here)    samples/ result.zip (made there)

Both sides use it, each with the person's token, which is in the environment of its process alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from studio import secrets
from studio.errors import StudioError
from studio.messages import Message
from studio.system import retry

T = TypeVar("T")
KIND = "dataset"
WAITS = (1.0, 4.0, 15.0)  # seconds before what may pass is tried again
SIGN_IN = Message("Sign in again, or give a token of yours that may write to your repositories and run Jobs; then "
                  "resume.")


class RemoteError(StudioError):
    """What ends an attempt on a rented machine."""


class Depot:
    """The repository of one job."""

    def __init__(self, repo: str, token: str):
        from huggingface_hub import HfApi

        self.repo, self._api = repo, HfApi(token=token)

    def make(self) -> None:
        """Make it, private. Raises RemoteError, as everything here does."""
        call(lambda: self._api.create_repo(self.repo, repo_type=KIND, private=True, exist_ok=True), "make repositories")
        if not call(lambda: self._api.repo_info(self.repo, repo_type=KIND), "read your repositories").private:
            raise RemoteError(Message("{repo} is there already, and everyone can see it.", repo=self.repo),
                              Message("Delete it on the Hub, or make it private there; then resume."), "not_private")

    def put(self, files: Mapping[str, Path | bytes], message: str) -> str:
        """Upload these files at once; returns the commit."""
        from huggingface_hub import CommitOperationAdd

        operations = [CommitOperationAdd(name, content) for name, content in files.items()]
        return call(lambda: self._api.create_commit(self.repo, operations, commit_message=message, repo_type=KIND),
                    "write to your repositories").oid

    def get(self, name: str, folder: Path) -> Path | None:
        """The file `name` below `folder`; None when it is not there."""
        from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

        def work() -> Path | None:
            try:
                return Path(self._api.hf_hub_download(self.repo, name, repo_type=KIND, local_dir=folder))
            except (EntryNotFoundError, RepositoryNotFoundError):
                return None

        return call(work, "read your repositories")

    def names(self, folder: str) -> list[str]:
        """The names of the files in one folder of it."""
        from huggingface_hub.errors import EntryNotFoundError

        def work() -> list[str]:
            try:
                entries = self._api.list_repo_tree(self.repo, folder, repo_type=KIND)
                return sorted(entry.path.rpartition("/")[2] for entry in entries)
            except EntryNotFoundError:
                return []

        return call(work, "read your repositories")

    def delete(self) -> None:
        """Remove it with all that is in it."""
        call(lambda: self._api.delete_repo(self.repo, repo_type=KIND, missing_ok=True), "delete its repositories")


def call(work: Callable[[], T], may: str) -> T:
    """What `work` returns, after tries where an error may pass. Raises RemoteError; `may` says what the token has to
    be allowed."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return retry.patiently(work, WAITS, _may_pass)
    except (RemoteError, TypeError, AttributeError, NameError):
        raise
    except Exception as error:
        said = secrets.redact(str(error))
        if isinstance(error, HfHubHTTPError) and not _may_pass(error):
            raise _refused(error.response.status_code, may, said) from None
        raise RemoteError(Message("The Hub could not be reached in {tries} tries: {why}", tries=len(WAITS) + 1,
                                  why=said[:300]), Message("Look at the connection, then resume."),
                          "unreachable") from None


def _may_pass(error: BaseException) -> bool:
    return not isinstance(error, RemoteError) and retry.hub_error_may_pass(error)


def _refused(status: int, may: str, said: str) -> RemoteError:
    """A refusal in words."""
    if status == 401:
        return RemoteError(Message("The Hub does not take the token (401): it is wrong, or has expired."), SIGN_IN,
                           "token_refused")
    if status == 402:
        return RemoteError(Message("The Hub refused the job (402): Jobs are paid by the minute, and this account has "
                                   "no credit for them."),
                           Message("Add credit at {page}, then resume; or train here, in a new run with "
                                   "compute.backend `local`.", page="https://huggingface.co/settings/billing"),
                           "no_credit")
    if status == 403:
        return RemoteError(Message("The Hub forbids this (403): the token may not {what}.", what=may), SIGN_IN,
                           "token_refused")
    if status == 404:
        return RemoteError(Message("This is not on the Hub (any more) (404): {why}", why=said[:200]),
                           Message("Resume begins a new job from the last checkpoint that came back."), "remote_gone")
    return RemoteError(Message("The Hub refused what it was asked ({status}): {why}", status=status, why=said[:400]),
                       Message("Change the setting it names in a new run: compute.flavor, compute.image or "
                               "compute.timeout_hours."), "remote_refused")
