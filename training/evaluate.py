"""How far off a policy is on recordings it has not seen, against predictors that learn nothing.

    python -m training.evaluate ckpt/stage2 --data data/demos
    python -m training.evaluate ckpt/stage1 --data rosbags/new --reference data/play --json out.json

Open loop: each frame is shown as it was recorded, and the answer is compared with what was done;
nothing moves. The table has the mean absolute error of each number that the policy gives, with 95 %
intervals by recording, beside a constant, the last motion repeated, and the action of the training
frame whose pictures are nearest; its last lines say of which baselines the intervals are apart. A
small error does not promise success in closed loop, but a policy that does not beat a constant has
learned nothing.

Tested is what neither the checkpoint nor a stage before it was trained on, recording by recording:
one that was is known again in another dataset and as a bag. Baselines learn from the trained
episodes of --data and from --reference.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch

from training.convert import convert_bags, settings_of
from training.convert import parse_arguments as convert_arguments
from training.inspection.open_loop_report import plot, summary, table
from training.learning.held_out import Part, label_of, parts_of
from training.learning.open_loop import measure
from training.recordings.bags import find_bags
from vla_ros.core.errors import DatasetError, VlaError
from vla_ros.policy.checkpoint import Checkpoint, load_checkpoint


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="training.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("checkpoint", type=Path, help="folder that a stage script wrote")
    add("--data", type=Path, nargs="+", required=True, help="datasets, bags or folders of bags")
    add("--reference", type=Path, nargs="+", default=[], help="datasets for the baselines")
    add("--split", choices=("held-out", "all"), default="held-out", help="episodes to test")
    add("--kinds", nargs="+", help="episodes to take; else those that training took")
    add("--samples", type=int, default=2000, help="most frames, evenly spread")
    add("--seed", type=int, default=0, help="of the resampling")
    add("--json", type=Path, metavar="FILE", help="also write all numbers")
    add("--plot", type=Path, metavar="FILE", help="also write a PNG")
    add("--source", type=Path, help="YAML file that says what foreign bags call their topics")
    return parser.parse_args(argv)


def as_datasets(
    paths: list[Path], folder: Path, checkpoint: Checkpoint, source: Path | None = None
) -> list[Path]:
    """Return datasets as they are, and all bags converted to one in `folder`.

    Args:
        paths: datasets, bags or folders of bags.
        folder: to write to.
        checkpoint: of the policy: cameras, size and rate, and the motion that it learned.
        source: see training.convert.

    Raises:
        VlaError: a bag cannot be used.
    """
    datasets = [path for path in paths if (path / "meta/info.json").exists()]
    places = [path for path in paths if path not in datasets]
    if not places:
        return datasets
    bags, out, contract = find_bags(places), folder / "converted-bags", checkpoint.contract
    words = [*map(str, bags), "--out", str(out), "--camera", *contract.cameras]
    words += ["--image-size", str(contract.image.shape[0]), "--rate", str(contract.rate_hz)]
    words += ["--label", label_of(checkpoint) or "reached"]
    words += [] if source is None else ["--source", str(source)]
    info = convert_bags(bags, out, settings_of(convert_arguments(words)))
    for path, reason in info["failed"]:
        print(f"left out: {path}: {reason}", file=sys.stderr)
    return [*datasets, out]


def evaluate(args: argparse.Namespace) -> dict:
    """Return what --json writes.

    Raises:
        VlaError: checkpoint or data cannot be read, do not fit, or have nothing to test.
    """
    if args.samples < 1:
        raise DatasetError(f"--samples must be at least 1, got {args.samples}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    checkpoint = load_checkpoint(args.checkpoint, device=device)
    with tempfile.TemporaryDirectory(prefix="vla_evaluate_") as folder:
        data = as_datasets(args.data, Path(folder), checkpoint, args.source)
        parts = parts_of(checkpoint, data, args.reference, args.split, args.kinds)
        for part in parts:
            print(_told(part))
        found = measure(checkpoint, parts, args.samples, device, print)
    return {
        "checkpoint": args.checkpoint.resolve().name,
        "method": checkpoint.method,
        "stage": checkpoint.run["stage"],
        "split": args.split,
        "data": [
            {
                "name": part.dataset.path.name,
                "sha256": part.dataset.sha256,
                "was_trained_on": part.is_known,
                "tested_episodes": len(part.tested),
                "trained_episodes": len(part.trained),
                "left_out_episodes": len(part.left_out),
            }
            for part in parts
        ],
        "seed": args.seed,
        **summary(found, args.seed),
    }


def _told(part: Part) -> str:
    counts = f"{len(part.tested)} episodes to test, {len(part.trained)} for the baselines"
    if part.left_out:
        counts += f", {len(part.left_out)} left out, which an earlier stage was trained on"
    return f"{part.dataset.path.name}: {counts}"


def main(argv: list[str] | None = None) -> int:
    """Measure as the command line says; an error is one sentence on stderr and exit code 1."""
    args = parse_arguments(argv)
    try:
        document = evaluate(args)
        print(table(document))
        if args.split == "all":
            print("These frames include those that the policy was trained on.")
        if args.json is not None:
            args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        if args.plot is not None:
            args.plot.write_bytes(plot(document))
    except VlaError as error:
        print(f"training.evaluate: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"training.evaluate: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
