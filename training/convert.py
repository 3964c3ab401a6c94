"""Bags to a dataset: `python -m training.convert BAGS... --out DATASET`.

BAGS are bag folders or folders of them. Every bag becomes one or more episodes of frames at the
contract's rate, resampled by header stamp. `action` is the motion that --label names; the others
stand beside it. A bag that cannot be used is named and left out, a frame that no stream can vouch
for is dropped and listed, and a recording is cut in two there.

Each bag's frames are kept in OUT/.shards. The same command again goes on where it was cut off, or
adds the bags that are new: the result has the same bytes as if all were converted at once. Remove
OUT/.shards when no more bags will come.

Who learns from what, by rule: play, and policy roll-outs with whatever outcome, go to Stage 1, and
so do demonstrations that failed; demonstrations that succeeded go to Stage 2. A dataset may hold
all of them: each episode carries its kind and its outcome, and the training scripts choose.
"""

import argparse
import os
import sys
from pathlib import Path

from training.datasets.assembly import IMAGES, assemble
from training.datasets.bag_shard import Settings
from training.datasets.dataset_provenance import provenance_of
from training.datasets.frames import MaxAge
from training.datasets.labels import LABELS, label_contract
from training.datasets.progress import Progress
from training.datasets.shard import Shard, dropped_counts
from training.datasets.shard_folder import (
    Refusal,
    discard,
    forget_changed,
    note_place,
    opened,
    read_shards,
)
from training.datasets.video import CODECS, DEFAULT_CODEC
from training.datasets.workers import Done, convert_side_by_side
from training.recordings.bags import find_bags
from training.recordings.source import load_source, vla_source
from vla_ros.core.contract import Contract
from vla_ros.core.errors import BagError, DatasetError, VlaError


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="training.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    age = MaxAge()
    add = parser.add_argument
    add("bags", type=Path, nargs="+", help="bag folders, or folders of bags")
    add("--out", type=Path, required=True, help="dataset folder to make or to add to")
    add("--camera", nargs="+", default=["front"], help="cameras to take, the main one first")
    add("--image-size", type=int, default=128, help="side of the pictures [px]")
    add("--rate", type=float, default=5.0, help="frames a second [Hz]")
    add("--label", choices=LABELS, default="reached", help="motion that `action` is")
    add("--source", type=Path, help="YAML file that says what a foreign recording calls its topics")
    add("--robot-name", default="wx250s", help="namespace of the arm's topics, without --source")
    add("--images", choices=IMAGES, default="jpeg", help="how pictures are kept")
    add("--codec", choices=CODECS, default=DEFAULT_CODEC, help="of --images video")
    add("--max-image-age", type=float, default=age.image_s, help="[s]")
    add("--max-joint-age", type=float, default=age.joints_s, help="[s]")
    add("--max-command-age", type=float, default=age.commanded_s, help="[s]")
    add("--workers", type=int, default=os.cpu_count() or 1, help="bags at the same time")
    add("--ray", metavar="ADDRESS", help="convert on this Ray cluster; needs the extra `ray`")
    return parser.parse_args(argv)


def settings_of(args: argparse.Namespace) -> Settings:
    """Return what the command line says of frames.

    Raises:
        ContractError: the source file is wrong, or what it names cannot give the label.
    """
    source = load_source(args.source) if args.source else vla_source(args.robot_name)
    contract = label_contract(
        args.label,
        tuple(args.camera),
        args.image_size,
        args.rate,
        source.robot_model,
        len(source.joints.names),
    )
    age = MaxAge(args.max_image_age, args.max_joint_age, args.max_command_age)
    return Settings(contract, age, args.label, source)


def convert(
    bag_paths: list[Path],
    out: Path,
    contract: Contract,
    max_age: MaxAge,
    workers: int = 1,
    **more,
) -> dict:
    """Write the dataset `out` of the bags with this package's layout; see `convert_bags`."""
    return convert_bags(bag_paths, out, Settings(contract, max_age), workers, **more)


