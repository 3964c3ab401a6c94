"""Stamped steps: each shows its progress, keeps a log, and is skipped while nothing changes."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

from machine import SetupError

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMPS = VENV / ".setup"
LOGS = ROOT / "log" / "setup"
# Whoever holds a lock on this file may install; see Step.command.
LOCK = Path(__file__).open()  # noqa: SIM115 - held until the process ends


def is_source(path: Path) -> bool:
    """Tell whether a file is somebody's work and not what Python or a build left."""
    made = {"__pycache__", "build"}
    parts = path.relative_to(ROOT).parts
    return path.is_file() and not any(p in made or p.endswith(".egg-info") for p in parts)


def digest(*inputs: str | Path) -> str:
    """Return a hash of strings and of files: names, contents and x bits; folders are walked."""
    total = hashlib.sha256()
    for item in inputs:
        if isinstance(item, str):
            total.update(f"text {item}\0".encode())
            continue
        for path in filter(is_source, sorted(item.rglob("*")) if item.is_dir() else [item]):
            executable = bool(path.stat().st_mode & 0o111)
            total.update(f"file {path.relative_to(ROOT)} {executable}\0".encode())
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


class Step:
    """A piece of set-up with a name, a log, and a key: the hash of all that it depends on."""

    def __init__(self, name: str, title: str, key: str):
        self.name, self.title, self.key = name, title, key
        self.log = LOGS / f"{name}.log"
        self.stamp = STAMPS / name

    def done(self) -> bool:
        return self.stamp.is_file() and self.stamp.read_text() == self.key

    def begin(self) -> None:
        self.stamp.unlink(missing_ok=True)
        LOGS.mkdir(parents=True, exist_ok=True)
        self.log.write_text("")
        self.started = time.monotonic()
        print(f"setup: {self.title} ...", flush=True)

    def finish(self) -> None:
        STAMPS.mkdir(parents=True, exist_ok=True)
        draft = self.stamp.with_suffix(".new")
        draft.write_text(self.key)
        os.replace(draft, self.stamp)
        print(f"setup: {self.title}: done in {time.monotonic() - self.started:.0f} s", flush=True)

    def command(self, *arguments: str | Path, **environment: str) -> subprocess.Popen:
        """Start a command that writes to the step's log."""
        with self.log.open("a") as log:
            log.write("$ " + " ".join(map(str, arguments)) + "\n")
            log.flush()
            # The lock is passed on: should this script be killed, the next waits for its children.
            return subprocess.Popen(
                [str(argument) for argument in arguments],
                env={**os.environ, **environment},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[LOCK.fileno()],
            )

    def run(self, *arguments: str | Path, **environment: str) -> None:
        self.wait_for(self.command(*arguments, **environment))

    def wait_for(self, process: subprocess.Popen) -> None:
        """Wait with a sign of life.

        Raises:
            SetupError: the command failed.
        """
        terminal = sys.stdout.isatty()
        while True:
            try:
                code = process.wait(1 if terminal else 30)
                break
            except subprocess.TimeoutExpired:
                seconds = time.monotonic() - self.started
                end = "\r" if terminal else "\n"
                print(f"setup: {self.title} ... {seconds:.0f} s", end=end, flush=True)
        if code:
            raise SetupError(
                f"{self.title} failed (exit code {code}); {self.log.relative_to(ROOT)} says why, "
                "and `make setup` resumes here once that is put right."
            )
