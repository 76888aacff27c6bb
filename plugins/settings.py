"""Where a worker finds git, the object store and its own scratch: from the environment, never from a committed file.

Every worker of a run has the same `COUNTERWEIGHT_GIT`, `COUNTERWEIGHT_REMOTE` and `COUNTERWEIGHT_RUNS`; scratch,
mirrors and checkpoints are its own.
"""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Where things are.

    Attributes:
        git: URL of the git remote that code comes from and experiments are published to.
        remote: URL of the DVC remote: a folder or `s3://bucket/prefix`.
        runs: URI of the run store: a folder or `s3://bucket/prefix`.
        endpoint: URL of an S3 server other than AWS's.
        scratch: folder of this worker for checkouts, mirrors and checkpoints.
    """

    git: str
    remote: str
    runs: str
    endpoint: str | None
    scratch: Path

    @property
    def mirrors(self) -> Path:
        """Bare mirrors of git remotes."""
        return self.scratch / "mirrors"

    @classmethod
    def from_environment(cls) -> "Settings":
        """Reads the environment.

        Raises:
            ValueError: a variable is missing; names all that are.
        """
        names = {"git": "COUNTERWEIGHT_GIT", "remote": "COUNTERWEIGHT_REMOTE", "runs": "COUNTERWEIGHT_RUNS"}
        missing = [name for name in names.values() if not os.environ.get(name)]
        if missing:
            raise ValueError(f"the environment of this worker lacks {', '.join(missing)}; see docs/airflow.md")
        given = {field: os.environ[name] for field, name in names.items()}
        scratch = Path(os.environ.get("COUNTERWEIGHT_SCRATCH") or Path.home() / ".counterweight" / "scratch")
        return cls(**given, endpoint=os.environ.get("COUNTERWEIGHT_S3_ENDPOINT") or None, scratch=scratch)
