"""Why an attempt ended when its process did not say so itself: signals, the kernel's OOM killer, the end of the log."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

from studio import messages, secrets, storage
from studio.config import needs_less_memory
from studio.folders.records import ErrorRecord
from studio.folders.runs import LOST, Run
from studio.folders.work import Work
from studio.messages import Message, word
from studio.storage import faults

_RANK_SIGNAL = re.compile(r"exitcode\s*:\s*-(\d+)")  # as torch's elastic agent reports a rank
_EXCEPTION = re.compile(r"^(?:\w+\.)*(\w*(?:Error|Exception|Problem|Interrupt|Corrupt|Refused)): (.*)$", re.MULTILINE)
_LAUNCHER_NOISE = ("ChildFailedError", "SignalException")  # the second: the launcher itself was told to end
_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP}
EVIDENCE_LINES, EVIDENCE_BYTES = 40, 16_384


def oom_kills() -> int:
    """How often the kernel's OOM killer has struck, here and in this process's memory cgroup (0 where unknown)."""
    return sum(map(_counter, [Path("/proc/vmstat"), *_cgroup_files()]))


def tail(log: Path, start: int) -> str:
    """The last lines of the log that this attempt wrote (from byte `start` on), without secrets."""
    try:
        with open(log, "rb") as file:
            size = file.seek(0, 2)
            if start > size:  # the log was emptied meanwhile
                start = 0
            file.seek(max(size - EVIDENCE_BYTES, start))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return secrets.redact("\n".join(text.splitlines()[-EVIDENCE_LINES:]))


def signal_of(returncode: int, evidence: str) -> int | None:
    """The signal that ended the trainer, from the launcher's own status or from what the launcher printed."""
    if returncode < 0:
        return -returncode
    if returncode == 0:
        return None
    ended_by = list(map(int, _RANK_SIGNAL.findall(evidence)))
    for number in ended_by:
        if number != signal.SIGTERM:  # the agent ends the other ranks by SIGTERM
            return number
    return ended_by[0] if ended_by else None


def error(run: Work, *, returncode: int, number: int | None, oom: bool, began: bool, evidence: str,
          lost: bool = False) -> ErrorRecord:
    """The cause of an end in words. `number` is the signal that ended the process; `oom`: the OOM killer struck
    meanwhile; `began`: the process had written its first event; `lost`: one process of several was gone, and the
    others had to be ended."""
    if number is not None:
        return _by_signal(run, number, oom, evidence)
    hint = what_next(run)
    what = word(run.worker)
    said = _exception(evidence)
    if not said and (lost or LOST in evidence):
        return _words("lost_process",
                      Message("One of the run's processes, here or on another machine, was lost without a word, and "
                              "the others cannot go on without it."), hint, evidence)
    disk = of_disk(run, _fault(run, said), evidence)
    if disk is not None:
        return disk
    if returncode == 0:
        return _words("no_end", Message("The {what} process left without saying how it ended.", what=what), hint,
                      evidence)
    if not began:
        message = Message("The {what} did not start: its process ended with status {status}", what=what,
                          status=returncode)
        if said:
            message = Message("The {what} did not start: {said}", what=what, said=said)
        return _words("start_failed", message, _start_hint(run, said), evidence)
    message = Message("The {what} ended with an error: status {status}", what=what, status=returncode)
    if said:
        message = Message("The {what} ended with an error: {said}", what=what, said=said)
    return _words("died", message, hint, evidence)


def _by_signal(run: Work, number: int, oom: bool, evidence: str) -> ErrorRecord:
    """The cause, where a signal ended the process."""
    hint = what_next(run)
    what = word(run.worker)
    if number == signal.SIGKILL and oom:
        return _words("out_of_memory",
                      Message("The operating system ended the {what} because memory ran out (signal 9, and its OOM "
                              "killer struck).", what=what), _smaller(run, messages.lowered(hint)), evidence)
    if number in _CRASHES:
        return _words("crashed",
                      Message("The {what} process crashed with signal {signal}.", what=what, signal=_named(number)),
                      Message("{hint} If it happens again, the last lines of the log name the library.", hint=hint),
                      evidence)
    killed = Message("The {what} process was ended from outside by signal {signal}.", what=what, signal=_named(number))
    if number == signal.SIGKILL:
        killed = Message("The {what} process was ended from outside by signal {signal}. Memory may have run out.",
                         what=what, signal=_named(number))
    return _words("killed", killed, hint, evidence)


def _fault(run: Work, said: str) -> faults.Fault | None:
    """What the disk refused, as it is now or by the exception's words."""
    return faults.FULL if storage.is_full(run.path) else faults.told(said)


def of_disk(run: Work, fault: faults.Fault | None, evidence: str) -> ErrorRecord | None:
    """What the disk refused, as the end of an attempt; None where it refused nothing."""
    if fault is None:
        return None
    return _words(fault.code, fault.message, Message("{hint} Then {what}.", hint=fault.hint, what=again(run)), evidence)


def supervisor_error(code: str, message: str, hint: str, evidence: str = "") -> ErrorRecord:
    """An error that the supervisor met itself, in the same form."""
    return _words(code, message, hint, evidence)


def _words(code: str, message: str, hint: str, evidence: str) -> ErrorRecord:
    return {"code": code, "message": secrets.redact(message), "hint": hint, "evidence": evidence}


def again(run: Work) -> str:
    """What a person does to try once more."""
    return Message("resume") if run.resumable else Message("start it again")


def what_next(run: Work) -> str:
    """What a person can do now that an attempt has ended."""
    if not isinstance(run, Run):
        return Message("Start it again.")
    newest = next(run.valid_checkpoints(), None)
    if newest is None:
        return Message("Resume starts it again from the first step: nothing had been saved yet.")
    return Message("Resume continues from {name}.", name=newest[0].name)


def _smaller(run: Work, hint: str) -> Message:
    if not isinstance(run, Run):
        return Message("Close other programs, or choose a smaller model: start it again.")
    return Message("{advice} Or close other programs: {hint}", advice=needs_less_memory(run.config()), hint=hint)


def _start_hint(run: Work, said: str) -> str:
    if said.startswith(("ModuleNotFoundError", "ImportError")):
        return Message("Install the studio's requirements again (pip install -r requirements.txt), then {what}.",
                       what=again(run))
    return Message("The last lines of the log say more. Put it right, then {what}.", what=again(run))


def _exception(evidence: str) -> str:
    """The last exception in the log, as `Name: message`, at most 500 characters; "" where there is none."""
    last = ""
    for name, message in _EXCEPTION.findall(evidence):
        if name not in _LAUNCHER_NOISE:
            last = f"{name}: {message}"
    return last[:500]


def _named(number: int) -> str:
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)


def _cgroup_files() -> Iterator[Path]:
    """memory.events (v2) and memory.oom_control (v1) of this process's cgroup, or of the root a container sees."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if "memory" in controllers.split(","):
            pattern = "/sys/fs/cgroup/memory{}/memory.oom_control"
        elif not controllers:
            pattern = "/sys/fs/cgroup{}/memory.events"
        else:
            continue
        for path in (Path(pattern.format(group)), Path(pattern.format(""))):
            if path.is_file():
                yield path
                break


def _counter(path: Path) -> int:
    """The sum of a file's `oom_kill` lines; 0 where it cannot be read."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    count = 0
    for line in lines:
        fields = line.split()
        if len(fields) == 2 and fields[0] == "oom_kill":
            count += int(fields[1])
    return count
