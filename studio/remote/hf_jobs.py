"""Hugging Face Jobs as a place to train, by four verbs: submit, poll, cancel, tail.

Another place is another file with these verbs: `watch.py` knows no more of it.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from studio import PACKAGE, bundle
from studio.folders.records import RemoteJob
from studio.folders.runs import Run
from studio.remote.depot import Depot, RemoteError, call

if TYPE_CHECKING:
    from huggingface_hub import JobInfo

NOT_NEEDED = ("ui", "web", "assets/sample")  # of the studio, on a machine without a page
JOBS = "run Jobs"
LABEL = "studio-job"
# What a rented machine runs: the studio itself comes from the repository, what it needs from PyPI.
BOOT = """
import subprocess, sys, zipfile
def pip(*what):
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *what],
                   check=True)
repo, revision = sys.argv[1:]
print("installing what the studio needs", flush=True)
pip("huggingface_hub>=2.4,<3")
from huggingface_hub import snapshot_download
snapshot_download(repo, repo_type="dataset", revision=revision, local_dir="job")
with zipfile.ZipFile("job/studio.zip") as packed:
    packed.extractall("job")
pip("-r", "job/requirements.txt")
sys.exit(subprocess.run([sys.executable, "-m", "studio.remote.job", "run.zip", repo], cwd="job").returncode)
"""


@dataclass(frozen=True)
class Status:
    """Where a job is: "waiting", "running" or "over"; `stage` and `message` are the Hub's own words."""

    where: str
    stage: str
    message: str = ""


class HfJobs:
    """The jobs of the token's owner."""

    title = "Hugging Face Jobs"

    def __init__(self, token: str):
        from huggingface_hub import HfApi

        self._token, self._api = token, HfApi(token=token)

    def submit(self, run: Run, intent: str) -> RemoteJob:
        """The job of this `intent` (a name of our own for it), made where there is none yet: asking twice is asking
        once. Returns its handle, which is JSON and no secret. Raises RemoteError, as everything here does."""
        who = call(self._api.whoami, "tell whose it is")["name"]
        handle: RemoteJob = {"namespace": who, "repo": f"{who}/studio-{run.id[:8]}-{intent[:8]}"}
        jobs = call(lambda: list(self._api.list_jobs(labels={LABEL: intent}, namespace=who)), JOBS)
        job = jobs[0] if jobs else self._new(run, intent, handle)
        return {**handle, "job": job.id, "url": job.url}

    def poll(self, handle: RemoteJob) -> Status:
        """Where the job is."""
        from huggingface_hub import JobStage

        try:
            job = call(lambda: self._api.inspect_job(job_id=handle["job"], namespace=handle["namespace"]), JOBS)
        except RemoteError as problem:
            if problem.code != "remote_gone":
                raise
            return Status("over", "GONE")
        stage = str(getattr(job.status.stage, "value", job.status.stage))
        where = {JobStage.SCHEDULING.value: "waiting", JobStage.RUNNING.value: "running"}.get(stage, "over")
        return Status(where, stage, str(job.status.message or "")[:400])

    def cancel(self, handle: RemoteJob) -> None:
        """End the job now."""
        call(lambda: self._api.cancel_job(job_id=handle["job"], namespace=handle["namespace"]), JOBS)

    def tail(self, handle: RemoteJob) -> Iterator[str]:
        """What the job prints, line by line from its first one on, until it is over."""
        yield from self._api.fetch_job_logs(job_id=handle["job"], namespace=handle["namespace"], follow=True)

    def depot(self, handle: RemoteJob) -> Depot:
        """The repository through which its files go."""
        return Depot(handle["repo"], self._token)

    def _new(self, run: Run, intent: str, handle: RemoteJob) -> JobInfo:
        """Upload the run and the studio, and begin the job."""
        compute = run.config().compute
        depot = self.depot(handle)
        depot.make()
        with tempfile.TemporaryDirectory(dir=run.path, prefix=".staging-") as folder:
            packed = Path(folder) / "run.zip"
            bundle.write(run, packed, start=next(run.valid_checkpoints(), None) is None)
            revision = depot.put({"run.zip": packed, "studio.zip": studio(run)}, "A run that begins")
        return call(lambda: self._api.run_job(
            image=compute.image, command=["python", "-c", BOOT, handle["repo"], revision], flavor=compute.flavor,
            env={"HF_HUB_DISABLE_PROGRESS_BARS": "1"}, secrets={"HF_TOKEN": self._token},
            timeout=f"{compute.timeout_hours}h", labels={LABEL: intent}, namespace=handle["namespace"]), JOBS)


def studio(run: Run) -> bytes:
    """This studio, without its pages, as a zip; with the embedded base only where the run begins with it."""
    left_out = tuple(f"{part}/" for part in NOT_NEEDED)
    if run.config().model.base != "embedded":
        left_out += ("assets/base/",)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(PACKAGE.parent / "requirements.txt", "requirements.txt")
        for path in sorted(PACKAGE.rglob("*")):
            name = path.relative_to(PACKAGE).as_posix()
            if path.is_file() and "__pycache__" not in path.parts and not f"{name}/".startswith(left_out):
                archive.write(path, f"studio/{name}")
    return packed.getvalue()
