"""How fast bags become a dataset, and a dataset becomes batches; and what peers need for the same.

python -m bench.data [--quick] [--peers] [--large]

--peers makes environments of the peers in the user's cache folder and runs them in turn with ours.
--large converts a bag of 10 GB, written under --folder, and tells its peak memory.
"""

import argparse
import importlib.metadata
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from bench import _data_peers as peers
from bench._data_bags import CAMERA_HZ, CAMERAS, write_bag
from bench._report import Row, publish
from training.learning.dataset import open_dataset
from training.learning.windows import Windows
from training.lerobot.source import LerobotSource
from training.recordings.bags import Bag
from training.recordings.messages import decoded
from vla_ros.policy.pictures import dataset_jpeg

ROOT = Path(__file__).resolve().parent.parent
SIZE = 224
BATCH, CHUNK = 32, 8
PSNR_FRAMES = 60
_PEER = str(ROOT / "bench/_data_peer_lerobot.py")


class Run(NamedTuple):
    """Time and CPU time with what it started [s], and the peak memory of one process [MB]."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def run(command: list[str], fine: tuple[int, ...] = (0,)) -> Run:
    """Run a command to its end.

    `fine`: the exit codes that are no failure.
    """
    start = time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=ROOT, **quiet)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in fine:
        raise SystemExit(f"{' '.join(command[:4])}… failed:\n{said.decode()[-2000:]}")
    cpu_s = usage.ru_utime + usage.ru_stime
    return Run(time.perf_counter() - start, cpu_s, usage.ru_maxrss / 1000)


def convert_command(bags: Path, out: Path, workers: int) -> list[str]:
    """Return the command that converts with this package."""
    command = [sys.executable, "-m", "training.convert", str(bags), "--out", str(out)]
    command += ["--camera", *CAMERAS, "--image-size", str(SIZE), "--rate", str(CAMERA_HZ)]
    return [*command, "--workers", str(workers)]


def peer_command(peer: peers.Peer, bags: list[Path], out: Path, crf: int, streaming: bool):
    """Return the command that converts with a peer's own writer."""
    command = [str(peers.python_of(peer)), _PEER, *map(str, bags), "--out", str(out)]
    return [*command, "--crf", str(crf), *(["--streaming"] if streaming else [])]


def bare_s(bags: list[Path]) -> float:
    """Return how long decoding, resizing and encoding of all pictures takes, alone, in a core."""
    cv2.setNumThreads(1)
    spent = 0.0
    for path in bags:
        with Bag(path) as bag:
            for camera in CAMERAS:
                for _, data in bag.pictures(camera):
                    start = time.perf_counter()
                    dataset_jpeg(data, SIZE, "bench")
                    spent += time.perf_counter() - start
    return spent


