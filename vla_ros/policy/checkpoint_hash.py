"""One number for all of a checkpoint: who acts with it says it, whoever asks later can compare."""

import hashlib
from pathlib import Path

from vla_ros.core.errors import CheckpointError
from vla_ros.policy.checkpoint_folder import require_folder

_BLOCK_BYTES = 1 << 20


def checkpoint_sha256(path: Path) -> str:
    """Return the SHA-256, in hex, of names, sizes and contents of all files in folder `path`.

    Raises:
        CheckpointError: there is no such folder, or a file in it cannot be read.
    """
    require_folder(path)
    digest = hashlib.sha256()
    try:
        for file in sorted(found for found in path.rglob("*") if found.is_file()):
            name = file.relative_to(path).as_posix().encode()
            digest.update(b"%d %d " % (len(name), file.stat().st_size) + name)
            with file.open("rb") as opened:
                while block := opened.read(_BLOCK_BYTES):
                    digest.update(block)
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read ({error}); check its files' permissions"
        ) from None
    return digest.hexdigest()
