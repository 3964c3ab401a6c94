"""Bags to a dataset: `python -m training.convert BAGS... --out DATASET`.

BAGS are bag folders or folders of them. Every bag becomes one or more episodes of frames at the
contract's rate, resampled by header stamp. Labels are reached displacements (TAP); the commanded
ones stand beside them. A bag that cannot be used is named and left out, a frame that no stream can
vouch for is dropped and counted, and a recording is cut in two there.
"""

import argparse
import sys
from collections import Counter
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
from tqdm import tqdm

from training.bags import (
    COMMANDED_TOPIC,
    EPISODE_TOPIC,
    Bag,
    bag_label,
    find_bags,
    image_topic,
)
from training.dataset_writer import DatasetWriter
from training.frames import MIN_FRAMES, MaxAge, Segment, Streams, segments_from_streams
from training.provenance import code_version
from vla_ros.core.contract import Contract, tap_contract
from vla_ros.core.episode import EpisodeEvent
from vla_ros.core.errors import BagError, ContractError, VlaError
from vla_ros.policy.pictures import decode_jpeg, encode_jpeg, resize_rgb

JPEG_QUALITY = 95


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="training.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    age = MaxAge()
    parser.add_argument("bags", type=Path, nargs="+", help="bag folders, or folders of bags")
    parser.add_argument("--out", type=Path, required=True, help="dataset folder to make")
    parser.add_argument("--camera", default="front", help="camera whose pictures to take")
    parser.add_argument("--image-size", type=int, default=128, help="side of the pictures [px]")
    parser.add_argument("--rate", type=float, default=5.0, help="frames a second [Hz]")
    parser.add_argument("--robot-name", default="wx250s", help="namespace of the arm's topics")
    parser.add_argument("--max-image-age", type=float, default=age.image_s, help="[s]")
    parser.add_argument("--max-joint-age", type=float, default=age.joints_s, help="[s]")
    parser.add_argument("--max-command-age", type=float, default=age.commanded_s, help="[s]")
    return parser.parse_args(argv)


def convert(
    bag_paths: list[Path],
    out: Path,
    contract: Contract,
    max_age: MaxAge,
    robot_name: str = "wx250s",
) -> dict:
    """Write the dataset `out` of the bags and return its info.json.

    Raises:
        VlaError: `out` exists, or no bag yields a frame.
    """
    writer = DatasetWriter(out, contract)
    rows: list[dict] = []
    skipped: list[dict] = []
    try:
        for path in tqdm(bag_paths, desc="convert", unit="bag"):
            try:
                rows.append(_convert_bag(path, writer, max_age, robot_name))
            except BagError as error:
                skipped.append({"bag": bag_label(path), "reason": str(error)})
                tqdm.write(f"left out: {error}", file=sys.stderr)
        dropped = sum((Counter(row["dropped"]) for row in rows), Counter())
        if skipped and not rows:
            raise BagError(f"none of {len(bag_paths)} bags can be used; {skipped[0]['reason']}")
        return writer.finish(
            {
                "bags": rows,
                "skipped_bags": skipped,
                "dropped": dict(dropped),
                "options": {"max_age": asdict(max_age), "robot_name": robot_name},
                "code_version": code_version(),
            }
        )
    except BaseException:
        writer.abort()
        raise


def _convert_bag(path: Path, writer: DatasetWriter, max_age: MaxAge, robot_name: str) -> dict:
    """Add the bag's episodes to `writer` and return its row of the provenance."""
    contract = writer.contract
    with Bag(path, robot_name) as bag:
        bag.require_topics(
            EPISODE_TOPIC, image_topic(contract.camera), bag.joint_topic, COMMANDED_TOPIC
        )
        start, end = _events(bag)
        streams, refused = read_streams(bag, contract.camera, max_age)
    segments, dropped = segments_from_streams(streams, contract)
    dropped.update(refused)
    num_frames = 0
    for segment in segments:
        for piece, pictures in _readable_pieces(segment, contract, path, dropped):
            facts = {
                "bag": bag_label(path),
                "kind": start.kind,
                "success": None if end is None else end.success,
                "reason": "no end event" if end is None else end.reason,
            }
            writer.add_episode(piece, pictures, start.task, facts)
            num_frames += len(pictures)
    return {
        "bag": bag_label(path),
        "kind": start.kind,
        "task": start.task,
        "frames": num_frames,
        "dropped": dict(dropped),
    }


