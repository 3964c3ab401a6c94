"""Tells whether recordings are fit to learn from: `python -m training.doctor BAGS...`.

BAGS are bag folders or folders of them: MCAP or sqlite3, compressed or not, split, without
metadata, or cut off by a kill. None is ever changed. Each is read once; of the pictures only a
sample is decoded (--images).

Every bag gets a verdict, and every finding says what to do:
  good                  nothing to do
  usable with warnings  convert takes it; look at the findings first
  unusable              convert refuses it, or what it would make of it is worthless
  unreadable            nothing can be read
The exit code is that of the worst bag: 0, 1, 2, 2. Findings marked "note" change no verdict.

Looked at, topic by topic: rate, gaps, jitter, order, duplicates, clock resets, delay from stamp to
arrival with its drift, and the counts of the recorder; skew and overlap between streams; joint
states by the filter that the live nodes use (failed reads of -pi, NaN, impossible jumps); pictures
(cut off, broken, frozen); the episode with its task. Topics that no dataset needs get notes only.

These limits make a warning, or a bag unusable:
{limits}
Besides, any duplicate, message out of order, clock reset, damaged message, lost piece of a file,
or count of lost messages is a warning; so is a demonstration without task. A bag without joint
states, camera or exactly one episode is unusable, as is a needed topic of another type.

Examples:
  python -m training.doctor rosbags                     every bag below, as a table
  python -m training.doctor rosbags --html report.html  with pictures of gaps, delays and rates
  python -m training.doctor BAG --images all            decode every picture
  python -m training.doctor BAG --source other.yaml     another robot's topics, see docs/data.md
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from tqdm import tqdm

from training.datasets.files import write_text
from training.datasets.side_by_side import Say, side_by_side
from training.inspection.doctor_bag import IMAGES, examine
from training.inspection.doctor_page import page
from training.inspection.doctor_report import EXIT_CODES, BagReport, DoctorLimits, limits_text
from training.inspection.doctor_table import bag_text, table
from training.recordings.bags import find_bags
from training.recordings.source import Source, load_source, vla_source
from vla_ros.core.errors import VlaError

REPORT_VERSION = 1
# More threads than this wait for the one that looks through what they unpack.
_MOST_THREADS = 4


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        prog="training.doctor",
        description=__doc__.replace("{limits}", limits_text(DoctorLimits())),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("bags", type=Path, nargs="+", help="bag folders, or folders of bags")
    add("--source", type=Path, help="YAML file that says what a foreign recording calls its topics")
    add("--robot-name", default="wx250s", help="namespace of the arm's topics, without --source")
    add("--images", choices=IMAGES, default="sample", help="which pictures to decode")
    add("--workers", type=int, default=os.cpu_count() or 1, help="bags at the same time")
    add("--json", type=Path, metavar="FILE", help="write all that was found, for programs")
    add("--html", type=Path, metavar="FILE", help="write a page with plots, in one file")
    add("--quiet", action="store_true", help="print the table only, not the findings")
    return parser.parse_args(argv)


def examine_bags(
    paths: list[Path],
    source: Source,
    images: str = "sample",
    limits: DoctorLimits | None = None,
    workers: int = 1,
    has_plots: bool = False,
) -> Iterator[BagReport]:
    """Yield the report of each bag, as they are done, with a progress bar.

    A bag that ends its process, whatever the reason, is one unreadable bag.
    """
    sizes = {path: _size(path) for path in paths}
    threads = max(1, min(_MOST_THREADS, (os.cpu_count() or 1) // max(1, workers)))
    # Threads beyond the processor's do no harm: they wait for the disk, too.
    job = partial(
        examine,
        source=source,
        images=images,
        limits=limits or DoctorLimits(),
        threads=max(2, threads),
        has_plots=has_plots,
    )
    with tqdm(
        desc="doctor", total=sum(sizes.values()), unit="B", unit_scale=True, disable=None
    ) as bar:
        told: dict[Path, int] = {}

        def say(path: Path, _: str, number: int) -> None:
            # Compressed files hold more bytes than they have.
            step = min(number, sizes[path] - told.get(path, 0))
            told[path] = told.get(path, 0) + step
            bar.update(step)

        for number, (path, found) in enumerate(_reports(paths, job, workers, say), 1):
            say(path, "bytes", sizes[path])
            bar.set_postfix_str(f"{len(paths) - number} bags left")
            yield BagReport.unreadable(str(path), found) if isinstance(found, str) else found


def _reports(
    paths: list[Path], job: partial, workers: int, say: Say
) -> Iterator[tuple[Path, BagReport | str]]:
    if len(paths) == 1:
        return iter([(paths[0], job(paths[0], say=say))])
    # In processes even if it is one at a time: what kills it must not end the others.
    return side_by_side(paths, job, max(1, workers), say)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir() if file.is_file())


def to_json(reports: list[BagReport], limits: DoctorLimits) -> str:
    """Return the reports as JSON."""
    found = {
        "version": REPORT_VERSION,
        "limits": asdict(limits),
        "bags": [report.to_dict() for report in reports],
    }
    return json.dumps(found, indent=1, ensure_ascii=False)


def main(argv: list[str] | None = None) -> int:
    """Examine as the command line says and return the exit code of the worst bag.

    What keeps all from being examined is one sentence on stderr and exit code 2.
    """
    args = parse_arguments(argv)
    limits = DoctorLimits()
    try:
        source = load_source(args.source) if args.source else vla_source(args.robot_name)
        paths = find_bags(args.bags)
        found = list(
            examine_bags(paths, source, args.images, limits, args.workers, bool(args.html))
        )
        order = {str(path): place for place, path in enumerate(paths)}
        reports = sorted(found, key=lambda report: order[report.path])
        if not args.quiet:
            print("\n".join(bag_text(report) for report in reports))
        print(table(reports))
        if args.json:
            write_text(args.json, to_json(reports, limits))
        if args.html:
            write_text(args.html, page(reports, limits))
    except VlaError as error:
        print(f"training.doctor: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"training.doctor: {error.filename} cannot be written ({error.strerror or error}); "
            "give another file",
            file=sys.stderr,
        )
        return 2
    return max(EXIT_CODES[report.verdict] for report in reports)


if __name__ == "__main__":
    sys.exit(main())
