"""What a checkpoint's features still know of places: linear read-out, in centimetres.

    python -m vla_ros.sim.captions --out data/probed --frames 6000 --seed 9
    python -m training.evidence.probe ckpt/tap1 ckpt/tap2 --data data/probed --json probe.json

Takes checkpoints of either stage, and backbones of training.pretrain_vlm, all of the small model.
A ridge regression from the frozen tokens of one picture to the place of the gripper and of each
object that shows is fitted on 19 of 20 pictures, and its mean error measured on the others. Beside
it is the error of always saying the mean place. Of models whose words have points of their own, it
tells in how many pictures a word points elsewhere. Give pictures that nothing was trained on.
"""

import argparse
import json
import sys
from pathlib import Path

from training.datasets.files import write_text
from training.learning.caption_data import open_captions
from training.learning.grounding import words_off
from training.learning.readout import evaluate_readout
from training.provenance import code_version
from vla_ros.core.errors import CheckpointError, VlaError
from vla_ros.policy.checkpoint import load_checkpoint
from vla_ros.policy.small_files import is_backbone, load_small_vlm
from vla_ros.policy.small_vlm import SmallVlm

# Of the pictures, at most so many are fitted on: the solution costs their number cubed.
_MOST_FRAMES = 6000


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="training.evidence.probe",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("checkpoints", type=Path, nargs="+", help="folders of stages or of backbones")
    add("--data", type=Path, required=True, help="folder of vla_ros.sim.captions")
    add("--json", type=Path, required=True, help="results to write")
    return parser.parse_args(argv)


def features_of(folder: Path) -> SmallVlm:
    """Return the network whose features are probed.

    Raises:
        CheckpointError: it is no checkpoint or backbone, or one of another model.
    """
    if is_backbone(folder):
        return load_small_vlm(folder)
    vlm = load_checkpoint(folder).policy.vlm
    if not isinstance(vlm, SmallVlm):
        raise CheckpointError(
            f"{folder} has a {type(vlm).__name__}, and what is read out are tokens of the small "
            "model; give a checkpoint of the small model"
        )
    return vlm


def probe(checkpoints: list[Path], data: Path) -> dict:
    """Return read-out and words of each checkpoint, plain JSON types.

    Raises:
        VlaError: a checkpoint or the pictures cannot be read, two have one name, or they want
            pictures of different sizes.
    """
    names = [folder.name for folder in checkpoints]
    if len(set(names)) < len(names):
        raise CheckpointError(
            f"checkpoints {', '.join(names)} must have different names, which the table is by; "
            "rename a folder"
        )
    models = {folder.name: features_of(folder).eval() for folder in checkpoints}
    sizes = {model.image_size for model in models.values()}
    if len(sizes) > 1:
        raise CheckpointError(
            f"checkpoints {', '.join(names)} see pictures of {sorted(sizes)} px; probe those of "
            "one size at a time"
        )
    pictures = open_captions(data, sizes.pop())
    found = evaluate_readout(models, pictures, _MOST_FRAMES, bf16=False)
    return {
        "data": {"name": data.name, "fitted": len(pictures.trained[:_MOST_FRAMES])},
        "code_version": code_version(),
        "readout_cm": {
            what: {name: round(error, 3) for name, error in errors.items()}
            for what, errors in found.items()
        },
        "words_off": {
            name: {word: round(share, 4) for word, share in words_off(model, pictures).items()}
            for name, model in models.items()
            if model.named is not None
        },
    }


def table(result: dict) -> str:
    """Return the errors as lines for a terminal."""
    found = result["readout_cm"]
    names = list(next(iter(found.values()), {}))
    width = max(map(len, ("read-out [cm]", *found)))
    lines = [f"{'read-out [cm]':<{width}}  " + "  ".join(names)]
    for what, errors in found.items():
        cells = (f"{errors[name]:{len(name)}.1f}" for name in names)
        lines.append(f"{what:<{width}}  " + "  ".join(cells))
    for name, shares in result["words_off"].items():
        mean = sum(shares.values()) / max(1, len(shares))
        worst = sorted(shares.items(), key=lambda item: -item[1])[:3]
        said = ", ".join(f"{word} {share:.0%}" for word, share in worst)
        lines.append(f"words of {name} that point elsewhere: {mean:.0%} ({said})")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Probe as the command line says; an error is one sentence on stderr and exit code 1."""
    args = parse_arguments(argv)
    try:
        result = probe(args.checkpoints, args.data)
        args.json.parent.mkdir(parents=True, exist_ok=True)
        write_text(args.json, json.dumps(result, indent=1) + "\n")
    except VlaError as error:
        print(f"training.evidence.probe: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"training.evidence.probe: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    print(table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
