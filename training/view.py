"""Look at an episode: `python -m training.view DATASET|BAG [--episode N]` writes a PNG.

The PNG has a film strip a camera, with the tool's way of the next second where the camera is
calibrated, and below it joints and gripper (dashed: commanded), the motion that actions are made
of, and how old the pictures were. Where a bag yields no frame, the plots are yellow.

A bag is shown as it was recorded, with the frames that training.convert would make of it. Foxglove
opens its MCAP file directly, and --rerun writes a recording for Rerun's viewer.
"""

import argparse
import sys
from pathlib import Path

from training.inspection.view_bag import bag_scene
from training.inspection.view_dataset import dataset_scene
from training.inspection.view_page import save_page
from training.inspection.view_rerun import save_recording
from training.inspection.view_scene import Scene
from training.recordings.bags import find_bags
from training.recordings.source import load_source, vla_source
from vla_ros.core.errors import BagError, VlaError


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="training.view",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("path", type=Path, help="dataset folder, bag folder, or folder of bags")
    add(
        "--episode", type=int, default=0, help="which one, from 0; bags in the order of their names"
    )
    add("--out", type=Path, help="PNG to write; default: named like the episode, in this folder")
    add("--rerun", type=Path, metavar="FILE", help="also write this .rrd; needs rerun-sdk")
    add("--camera", nargs="+", default=[], help="cameras to show; default: all")
    add("--frames", type=_count, default=8, help="pictures in a film strip")
    add("--rate", type=float, default=5.0, help="frames a second of a bag [Hz]")
    add("--source", type=Path, help="YAML file that says what a foreign recording calls its topics")
    add("--robot-name", default="wx250s", help="namespace of the arm's topics, without --source")
    return parser.parse_args(argv)


def _count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= 24:
        raise argparse.ArgumentTypeError(f"must be 1 to 24, got {count}")
    return count


def read_scene(args: argparse.Namespace) -> Scene:
    """Return the episode that the command line names.

    Raises:
        VlaError: there is none, or it cannot be read.
    """
    if (args.path / "meta/info.json").exists():
        return dataset_scene(args.path, args.episode, args.camera)
    bags = find_bags([args.path])
    if not 0 <= args.episode < len(bags):
        raise BagError(
            f"{args.path} holds {len(bags)} bags, and number {args.episode} is none of them; "
            "choose another --episode"
        )
    source = load_source(args.source) if args.source else vla_source(args.robot_name)
    return bag_scene(bags[args.episode], source, args.camera, args.rate)


def default_out(scene: Scene) -> Path:
    """Return the PNG's name where none is given."""
    kept = [c if c.isalnum() or c in "-_" else "-" for c in scene.title.replace(", ", "-")]
    return Path("".join(kept) + ".png")


def main(argv: list[str] | None = None) -> int:
    """Write what the command line asks for; an error is one sentence and exit code 1."""
    args = parse_arguments(argv)
    try:
        scene = read_scene(args)
        out = args.out or default_out(scene)
        save_page(scene, out, args.frames)
        print(f"{scene.title}: {len(scene.frame_times_s)} frames, written to {out}")
        if args.rerun:
            save_recording(scene, args.rerun)
            print(f"{args.rerun}: open it with `rerun {args.rerun}`")
    except VlaError as error:
        print(f"training.view: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
