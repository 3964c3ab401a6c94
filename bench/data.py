"""How fast bags become a dataset, and a dataset becomes batches; and what peers need for the same.

    python -m bench.data                      ours alone, some minutes
    python -m bench.data --peers --large      every row, in one go: about an hour and a half
    python -m bench.data --verdicts           what LeRobot and validators say of what is written
    python -m bench.data --only loader doctor some parts; doctor writes a bag of 3 GB

Parts are measured one after the other, and each is printed and kept in bench/results as
data_PART.json as soon as it is done; one that fails is named, and the others go on. Everybody gets
the same `--cores` of the machine, nothing else runs on them meanwhile, and there are as many bags
as cores. With several, a peer is tried as one process, whose encoder takes all cores, and as a
process a bag into datasets of their own, which nobody has to join; the faster is measured, in turn
with ours. Its quality is set to that of our pictures: the coarsest crf within 0.5 dB, found on the
first seconds. Compared is brightness: their videos halve the resolution of colours, which no crf
makes good.

--peers makes environments of the peers in the user's cache folder ($XDG_CACHE_HOME/vla_ros_bench).
--large converts a bag of 10 GB, written under --folder, tells its peak memory, and has the doctor
read it.
"""

import argparse
import importlib.metadata
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import cv2

from bench import _data_commands as do
from bench import _data_peers as peers
from bench._data_against import Recordings, median_run
from bench._data_bags import CAMERAS, write_bag
from bench._data_commands import SIZE, Command
from bench._data_loader import peer_row, training_rows, window_rows
from bench._data_verdicts import tell
from bench._report import Row, save, show
from training.recordings.bags import Bag
from vla_ros.policy.pictures import dataset_jpeg

RESULTS = Path(__file__).parent / "results"
PARTS = ("own", "loader", "training", "doctor")
PEER_PARTS = ("lerobot", "streaming", "forge", "reader")


class Bench:
    """The recordings of one run, and what one part leaves for another."""

    def __init__(self, folder: Path, args: argparse.Namespace):
        self.folder, self.args = folder, args
        self.seconds, self.repeats = (4.0, 1) if args.quick else (60.0, args.repeats)
        self.cores = len(os.sched_getaffinity(0))
        self.made = Recordings(folder, self.seconds, self.cores, self.repeats)
        self._windows_per_s = 0.0

    def own(self) -> list[Row]:
        """Return what conversion costs by itself."""
        contenders = {"ours-one": self.made.ours(1)}
        if self.cores > 1:
            contenders["ours-all"] = self.made.ours(self.cores)
        runs: dict[str, list[do.Run]] = {name: [] for name in contenders}
        bare: list[float] = []
        for repeat in range(self.repeats):
            for name, found in do.alternate(contenders, self.folder / f"own-{repeat}", 1).items():
                runs[name] += found
            bare.append(self._bare_s())
        one = median_run(runs["ours-one"])
        bare_s = statistics.median(bare)
        over = one.wall_s / bare_s
        every = [median_run(found).wall_s for name, found in runs.items() if name != "ours-one"]
        out = self.folder / "own-0" / "ours-one-0"
        what = f"{self.seconds:g} s of 2 cameras 640x480 at 30 Hz to {SIZE} px"
        return [
            Row(f"convert {what}, 1 worker", "s", one.wall_s),
            *(Row(f"convert, {self.cores} workers on as many bags", "s", s) for s in every),
            Row("bare decode, resize and encode of the same pictures", "s", bare_s),
            Row("1 worker over the bare cost", "x", over, goal="≤ 1.5", met=over <= 1.5),
            Row("PSNR against the source resized", "dB", do.quality(out, self.made.paths).rgb_db),
            Row("size of the dataset", "MB", do.size_mb([out])),
            Row("CPU time, 1 worker", "s", one.cpu_s),
            Row("peak memory, 1 worker", "MB", one.peak_mb),
        ]

    def _bare_s(self) -> float:
        """Return how long decoding, resizing and encoding of all pictures takes, in one core."""
        cv2.setNumThreads(1)
        spent = 0.0
        for path in self.made.paths:
            with Bag(path) as bag:
                for camera in CAMERAS:
                    for _, data in bag.pictures(camera):
                        start = time.perf_counter()
                        dataset_jpeg(data, SIZE, "bench")
                        spent += time.perf_counter() - start
        return spent

    def lerobot(self) -> list[Row]:
        """Return how we compare with LeRobot's writer that encodes afterwards."""
        return self.made.against_writer(peers.LEROBOT, "writer fed from the bag", 20.0)

    def streaming(self) -> list[Row]:
        """Return how we compare with LeRobot's writer that encodes on the way."""
        return self.made.against_writer(peers.STREAMING, "streaming encoder", 5.0)

    def forge(self) -> list[Row]:
        """Return how we compare with forge."""
        return self.made.against_forge()

    def loader(self) -> list[Row]:
        """Return how fast random windows come, alone."""
        rows = window_rows(self.made.dataset(), 50 if self.args.quick else 500)
        self._windows_per_s = rows[-1].ours
        return rows

    def reader(self) -> list[Row]:
        """Return how fast LeRobot's reader gives the same windows, of the same dataset."""
        ours = self._windows_per_s or self.loader()[-1].ours
        return [
            peer_row(peer, self.made.dataset(images), ours, images, self.repeats)
            for peer in (peers.LEROBOT, peers.STREAMING)
            for images in ("jpeg", "video")
        ]

    def training(self) -> list[Row]:
        """Return what a step of training waits for its batch."""
        return training_rows(
            self.made.dataset(), self.folder / "stage1", 5 if self.args.quick else 60
        )

    def doctor(self) -> list[Row]:
        """Return how fast the doctor reads what pictures need not be decoded of."""
        bags = self.folder / "examined"
        self._write_long(bags, 3.0)
        return [self._doctor_row(bags)]

    def _write_long(self, bags: Path, gigabytes: float) -> float:
        """Write one bag of about that size; returns its true one [GB]."""
        if self.args.quick:
            gigabytes = 0.05
        trial = write_bag(bags / "trial", 2.0) / 2.0
        shutil.rmtree(bags / "trial")
        return write_bag(bags / "play-0", gigabytes * 1e9 / trial, cycle_s=20.0) / 1e9

    def _doctor_row(self, bags: Path) -> Row:
        size = sum(file.stat().st_size for file in bags.rglob("*.mcap")) / 1e9
        command = [sys.executable, "-m", "training.doctor", str(bags), "--images", "none"]
        command += ["--quiet", "--workers", "1", "--json", str(self.folder / "report.json")]
        # 1: the verdict is "usable with warnings"; the recordings have no calibration.
        times = [do.run([Command(command)], (0, 1)).wall_s for _ in range(3)]
        rate = size / statistics.median(times)
        what = f"doctor, {size:.2g} GB of MCAP, with start of Python"
        return Row(what, "GB/s", rate, None, None, "≥ 1", rate >= 1)

    def large(self) -> list[Row]:
        """Return the peak memory of converting one long bag, and how fast the doctor reads it."""
        bags = self.folder / "large"
        size = self._write_long(bags, 10.0)
        found = do.run([Command(do.convert_command(bags, self.folder / "large-out", 1))])
        what = f"peak memory of converting a bag of {size:.1f} GB"
        memory = Row(what, "MB", found.peak_mb, goal="≤ 500", met=found.peak_mb <= 500)
        rate = Row("the same, bag read", "MB/s", 1000 * size / found.wall_s)
        return [memory, rate, self._doctor_row(bags)]


