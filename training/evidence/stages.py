"""Stages of an experiment: commands that are done once, in their order, and never twice.

A stage is done when its marker says so, with a key made of its command line, of the keys of the
stages it needs, and of the bytes of its other inputs. So whatever changes one stage repeats those
that rest on it, and a stop at any time costs no more than the scripts themselves lose.
"""

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from training.datasets.files import write_text
from training.provenance import ROOT, code_version, file_sha256
from vla_ros.core.errors import VlaError

# Of each kind: what it is counted in, and how many seconds one took on one core of a cloud machine
# of two (2.x GHz Xeon) at the sizes of the scale `full`; done stages replace them.
KINDS: dict[str, tuple[str, float]] = {
    "captions": ("frames", 0.06),
    "backbone": ("steps", 0.8),
    "play": ("hours", 220.0),
    "demos": ("episodes", 2.5),
    "convert": ("frames", 0.004),
    "stage1_tap": ("steps", 0.74),
    "stage2_tap": ("steps", 0.6),
    "stage1_apt": ("steps", 0.97),
    "stage2_apt": ("steps", 1.28),
    "open_loop": ("runs", 60.0),
    "rollouts_tap": ("trials", 5.0),
    "rollouts_apt": ("trials", 14.0),
    "attention": ("pictures", 8.0),
    "probe": ("runs", 60.0),
}
# Scripts that go on where they were stopped when they are told so; they write a run.json.
_RESUMED = ("backbone", "stage1_tap", "stage2_tap", "stage1_apt", "stage2_apt")
_TAIL_LINES = 12
# After so long [s] a script has not heard of a Ctrl-C that came here.
_ECHO_S = 2.0


class ExperimentError(VlaError):
    """An experiment cannot be planned, or a stage of it failed."""


@dataclass(frozen=True)
class Stage:
    """One command.

    Attributes:
        name: of its marker and log, with slashes.
        kind: of KINDS.
        command: what follows `python -m`.
        amount: how much of the kind's unit it is.
        out: file or folder that it writes.
        needs: names of stages before it.
        files: other inputs, files or folders.
        free: further arguments, which change no result but by rounding.
    """

    name: str
    kind: str
    command: tuple[str, ...]
    amount: float
    out: Path
    needs: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    free: tuple[str, ...] = ()