def psnr_db(dataset: Path, bags: list[Path]) -> float:
    """Return the median PSNR of a dataset's pictures against the source, resized by area."""
    source = LerobotSource(dataset)
    found = []
    for episode, path in zip(source.episodes, bags, strict=True):
        rows = np.linspace(0, episode.length - 1, PSNR_FRAMES // len(bags)).astype(int)
        column = f"observation.images.{CAMERAS[0]}"
        with Bag(path) as bag:
            index = bag.image_index(CAMERAS[0])
            wanted = {CAMERAS[0]: index.places[rows]}
            originals = [decoded(data, "bench") for _, _, data in bag.images_at(wanted)]
        for original, data in zip(originals, source.pictures(episode, column, rows), strict=True):
            small = cv2.resize(original, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
            error = np.mean((small.astype(float) - decoded(data, "bench")) ** 2)
            found.append(10 * np.log10(255**2 / max(error, 1e-9)))
    return statistics.median(found)


def size_mb(folder: Path) -> float:
    """Return the size of a dataset, without what is kept for adding bags [MB]."""
    kept = [p for top in ("data", "videos", "meta") for p in (folder / top).rglob("*")]
    return sum(path.stat().st_size for path in kept if path.is_file()) / 1e6


def alternate(
    contenders: dict[str, Callable[[Path], list[str]]], folder: Path, repeats: int
) -> dict[str, list[Run]]:
    """Run each in turn, `repeats` times; every run writes to a folder of its own, named by both."""
    results: dict[str, list[Run]] = {name: [] for name in contenders}
    for repeat in range(repeats):
        for name, command in contenders.items():
            results[name].append(run(command(folder / f"{name}-{repeat}")))
            print(f"{name}, repeat {repeat}: {results[name][-1].wall_s:.1f} s", flush=True)
    return results


def convert_rows(bags: Path, folder: Path, seconds: float, repeats: int, crf: int | None):
    """Return the rows on conversion; `crf` is the peers' quality, None leaves them out."""
    paths = sorted(bags.iterdir())
    contenders: dict[str, Callable[[Path], list[str]]] = {
        "ours-1": lambda out: convert_command(bags, out, 1),
        "ours-2": lambda out: convert_command(bags, out, 2),
    }
    if crf is not None:
        contenders["lerobot"] = lambda out: peer_command(peers.LEROBOT, paths, out, crf, False)
        contenders["streaming"] = lambda out: peer_command(peers.STREAMING, paths, out, crf, True)
    results = alternate(contenders, folder, repeats)
    times = {name: statistics.median(r.wall_s for r in runs) for name, runs in results.items()}
    cpu = {name: statistics.median(r.cpu_s for r in runs) for name, runs in results.items()}
    memory = {name: max(r.peak_mb for r in runs) for name, runs in results.items()}
    bare = statistics.median(bare_s(paths) for _ in range(repeats))
    quality = {name: psnr_db(folder / f"{name}-0", paths) for name in contenders}
    bytes_mb = {name: size_mb(folder / f"{name}-0") for name in contenders}
    what = f"{seconds:g} s of 2 cameras 640x480 at 30 Hz to {SIZE} px"
    over = times["ours-1"] / bare
    rows = [
        Row(f"convert {what}, 1 worker", "s", times["ours-1"]),
        Row(f"convert {what}, 2 workers on 2 bags", "s", times["ours-2"]),
        Row("bare decode, resize and encode of the same pictures", "s", bare),
        Row("1 worker over the bare cost", "x", over, goal="≤ 1.5", met=over <= 1.5),
        Row("PSNR against the source resized", "dB", quality["ours-1"]),
        Row("size of the dataset", "MB", bytes_mb["ours-1"]),
        Row("CPU time, 1 worker", "s", cpu["ours-1"]),
        Row("peak memory, 1 worker", "MB", memory["ours-1"]),
    ]
    for name, label, goal in (
        ("lerobot", "lerobot 0.4.4's writer fed from the bag", 20.0),
        ("streaming", "lerobot 0.6.1's streaming encoder", 5.0),
    ):
        if name not in contenders:
            continue
        ratio = times[name] / times["ours-2"]
        apart = quality[name] - quality["ours-2"]
        what = f"convert, 2 workers, against {label} (crf {crf}, {apart:+.2f} dB)"
        words = f"≥ {goal:g}x within 0.5 dB"
        is_met = ratio >= goal and abs(apart) <= 0.5
        rows += [
            Row(what, "s", times["ours-2"], times[name], ratio, words, is_met),
            Row(
                f"CPU time, against {label}",
                "s",
                cpu["ours-1"],
                cpu[name],
                cpu[name] / cpu["ours-1"],
            ),
            Row(f"size, against {label}", "MB", bytes_mb["ours-2"], bytes_mb[name]),
            Row(f"peak memory, against {label}", "MB", memory["ours-2"], memory[name]),
        ]
    return rows


def loader_rows(dataset: Path, batches: int) -> list[Row]:
    """Return how fast random windows come, once the cache is there."""
    start = time.perf_counter()
    data = open_dataset(dataset, SIZE)
    opened_s = time.perf_counter() - start
    windows = Windows(data, data.episodes, CHUNK)
    rng = np.random.default_rng(0)
    spent = []
    for _ in range(batches):
        indices = rng.integers(0, len(windows), BATCH)
        start = time.perf_counter()
        windows.batch(indices)
        spent.append(time.perf_counter() - start)
    rate = BATCH / statistics.median(spent)
    return [
        Row("first opening of the dataset: cache of decoded pictures", "s", opened_s),
        Row(f"random windows, 2 cameras, {CHUNK} actions, batches of {BATCH}", "windows/s", rate),
    ]


def doctor_row(bags: Path) -> Row:
    """Return how fast the doctor reads MCAP when pictures need not be decoded."""
    size = sum(file.stat().st_size for file in bags.rglob("*.mcap")) / 1e9
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "training.doctor", str(bags), "--images", "none"]
        # 1: the verdict is "usable with warnings"; the recordings have no calibration.
        report = ["--quiet", "--workers", "1", "--json", f"{folder}/report.json"]
        times = [run([*command, *report], (0, 1)).wall_s for _ in range(3)]
    rate = size / statistics.median(times)
    return Row("doctor, with start of Python", "GB/s", rate, goal="≥ 1 on a large bag", met=None)


def large_row(folder: Path, gigabytes: float) -> Row:
    """Return the peak memory of converting one long bag."""
    trial = write_bag(folder / "trial", 2.0) / 2.0
    bags = folder / "large"
    bags.mkdir()
    size = write_bag(bags / "play-0", gigabytes * 1e9 / trial) / 1e9
    peak = run(convert_command(bags, folder / "large-out", 1)).peak_mb
    what = f"peak memory of converting a bag of {size:.1f} GB"
    return Row(what, "MB", peak, goal="≤ 500", met=peak <= 500)


def main() -> None:
    """Measure, print and write bench/results/data.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="4 seconds of recording, one repeat")
    parser.add_argument("--peers", action="store_true", help="also what peers need")
    parser.add_argument("--crf", type=int, default=18, help="the peers' AV1 quality; see the PSNR")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--large", action="store_true", help="also a bag of 10 GB")
    parser.add_argument("--folder", type=Path, help="for what is written; default: temporary files")
    args = parser.parse_args()
    seconds, repeats = (4.0, 1) if args.quick else (60.0, args.repeats)
    with tempfile.TemporaryDirectory(prefix="bench_data_", dir=args.folder) as name:
        folder = Path(name)
        bags = folder / "bags"
        bags.mkdir()
        for number in range(2):
            write_bag(bags / f"play-{number}", seconds / 2, number)
        crf = args.crf if args.peers else None
        rows = convert_rows(bags, folder, seconds, repeats, crf)
        rows += loader_rows(folder / "ours-1-0", 50 if args.quick else 500)
        rows.append(doctor_row(bags))
        if args.large:
            rows.append(large_row(folder, 10.0))
    packages = ("rosbags", "numpy", "opencv-python-headless", "pyarrow")
    versions = {package: importlib.metadata.version(package) for package in packages}
    if args.peers:
        versions |= {"lerobot": "0.4.4", "lerobot, streaming": "0.6.1"}
    print(f"\nwritten: {publish('data', rows, versions).name}")


if __name__ == "__main__":
    main()
