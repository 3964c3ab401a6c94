"""A dataset's data files and videos have the bytes that conversion wrote; looked at once."""

import json
import os
from pathlib import Path

from training.learning.frame_cache import FOLDER
from training.provenance import combined_sha256, file_sha256
from vla_ros.core.errors import DatasetError

VERIFIED_FILE = "verified.json"


def verified_hashes(path: Path, info: dict) -> dict[str, str]:
    """Return the hashes of data files and videos, after a look at the files.

    Raises:
        DatasetError: one is missing or was changed.
    """
    ours = info["vla_ros"]
    expected = {
        name: sha256
        for name, sha256 in ours.get("files", {}).items()
        if name.startswith(("data/", "videos/"))
    }
    changed = DatasetError(f"{path}/data was changed after conversion; convert the bags again")
    present = {
        file.relative_to(path).as_posix()
        for top, suffix in (("data", "parquet"), ("videos", "mp4"))
        for file in (path / top).rglob(f"*.{suffix}")
    }
    if present != set(expected) or combined_sha256(expected) != ours["provenance"]["data_sha256"]:
        raise changed
    note = path / FOLDER / VERIFIED_FILE
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    now = {}
    for name, sha256 in expected.items():
        stat = (path / name).stat()
        now[name] = [stat.st_size, stat.st_mtime_ns, sha256]
        if known.get(name) != now[name] and file_sha256(path / name) != sha256:
            raise changed
    if now != known:
        _write_note(note, now)
    return expected


def _write_note(note: Path, content: dict) -> None:
    temporary = note.with_name(f".{note.name}.{os.getpid()}.tmp")
    try:
        note.parent.mkdir(exist_ok=True)
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
        temporary.replace(note)
    except OSError as error:
        raise DatasetError(
            f"{note} cannot be written ({error.strerror}); free space or give access, then run "
            "again"
        ) from None
