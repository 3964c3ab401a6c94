"""Writing a folder so that a reader sees the old one or the new one, whole."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from vla_ros.core.errors import CheckpointError


def require_folder(path: Path) -> None:
    """Raise CheckpointError if `path` is no folder."""
    if not path.is_dir():
        raise CheckpointError(
            f"checkpoint folder {path} does not exist; give the folder that training wrote"
        )


def require_replaceable_by(path: Path, is_ours: Callable[[Path], bool]) -> None:
    """Raise CheckpointError if `path` exists and is neither empty nor one of ours."""
    if path.exists() and (not path.is_dir() or (any(path.iterdir()) and not is_ours(path))):
        raise CheckpointError(
            f"{path} exists and is not a checkpoint, so it is not replaced; choose another folder"
        )


def replace_folder(
    path: Path, write: Callable[[Path], None], is_ours: Callable[[Path], bool]
) -> None:
    """Let `write` fill a temporary folder, then make it `path`.

    Raises:
        CheckpointError: `path` is something else than one of ours, or the disk refuses; what was
            there before is still there.
    """
    require_replaceable_by(path, is_ours)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    retired = path.with_name(f".{path.name}.{os.getpid()}.old")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        write(temporary)
        for file in temporary.rglob("*"):
            if file.is_file():
                _to_disk(file)
        if path.exists():
            path.rename(retired)
        temporary.rename(path)
    except (OSError, SafetensorError) as error:
        if retired.exists() and not path.exists():
            retired.rename(path)
        raise CheckpointError(
            f"checkpoint {path} cannot be written ({error}); free the disk or choose another folder"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(retired, ignore_errors=True)


def _to_disk(file: Path) -> None:
    """A power cut after the rename must not leave a file of zeros behind the new name."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