def convert_bags(
    bag_paths: list[Path],
    out: Path,
    settings: Settings,
    workers: int = 1,
    images: str = "jpeg",
    codec: str = DEFAULT_CODEC,
    ray_address: str | None = None,
) -> dict:
    """Write the dataset `out` of these bags and of those converted to it before.

    Returns:
        info.json, with "failed" added: bags that may do another time, as (path, reason).

    Raises:
        VlaError: `out` cannot be written to or is of another contract or other options, or no bag
            yields a frame. What was converted is kept.
    """
    out = Path(out)
    # One order, so that reports do not depend on how the paths were given.
    bag_paths = sorted(dict.fromkeys(path.resolve() for path in bag_paths))
    pictures = {"images": images, **({"codec": codec} if images == "video" else {})}
    options = {**settings.options, **pictures}
    count = 0
    try:
        with opened(out, settings.contract, options) as folder:
            done: list[Done] = []
            for one in _converted(bag_paths, folder, settings, workers, ray_address):
                done.append(one)
                if one.key is not None:
                    count += 1
                    note_place(folder, str(one.path), one.key)
            for where in forget_changed(folder):
                print(f"{where} has changed since: its frames are replaced", file=sys.stderr)
            shards, refusals = read_shards(folder, {one.key for one in done if one.key})
            failed = [(d.path, d.failure) for d in done if d.key is None]
            if not any(shard.facts.num_frames for shard in shards):
                # Nothing is lost by it, and the next try is free to have other options.
                discard(out)
                raise _no_frames(out, shards, refusals, failed)
            provenance = provenance_of(shards, refusals, options)
            info = assemble(out, settings.contract, shards, provenance, images, codec, workers)
            return {**info, "failed": failed}
    except OSError as error:
        raise DatasetError(
            f"{out} cannot be written ({error.strerror or error}) after {count} of "
            f"{len(bag_paths)} bags; what was converted is kept: free space or give access, then "
            "run the same command again"
        ) from None


def _converted(bag_paths, folder, settings, workers, ray_address):
    """Yield what became of each bag, with a progress bar; raises OSError if the disk refuses."""
    with Progress(bag_paths) as progress:
        if ray_address is None:
            found = convert_side_by_side(bag_paths, folder, settings, workers, progress.say)
        else:
            from training.datasets.ray_workers import convert_on_ray

            found = convert_on_ray(bag_paths, folder, settings, ray_address, progress.say)
        for done in found:
            progress.bag_done(done.path)
            if done.is_disk:
                raise OSError(done.failure)
            if done.key is None:
                progress.write(f"left out for now: {done.path}: {done.failure}")
            yield done


def _no_frames(
    out: Path, shards: list[Shard], refusals: list[Refusal], failed: list[tuple[Path, str]]
) -> VlaError:
    reasons = [refusal.reason for refusal in refusals]
    reasons += [f"{path}: {reason}" for path, reason in failed]
    if reasons and not shards:
        return BagError(f"none of {len(reasons)} bags can be used; {reasons[0]}")
    return DatasetError(
        f"no frame to write to {out}: {dropped_counts(shards) or 'no usable bag'}; check the bags' "
        "topics and stamps"
    )


def summary(info: dict) -> str:
    """Return one line on what was written and what was not."""
    provenance = info["vla_ros"]["provenance"]
    dropped = ", ".join(f"{count} {reason}" for reason, count in provenance["dropped"].items())
    left_out = len(provenance["skipped_bags"]) + len(info["failed"])
    return (
        f"{info['total_episodes']} episodes, {info['total_frames']} frames at {info['fps']} Hz, "
        f"{info['total_tasks']} tasks from {len(provenance['bags'])} bags; "
        f"{left_out} bags left out; dropped: {dropped or 'nothing'}"
    )


def main(argv: list[str] | None = None) -> int:
    """Convert as the command line says.

    An error is one sentence on stderr and exit code 1; so are bags that may do another time.
    """
    args = parse_arguments(argv)
    try:
        info = convert_bags(
            find_bags(args.bags),
            args.out,
            settings_of(args),
            args.workers,
            args.images,
            args.codec,
            args.ray,
        )
    except VlaError as error:
        print(f"training.convert: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "training.convert: stopped; what was converted is kept: run the same command again",
            file=sys.stderr,
        )
        return 130
    for row in info["vla_ros"]["provenance"]["skipped_bags"]:
        print(f"left out: {row['bag']}: {row['reason']}", file=sys.stderr)
    for row in info["vla_ros"]["provenance"]["bags"]:
        if row["lost"]:
            print(f"lost: {row['bag']}: {'; '.join(row['lost'])}", file=sys.stderr)
    print(f"{args.out}: {summary(info)}")
    if info["failed"]:
        print(
            f"training.convert: {len(info['failed'])} bags failed for reasons that are not in "
            "them; run the same command again",
            file=sys.stderr,
        )
    return 1 if info["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
