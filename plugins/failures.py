"""What a task's failure means: one line that says what to do, and whether a second try may end otherwise."""

import re
import signal
from dataclasses import dataclass

from plugins.lock import StaleError
from plugins.process import CommandError
from plugins.run_store import AlreadyWrittenError
from plugins.settings import Settings

USER_ERROR = 2  # exit status of the pipeline for a user's mistake
STAGE_STATUS = re.compile(r"exited with (-?\d+)")  # what DVC prints of a stage that failed
KILL = (-signal.SIGKILL, 128 + signal.SIGKILL)  # the second is how a shell tells it of the command it ran
KILLED = "was killed, most likely for want of memory: give the worker more, or lower the stage's batch size"
# What a service says, by words that are in boto3's, DVC's and git's messages alike, and what to do about it.
LASTING = (
    (
        re.compile(r"NoSuchBucket|bucket does not exist|bucket '[^']*' does not exist", re.IGNORECASE),
        "the bucket does not exist: make it, or correct COUNTERWEIGHT_REMOTE and COUNTERWEIGHT_RUNS",
    ),
    (
        re.compile(
            r"InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|Forbidden|\(403\)|Unable to locate credentials"
        ),
        "the object store refuses the key: correct the connection that COUNTERWEIGHT_AWS_CONN_ID names",
    ),
    (
        re.compile(r"Authentication failed|could not read Username|Permission denied \(publickey\)|error: 401"),
        "the git remote refuses the log-in: correct the connection that COUNTERWEIGHT_GIT_CONN_ID names",
    ),
    (
        re.compile(r"does not appear to be a git repository|repository .* (not found|does not exist)", re.IGNORECASE),
        "there is no git remote at that address: correct COUNTERWEIGHT_GIT",
    ),
    (
        re.compile(r"Permission denied|Read-only file system|Not a directory"),
        "the worker may not write there: correct the folder's owner, or COUNTERWEIGHT_REMOTE and COUNTERWEIGHT_RUNS",
    ),
)


@dataclass(frozen=True)
class Failure:
    """What to tell of an error.

    Attributes:
        line: what happened and what to do.
        passing: whether trying again can help: the network, a lock, memory.
    """

    line: str
    passing: bool


def explain(error: Exception, settings: Settings) -> Failure:
    """The failure that an error of the bridge means."""
    if isinstance(error, StaleError | AlreadyWrittenError | ValueError):
        return Failure(str(error), passing=False)
    said = " ".join(error.complaints) if isinstance(error, CommandError) else str(error)
    if isinstance(error, CommandError):
        status = _status(error)
        if status == USER_ERROR:
            return Failure(_told(error), passing=False)
        if status in KILL:
            return Failure(f"the command {KILLED}", passing=True)
    for pattern, advice in LASTING:
        if pattern.search(said):
            places = f"git {settings.git}, remote {settings.remote}, run store {settings.runs}"
            return Failure(f"{advice} ({places}): {_told(error)}", passing=False)
    return Failure(_told(error), passing=True)


def _status(error: CommandError) -> int:
    """The exit status of the stage where DVC ran one that failed, else the command's own."""
    found = [match[1] for text in error.tail if (match := STAGE_STATUS.search(text))]
    return int(found[-1]) if found else error.status


def _told(error: Exception) -> str:
    """What the pipeline, DVC or git said in its own line."""
    lines = error.complaints if isinstance(error, CommandError) else ()
    told = next((text for text in lines if text.startswith("error: ")), None)
    return told.removeprefix("error: ") if told else " ".join(str(error).split())