def _events(bag: Bag) -> tuple[EpisodeEvent, EpisodeEvent | None]:
    events = bag.episode_events()
    starts = [event for event in events if event.event == "start"]
    ends = [event for event in events if event.event == "end"]
    if len(starts) != 1 or len(ends) > 1:
        raise BagError(
            f"bag {bag.path} must hold one episode, got {len(starts)} start and {len(ends)} end "
            f"events on {EPISODE_TOPIC}; leave it out"
        )
    return starts[0], ends[0] if ends else None


def read_streams(bag: Bag, camera: str, max_age: MaxAge) -> tuple[Streams, Counter]:
    """Return the bag's streams (images as JPEG bytes) and the count of refused joint states."""
    streams = Streams.empty(max_age)
    refused: Counter = Counter()
    streams.joints.extend(bag.believed_joints(refused))
    streams.commanded.extend(bag.commanded())
    streams.images.extend(bag.jpegs(camera))
    return streams, refused


def _readable_pieces(
    segment: Segment, contract: Contract, bag: Path, dropped: Counter
) -> list[tuple[Segment, list[np.ndarray]]]:
    """Return the segment, cut where a picture cannot be decoded, with pictures at dataset size.

    A JPEG that has the dataset's size is kept byte for byte; another is resized and encoded again.
    """
    size = contract.image.shape[0]
    pictures: list[np.ndarray | None] = []
    jpegs: list[bytes] = []
    for tick_ns, data in zip(segment.ticks_ns, segment.images, strict=True):
        try:
            picture = decode_jpeg(data, f"{contract.camera} at {tick_ns} ns in bag {bag}")
        except ContractError:
            dropped["unreadable image"] += 1
            pictures.append(None)
            jpegs.append(b"")
            continue
        small = resize_rgb(picture, size)
        is_kept = small is picture and data[:2] == b"\xff\xd8"
        pictures.append(small)
        jpegs.append(data if is_kept else encode_jpeg(small, JPEG_QUALITY))
    breaks = [-1, *(i for i, p in enumerate(pictures) if p is None), len(pictures)]
    pieces = []
    for before, after in pairwise(breaks):
        part = slice(before + 1, after)
        kept = [p for p in pictures[part] if p is not None]
        if len(kept) >= MIN_FRAMES:
            pieces.append((segment.cut(part, jpegs[part]), kept))
        elif kept:
            dropped["too short a piece"] += len(kept)
    return pieces


def summary(info: dict) -> str:
    """Return one line on what was written and what was not."""
    provenance = info["vla_ros"]["provenance"]
    dropped = ", ".join(f"{count} {reason}" for reason, count in provenance["dropped"].items())
    return (
        f"{info['total_episodes']} episodes, {info['total_frames']} frames at {info['fps']} Hz, "
        f"{info['total_tasks']} tasks from {len(provenance['bags'])} bags; "
        f"{len(provenance['skipped_bags'])} bags left out; dropped: {dropped or 'nothing'}"
    )


def main(argv: list[str] | None = None) -> int:
    """Convert as the command line says; an error is one sentence on stderr and exit code 1."""
    args = parse_arguments(argv)
    try:
        info = convert(
            find_bags(args.bags),
            args.out,
            tap_contract(args.camera, args.image_size, args.rate),
            MaxAge(args.max_image_age, args.max_joint_age, args.max_command_age),
            args.robot_name,
        )
    except VlaError as error:
        print(f"training.convert: {error}", file=sys.stderr)
        return 1
    print(f"{args.out}: {summary(info)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
