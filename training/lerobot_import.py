"""A LeRobot dataset as training data.

`python -m training.lerobot_import DATASET --map FILE --out OUT`: DATASET is a folder in the layout
v2.0, v2.1 or v3.0, pictures as images or video. FILE says what its columns mean (docs/data.md). OUT
is a dataset as training.convert writes it. Nothing is guessed: a frame whose motion the dataset
does not tell is dropped and counted, and cuts its episode in two; an episode that cannot be read is
left out and named. Run again after a stop: it goes on where it was.
"""

import argparse
import os
import sys
from pathlib import Path

from tqdm import tqdm

from training.datasets.assembly import IMAGES, assemble
from training.datasets.dataset_provenance import provenance_of
from training.datasets.labels import LABELS, label_contract
from training.datasets.shard import dropped_counts
from training.datasets.shard_folder import discard, opened, read_shards
from training.datasets.video import CODECS, DEFAULT_CODEC, require_av
from training.lerobot.episode_shard import ImportSettings, import_side_by_side
from training.lerobot.map_file import load_mapping
from training.lerobot.motion import require_label
from training.lerobot.source import LerobotSource
from vla_ros.core.errors import DatasetError, VlaError


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="training.lerobot_import",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("dataset", type=Path, help="folder that holds meta/info.json")
    add("--map", type=Path, required=True, help="YAML file that says what the columns mean")
    add("--out", type=Path, required=True, help="dataset folder to make")
    add("--image-size", type=int, default=128, help="side of the pictures [px]")
    add("--rate", type=float, help="frames a second; the dataset's own, or a part of it [Hz]")
    add("--label", choices=LABELS, default="reached", help="motion that `action` is")
    add("--images", choices=IMAGES, default="jpeg", help="how pictures are kept")
    add("--codec", choices=CODECS, default=DEFAULT_CODEC, help="of --images video")
    add("--workers", type=int, default=os.cpu_count() or 1, help="episodes at the same time")
    return parser.parse_args(argv)


def settings_of(
    source: LerobotSource, map_file: Path, label: str, image_size: int, rate_hz: float | None
) -> ImportSettings:
    """Return what shapes the frames of an import.

    Raises:
        ContractError: the map is wrong, or does not tell the label's motion.
        DatasetError: the rate is no part of the dataset's.
    """
    mapping = load_mapping(map_file, source.features)
    require_label(mapping, label)
    rate_hz = source.fps if rate_hz is None else rate_hz
    stride = round(source.fps / rate_hz) if rate_hz > 0 else 0
    if stride < 1 or abs(stride * rate_hz - source.fps) > 1e-6:
        raise DatasetError(
            f"{source.path} has {source.fps:g} frames a second, of which {rate_hz:g} are no whole "
            "part; choose another --rate, for frames are left out and never made up"
        )
    contract = label_contract(
        label,
        tuple(mapping.cameras),
        image_size,
        rate_hz,
        mapping.robot_model,
        len(mapping.state.joints.axes),
    )
    return ImportSettings(contract, mapping, label, stride, source.sha256())


def import_dataset(
    source: LerobotSource,
    out: Path,
    settings: ImportSettings,
    images: str = "jpeg",
    codec: str = DEFAULT_CODEC,
    workers: int = 1,
) -> dict:
    """Write the dataset `out` of all episodes and return its info.json.

    Raises:
        VlaError: `out` cannot be written to or is of another contract or other options, the dataset
            cannot be read now, or no episode yields a frame.
    """
    columns = settings.mapping.cameras.values()
    if any(source.features[column]["dtype"] == "video" for column in columns):
        require_av()
    pictures = {"images": images, **({"codec": codec} if images == "video" else {})}
    options = {**settings.options, **pictures}
    try:
        with opened(Path(out), settings.contract, options) as folder:
            done = import_side_by_side(source, folder, settings, workers)
            total = len(source.episodes)
            for _ in tqdm(done, desc="import", total=total, unit="episode", disable=None):
                pass
            shards, refusals = read_shards(folder)
            if not any(shard.facts.num_frames for shard in shards):
                # Nothing is lost by it, and the next try is free to have other options.
                discard(Path(out))
                why = f"none of {len(refusals)} episodes can be used; " if not shards else ""
                why += refusals[0].reason if refusals else f"no frame, but {dropped_counts(shards)}"
                raise DatasetError(why)
            provenance = provenance_of(shards, refusals, options)
            return assemble(
                Path(out), settings.contract, shards, provenance, images, codec, workers
            )
    except OSError as error:
        raise DatasetError(
            f"{out} cannot be written ({error.strerror or error}); what was imported is kept: "
            "free space or give access, then run the same command again"
        ) from None


def main(argv: list[str] | None = None) -> int:
    """Import as the command line says; an error is one sentence on stderr and exit code 1."""
    args = parse_arguments(argv)
    try:
        source = LerobotSource(args.dataset)
        settings = settings_of(source, args.map, args.label, args.image_size, args.rate)
        pictures = args.images, args.codec
        info = import_dataset(source, args.out, settings, *pictures, args.workers)
    except VlaError as error:
        print(f"training.lerobot_import: {error}", file=sys.stderr)
        return 1
    provenance = info["vla_ros"]["provenance"]
    for row in provenance["skipped_bags"]:
        print(f"left out: {row['bag']}: {row['reason']}", file=sys.stderr)
    dropped = ", ".join(f"{count} {reason}" for reason, count in provenance["dropped"].items())
    print(
        f"{args.out}: {info['total_episodes']} episodes, {info['total_frames']} frames at "
        f"{info['fps']} Hz, {info['total_tasks']} tasks; "
        f"{len(provenance['skipped_bags'])} episodes left out; dropped: {dropped or 'nothing'}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
