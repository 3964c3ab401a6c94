"""Where a policy looks: Grad-CAM on a frame as a PNG, or on an episode as a video.

    python -m training.attention ckpt/stage1 --data data/play --episode 3 --frame 20 --out look.png
    python -m training.attention ckpt/stage2 --data rosbags/demo-7 --video --out look.mp4
    python -m training.attention ckpt/stage2 --data data/demos --task "push the apple" --out b.png

Stage 1 of TAP is shown the pair (o_t, o_t+k), and each picture has its own heat. What is
differentiated by what, `vla_ros.policy.grad_cam` says; docs/methods.md too. Heat tells
what the answer hangs on, not that the answer is right: read it next to training.evaluate.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from training.datasets.video import DEFAULT_CODEC, write_video
from training.evaluate import as_datasets
from training.inspection.attention_maps import attention_maps
from training.inspection.attention_page import film, page
from training.learning.dataset import open_dataset
from training.learning.held_out import check_fit
from training.learning.open_loop_frames import Frames, frames_of
from vla_ros.core.errors import DatasetError, VlaError
from vla_ros.policy.checkpoint import Checkpoint, load_checkpoint


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="training.attention",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("checkpoint", type=Path, help="folder that a stage script wrote")
    add("--data", type=Path, required=True, help="dataset, bag or folder of bags")
    add("--episode", type=int, default=0, help="which one, from 0")
    add("--frame", type=int, default=0, help="which one of the episode, from 0")
    add("--video", action="store_true", help="the whole episode")
    add("--task", help="instruction to show Stage 2; else the recording's")
    add("--out", type=Path, required=True, help="PNG, or mp4 (VP9) with --video")
    add("--source", type=Path, help="YAML file that says what foreign bags call their topics")
    return parser.parse_args(argv)


def chosen_rows(args: argparse.Namespace, frames: Frames) -> np.ndarray:
    """Return the rows of the episode's frames that the command line names; raises DatasetError."""
    count = len(frames.labels)
    if args.video:
        return np.arange(count)
    if not 0 <= args.frame < count:
        raise DatasetError(
            f"episode {args.episode} of {args.data} has frames 0 to {count - 1} for this policy, "
            f"and {args.frame} is none of them; choose another --frame"
        )
    return np.array([args.frame])


def draw(args: argparse.Namespace, checkpoint: Checkpoint, data: Path) -> int:
    """Write what the command line asks for of a dataset; return how many frames it shows.

    Raises:
        VlaError: there is no such episode or frame, or it does not fit the policy.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dataset = open_dataset(data, checkpoint.policy.vlm.image_size, checkpoint.contract.cameras)
    check_fit(dataset, checkpoint)
    if not 0 <= args.episode < len(dataset.episodes):
        raise DatasetError(
            f"{args.data} has episodes 0 to {len(dataset.episodes) - 1}, and {args.episode} is "
            "none of them; choose another --episode"
        )
    episode = dataset.episodes[args.episode]
    frames = frames_of(checkpoint, dataset, [episode])
    if args.task is not None and checkpoint.run["stage"] == 2:
        frames.tasks = np.full(len(frames.tasks), args.task, object)
    rows = chosen_rows(args, frames)
    heat = attention_maps(checkpoint, frames, rows, device)
    pictures = np.concatenate([frames.pictures(rows[i : i + 1]) for i in range(len(rows))])
    said = "no instruction" if checkpoint.run["stage"] == 1 else f"“{frames.tasks[rows[0]]}”"
    where = f"{episode.bag}, frame"
    if args.video:
        plain = said.strip("“”")
        captions = [f"{where} {row} of {len(rows)}\n{plain}" for row in rows]
        write_video(
            args.out, film(pictures, heat, captions), DEFAULT_CODEC, round(dataset.contract.rate_hz)
        )
        return len(rows)
    is_apt = checkpoint.method == "apt"
    names = checkpoint.contract.cameras if is_apt else ("o_t", "o_t+k")[: pictures.shape[1]]
    stage = f"{checkpoint.method.upper()} Stage {checkpoint.run['stage']}"
    title = f"Grad-CAM of {stage}, {args.checkpoint.resolve().name}"
    args.out.write_bytes(page(pictures[0], heat[0], names, title, f"{said}\n{where} {rows[0]}"))
    return 1


def main(argv: list[str] | None = None) -> int:
    """Draw what the command line asks for; an error is one sentence and exit code 1."""
    args = parse_arguments(argv)
    try:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        checkpoint = load_checkpoint(args.checkpoint, device=device)
        with tempfile.TemporaryDirectory(prefix="vla_attention_") as folder:
            (data,) = as_datasets([args.data], Path(folder), checkpoint, args.source)
            count = draw(args, checkpoint, data)
        print(f"{args.out}: {count} frame{'s' if count > 1 else ''}")
    except VlaError as error:
        print(f"training.attention: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"training.attention: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
