"""Records of trials in a file: one line each, written as they are done, so that a stop loses none.

The first line says what they are of. A run of the same goes on behind the last whole line; anything
else is refused.
"""

import json
import os
from pathlib import Path

from vla_ros.core.errors import EpisodeError

Key = tuple[str, int]


class TrialLog:
    """The records in a file, by cell and trial.

    Args:
        path: the file; made where it is missing.
        facts: what all records share: checkpoint and settings, plain JSON types.
        overwrite: begin anew where it is of something else.

    Attributes:
        records: those that are there.

    Raises:
        EpisodeError: it is of other facts, or cannot be read or written.
    """

    def __init__(self, path: Path, facts: dict, overwrite: bool = False):
        self._path = path
        self.records: dict[Key, dict] = {}
        facts = json.loads(json.dumps(facts))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        except OSError as error:
            raise EpisodeError(f"{path}: {error.strerror}; give another --json") from None
        whole = [line for line in lines if line.endswith(b"\n")]
        there = _parsed(whole[0]) if whole else None
        if there is not None and there != facts and not overwrite:
            differ = sorted(key for key in {*there, *facts} if there.get(key) != facts.get(key))
            raise EpisodeError(
                f"{path} holds trials of something else ({', '.join(differ)} differ); give another "
                "--json, or --overwrite"
            )
        if there != facts:
            self._write("wb", (json.dumps(facts) + "\n").encode())
            return
        if len(whole) < len(lines):  # cut off while it was written
            os.truncate(path, sum(map(len, whole)))
        for line in whole[1:]:
            record = _parsed(line)
            if record is not None:
                self.records[record["cell"], record["trial"]] = record

    def add(self, record: dict) -> None:
        """Keep a record; EpisodeError where it cannot be written."""
        self._write("ab", (json.dumps(record) + "\n").encode())
        self.records[record["cell"], record["trial"]] = record

    def _write(self, mode: str, data: bytes) -> None:
        try:
            with self._path.open(mode) as file:
                file.write(data)
        except OSError as error:
            raise EpisodeError(f"{self._path}: {error.strerror}; free the disk, go on") from None


def _parsed(line: bytes) -> dict | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
