"""Keep a checkpoint's weights in half the bytes, so that a repository can carry it.

    python -m training.evidence.halve ckpt/apt2 --out ckpt/apt2-half
    python -m training.evidence.rollouts ckpt/apt2-half --cells apt --trials 100 --json apt2.json
    python -m training.evidence.ship ckpt/apt2-half --measured apt2.json --out checkpoints/apt

Weights are rounded to float16, by 0.05 % or 3e-8 at most, whichever is more; computed with they
are as before. Measure what this writes, not what it was made of: it is another checkpoint, of
another SHA-256, and without the held-out errors of the other.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

from training.evidence.ship import card_of, ended
from training.learning.stage_files import METRICS_FILE
from vla_ros.core.errors import CheckpointError, VlaError
from vla_ros.policy.checkpoint import (
    CARD,
    RUN,
    WEIGHTS,
    is_checkpoint,
    require_replaceable,
)
from vla_ros.policy.checkpoint_folder import replace_folder
from vla_ros.policy.half_weights import halve_weights


def halve(checkpoint: Path, out: Path) -> str:
    """Write the checkpoint with its weights in float16; return one line on it.

    Raises:
        CheckpointError: it is missing, damaged or unfinished, a weight is beyond float16's range,
            or `out` is something else, or the checkpoint itself.
    """
    loaded = ended(checkpoint)
    if out.resolve() == checkpoint.resolve():
        raise CheckpointError(
            f"--out {out} is the checkpoint itself, whose weights would be lost; name another "
            "folder"
        )
    require_replaceable(out)

    def write(folder: Path) -> None:
        left_out = shutil.ignore_patterns(METRICS_FILE)
        shutil.copytree(checkpoint, folder, dirs_exist_ok=True, ignore=left_out)
        halve_weights(checkpoint / WEIGHTS, folder / WEIGHTS)
        weights = f"{loaded.run.get('weights', 'as trained')}, rounded to float16"
        run = loaded.run | {"weights": weights}
        (folder / RUN).write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")
        (folder / CARD).write_text(card_of(loaded, folder, run), encoding="utf-8")

    replace_folder(out, write, is_checkpoint)
    before, after = ((path / WEIGHTS).stat().st_size / 1e6 for path in (checkpoint, out))
    return f"{out}: weights of {after:.1f} MB, before {before:.1f} MB"


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="training.evidence.halve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", type=Path, help="folder that a stage script wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Do what the command line says; an error is one sentence on stderr and exit code 1."""
    args = parse_arguments(argv)
    try:
        print(halve(args.checkpoint, args.out))
    except VlaError as error:
        print(f"training.evidence.halve: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
