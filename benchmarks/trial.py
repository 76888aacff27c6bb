"""The stages of dvc.yaml, run in a folder with params of its own."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import yaml

from tests.tiny import ROOT, merged


class Trial:
    """A folder in which stages run.

    Args:
        changes: of params.yaml.
        threads: of each stage; one, and one process, unless said otherwise.
    """

    def __init__(self, folder: Path, changes: dict[str, Any], threads: int = 1) -> None:
        self.folder, self._threads = folder, threads
        self.stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
        self.params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        folder.mkdir(parents=True, exist_ok=True)
        self.change(changes)

    def change(self, changes: dict[str, Any]) -> None:
        """Changes params for the stages to come."""
        self.params = merged(self.params, changes)
        (self.folder / "params.yaml").write_text(yaml.safe_dump(self.params, sort_keys=False), encoding="utf-8")

    def run(self, *names: str) -> float:
        """Runs stages or commands; returns the seconds that they took."""
        commands = {name: re.sub(r"\$\{([\w.]+)\}", self._param, stage["cmd"]) for name, stage in self.stages.items()}
        return self.call(*(commands.get(name, f"python -m pipeline {name}") for name in names))

    def _param(self, name: re.Match[str]) -> str:
        """The value that a stage's command takes from params.yaml."""
        return str(reduce(getitem, name[1].split("."), self.params))

    def call(self, *commands: str) -> float:
        """Runs command lines in the folder; returns the seconds that they took.

        Raises:
            RuntimeError: one failed; with the end of what it said.
        """
        start = time.monotonic()
        for command in commands:
            words = [sys.executable, *shlex.split(command)[1:]]
            done = subprocess.run(
                words, cwd=self.folder, env=self._environment(), capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError(f"{command}: {done.stderr[-2000:]}")
        return time.monotonic() - start

    def json(self, path: str) -> Any:
        """What a stage wrote."""
        return json.loads((self.folder / path).read_text(encoding="utf-8"))

    def _environment(self) -> dict[str, str]:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(self._threads))
        return {**os.environ, **threads, "COUNTERWEIGHT_WORKERS": "1", "PYTHONPATH": str(ROOT)}
