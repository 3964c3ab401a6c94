"""Make a measured checkpoint one that ships with the package: its card says what it did.

    python -m training.evidence.rollouts ckpt/tap2 --cells tap --trials 100 --json tap2.json
    python -m training.evidence.ship ckpt/tap2 --measured tap2.json --out checkpoints/tap

Takes a run that has ended, and results of `training.evidence.rollouts` of this very checkpoint.
What is written acts as it did: weights, contract and statistics are copied byte by byte.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

from training.evidence.rollouts import table
from training.learning.stage_files import STATE_FILE
from vla_ros.core.errors import CheckpointError, VlaError
from vla_ros.policy.checkpoint import (
    CARD,
    CONFIG,
    Checkpoint,
    is_checkpoint,
    load_checkpoint,
    require_replaceable,
)
from vla_ros.policy.checkpoint_folder import replace_folder, require_folder
from vla_ros.policy.checkpoint_hash import checkpoint_sha256
from vla_ros.policy.model_card import model_card

# What a repository can carry for each of its checkpoints.
MOST_BYTES = 20_000_000
# What was measured, beside the card that says it in words.
MEASURED = "measured.json"
KEPT = ("checkpoint_sha256", "settings", "code_version", "trials_a_minute", "workers", "cells")


def ended(checkpoint: Path) -> Checkpoint:
    """Return a checkpoint whose run has ended.

    Raises:
        CheckpointError: it is missing or damaged, or the run goes on.
    """
    require_folder(checkpoint)
    loaded = load_checkpoint(checkpoint)
    if (checkpoint / STATE_FILE).exists():
        raise CheckpointError(
            f"the run of {checkpoint} has not ended; go on with it (--resume), then measure it"
        )
    return loaded


def card_of(loaded: Checkpoint, folder: Path, run: dict) -> str:
    """Return the card of a checkpoint whose files are in a folder, with this provenance."""
    backbone = json.loads((folder / CONFIG).read_text())["backbone"]
    return model_card(loaded.method, backbone, loaded.contract, run)


def ship(checkpoint: Path, measured: list[Path], out: Path) -> str:
    """Write the checkpoint with its card; return one line on it.

    Raises:
        CheckpointError: it is missing, damaged, unfinished or too large, the results are of another
            checkpoint, or `out` is something else.
    """
    loaded = ended(checkpoint)
    size = sum(file.stat().st_size for file in checkpoint.rglob("*") if file.is_file())
    if size > MOST_BYTES:
        raise CheckpointError(
            f"{checkpoint} has {size / 1e6:.1f} MB, and what ships has {MOST_BYTES / 1e6:g} at "
            "most; train a smaller model"
        )
    sha256 = checkpoint_sha256(checkpoint)
    results = [_result(path, sha256) for path in measured]
    require_replaceable(out)

    def write(folder: Path) -> None:
        shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
        # Made anew: that of an older version may be another.
        card = card_of(loaded, folder, loaded.run)
        before, provenance, after = card.partition("## Provenance\n")
        sections = "".join(map(_section, results))
        (folder / CARD).write_text(f"{before}{sections}{provenance}{after}", encoding="utf-8")
        (folder / MEASURED).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")

    replace_folder(out, write, is_checkpoint)
    return f"{out}: {size / 1e6:.1f} MB, with {len(results)} tables in {CARD}"


def _result(path: Path, sha256: str) -> dict:
    """Return what a file of results says of the checkpoint, but for the single trials."""
    try:
        result = {key: value for key, value in json.loads(path.read_text()).items() if key in KEPT}
        found = result["checkpoint_sha256"]
        _section(result)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} cannot be read as results ({error!r}); give what training.evidence.rollouts "
            "wrote"
        ) from None
    if found != sha256:
        raise CheckpointError(
            f"{path} was measured with a checkpoint of SHA-256 {found}, and this one has {sha256}; "
            "measure this one"
        )
    return result


def _section(result: dict) -> str:
    """Return the card's section on a result."""
    said = ", ".join(f"{key} {value}" for key, value in result["settings"].items())
    head = (
        f"## Measured\n\n`training.evidence.rollouts` of vla_ros {result['code_version']}: {said}."
    )
    return f"{head}\n\n```\n{table(result)}\n```\n\n"


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="training.evidence.ship",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("checkpoint", type=Path, help="folder that a Stage 2 script wrote")
    add("--measured", type=Path, nargs="+", required=True, help="results of the roll-outs")
    add("--out", type=Path, required=True, help="folder to write")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Ship as the command line says; an error is one sentence on stderr and exit code 1."""
    args = parse_arguments(argv)
    try:
        print(ship(args.checkpoint, args.measured, args.out))
    except VlaError as error:
        print(f"training.evidence.ship: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