class Ledger:
    """What is done of a list of stages, in files of a folder.

    Args:
        folder: for markers and logs; it may be moved with the folder that it is in.
        stages: all of them, each after those that it needs.

    Raises:
        ExperimentError: a name comes twice, or a stage needs one that does not come before it.
    """

    def __init__(self, folder: Path, stages: Iterable[Stage]):
        self._folder = folder
        self.stages = tuple(stages)
        self._keys: dict[str, str] = {}
        for stage in self.stages:
            missing = [name for name in stage.needs if name not in self._keys]
            if missing or stage.name in self._keys:
                raise ExperimentError(
                    f"stage {stage.name} comes twice, or before {', '.join(missing)} that it needs"
                )
            self._keys[stage.name] = self._key(stage)

    def _key(self, stage: Stage) -> str:
        home = str(self._folder.parent)
        parts = [
            [part.replace(home, "") for part in stage.command],
            [self._keys[name] for name in stage.needs],
        ]
        parts += [[_digest(path) for path in stage.files]]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def marker(self, stage: Stage) -> dict:
        """Return what the marker says; empty where there is none that can be read."""
        try:
            found = json.loads(self._path(stage, "json").read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def is_done(self, stage: Stage) -> bool:
        """Return whether it need not be done again."""
        marker = self.marker(stage)
        is_same = marker.get("key") == self._keys[stage.name]
        return is_same and bool(marker.get("done")) and stage.out.exists()

    def command(self, stage: Stage) -> list[str]:
        """Return the whole command line, with what it takes to go on or to begin anew."""
        is_same = self.marker(stage).get("key") == self._keys[stage.name]
        more: list[str] = []
        if stage.kind in _RESUMED and (stage.out / "run.json").exists():
            more = ["--resume"] if is_same else ["--overwrite"]
        elif stage.kind.startswith("rollouts") and not is_same:
            more = ["--overwrite"]
        return [sys.executable, "-m", *stage.command, *stage.free, *more]

    def run(self, stage: Stage) -> None:
        """Do a stage, its output to its log and to stderr, and mark it.

        Raises:
            ExperimentError: it ended with another code than 0.
            KeyboardInterrupt: so did whoever runs this; the script has saved what it saves.
        """
        command, log = self.command(stage), self._path(stage, "log")
        before = self.marker(stage)
        same = before.get("key") == self._keys[stage.name]
        spent_s = before.get("wall_s", 0.0) if same else 0.0
        self._mark(stage, spent_s, False)
        print(f"$ {shlex.join(['python', *command[1:]])}", file=sys.stderr)
        start_s = time.monotonic()
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            code = _run_logged(command, log)
        finally:
            spent_s = round(spent_s + time.monotonic() - start_s, 1)
            self._mark(stage, spent_s, False)
        if code in (130, 143):
            raise KeyboardInterrupt
        if code:
            tail = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
            raise ExperimentError(
                f"stage {stage.name} ended with code {code}; its output is in {log}:\n"
                + "\n".join(tail)
            )
        if not stage.out.exists():
            raise ExperimentError(f"stage {stage.name} did not write {stage.out}; see {log}")
        self._mark(stage, spent_s, True)

    def seconds(self, given: Mapping[str, float]) -> dict[str, float]:
        """Return seconds for one unit of each kind: as given, else as measured, else assumed."""
        spent: dict[str, list[float]] = {}
        for stage in self.stages:
            if self.is_done(stage):
                times = spent.setdefault(stage.kind, [0.0, 0.0])
                times[0] += self.marker(stage)["wall_s"]
                times[1] += stage.amount
        assumed = {kind: seconds for kind, (_, seconds) in KINDS.items()}
        return assumed | {kind: s / max(n, 1e-9) for kind, (s, n) in spent.items()} | dict(given)

    def _mark(self, stage: Stage, wall_s: float, is_done: bool) -> None:
        path = self._path(stage, "json")
        path.parent.mkdir(parents=True, exist_ok=True)
        found = {
            "key": self._keys[stage.name],
            "done": is_done,
            "wall_s": wall_s,
            "command": list(stage.command),
            "code_version": code_version(),
        }
        new = path.with_suffix(".new")
        write_text(new, json.dumps(found, indent=1) + "\n")
        os.replace(new, path)

    def _path(self, stage: Stage, ending: str) -> Path:
        return self._folder / f"{stage.name}.{ending}"


def _run_logged(command: list[str], log: Path) -> int:
    """Run a command; its output goes to a log, and what it says on stderr is shown, too."""
    with (
        log.open("ab") as file,
        subprocess.Popen(command, stdout=file, stderr=subprocess.PIPE, cwd=ROOT) as process,
    ):
        assert process.stderr is not None
        try:
            # As it comes: a progress bar ends no line.
            while chunk := os.read(process.stderr.fileno(), 4096):
                sys.stderr.buffer.write(chunk)
                sys.stderr.flush()
                file.write(chunk)
        except KeyboardInterrupt:
            # Ctrl-C of a terminal has reached the script as well, which saves before it ends.
            try:
                process.wait(_ECHO_S)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
            raise
        except BaseException:
            process.terminate()
            raise
    return process.returncode


def _digest(path: Path) -> str:
    """Return the hash of a file, or of all files of a folder with their names."""
    if path.is_file():
        return file_sha256(path)
    if not path.is_dir():
        raise ExperimentError(f"{path}, which the experiment needs, does not exist")
    digest = hashlib.sha256()
    for file in sorted(found for found in path.rglob("*") if found.is_file()):
        digest.update(f"{file.relative_to(path)} {file_sha256(file)}\n".encode())
    return digest.hexdigest()