def _versions(with_peers: bool) -> dict[str, str]:
    packages = ("rosbags", "numpy", "pyarrow", "simplejpeg")
    versions = {package: importlib.metadata.version(package) for package in packages}
    names = [peer.name for peer in (peers.LEROBOT, peers.STREAMING, peers.FORGE)]
    return versions | {name: name.rpartition("-")[2] for name in names if with_peers}


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="4 seconds of recording, one repeat: does it run?")
    add("--peers", action="store_true", help="also what peers need")
    add("--large", action="store_true", help="also a bag of 10 GB")
    add("--verdicts", action="store_true", help="only what others say of our datasets")
    every = (*PARTS, *PEER_PARTS, "large")
    add("--only", nargs="+", choices=every, metavar="PART", help=f"of {', '.join(every)}")
    add("--repeats", type=int, default=5)
    add("--cores", type=int, default=2, help="of the machine, for everybody")
    add("--folder", type=Path, help="for what is written, 30 GB of it with --large")
    return parser.parse_args()


def main() -> int:
    """Measure, print and keep; the exit code is 1 where a part failed."""
    args = _arguments()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
    if args.folder:
        args.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench_data_", dir=args.folder) as name:
        if args.verdicts:
            RESULTS.mkdir(exist_ok=True)
            return 0 if tell(Path(name), RESULTS / "data_verdicts.json") else 1
        bench = Bench(Path(name), args)
        parts = args.only or (*PARTS, *(PEER_PARTS if args.peers else ()))
        parts = [*parts, *(["large"] if args.large and not args.only else [])]
        failed = []
        for part in parts:
            print(f"\n{part}:", flush=True)
            try:
                found = getattr(bench, part)()
            except (SystemExit, Exception) as error:
                print(f"{part} failed: {error!r}", file=sys.stderr)
                failed.append(part)
                continue
            show(found)
            if not args.quick:
                save(f"data_{part}", found, _versions(args.peers or part in PEER_PARTS))
    print(f"\n{len(parts)} parts; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
