"""What `bench.data` runs: one contender is one or several commands that start at the same time."""

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from bench import _data_peers as peers
from bench._data_bags import CAMERA_HZ, CAMERAS
from bench._process import peak_mb
from training.lerobot.source import LerobotSource
from training.recordings.bags import Bag
from training.recordings.messages import decoded

ROOT = Path(__file__).resolve().parent.parent
SIZE = 224
PSNR_FRAMES = 60
MEMORY_EVERY_S = 0.05
# Highest and lowest quality of AV1 that is tried.
CRFS = (1, 50)


class Command(NamedTuple):
    """One process, and the dataset that it writes."""

    arguments: list[str]
    out: Path | None = None
    env: dict[str, str] | None = None


class Run(NamedTuple):
    """Time and CPU time with what it started [s], and the peak memory of one process [MB]."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def run(commands: list[Command], fine: tuple[int, ...] = (0,)) -> Run:
    """Run commands side by side to their end; where one fails, the others are ended.

    `fine`: the exit codes that are no failure.
    """
    start = time.perf_counter()
    with_errors = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    started = [
        subprocess.Popen(command.arguments, cwd=ROOT, env=command.env, **with_errors)
        for command in commands
    ]
    peaks_mb = {process.pid: 0.0 for process in started}
    ended = threading.Event()
    watch = threading.Thread(target=_watch_memory, args=(peaks_mb, ended), daemon=True)
    watch.start()
    cpu_s = 0.0
    try:
        for process, command in zip(started, commands, strict=True):
            assert process.stderr is not None
            with process.stderr:
                said = process.stderr.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode not in fine:
                where = " ".join(command.arguments[:4])
                raise SystemExit(f"{where}… failed:\n{said.decode()[-2000:]}")
            cpu_s += usage.ru_utime + usage.ru_stime
        wall_s = time.perf_counter() - start
    finally:
        ended.set()
        watch.join()
        for process in started:
            if process.returncode is None:
                process.terminate()
                process.communicate()
    return Run(wall_s, cpu_s, max(peaks_mb.values()))


def _watch_memory(peaks_mb: dict[int, float], ended: threading.Event) -> None:
    """Keep the peak memory of processes and of all that they start, until `ended`.

    What wait4 tells of a child begins with the memory of the parent that forked it.
    """
    while not ended.wait(MEMORY_EVERY_S):
        for pid in list(peaks_mb):
            try:
                # Each thread has those that it started.
                threads = Path(f"/proc/{pid}/task").glob("*/children")
                children = " ".join(path.read_text() for path in threads).split()
                peak = peak_mb(pid)
            except OSError:
                continue
            peaks_mb.update({int(c): 0.0 for c in children if int(c) not in peaks_mb})
            peaks_mb[pid] = max(peaks_mb[pid], peak)


def convert_command(bags: Path, out: Path, workers: int, *more: str) -> list[str]:
    """Return the command that converts with this package."""
    command = [sys.executable, "-m", "training.convert", str(bags), "--out", str(out)]
    command += ["--camera", *CAMERAS, "--image-size", str(SIZE), "--rate", str(CAMERA_HZ)]
    return [*command, "--workers", str(workers), *more]


def writer_command(peer: peers.Peer, bags: list[Path], out: Path, crf: int) -> Command:
    """Return the command that converts with a version of LeRobot's own writer."""
    script = str(ROOT / "bench/_data_peer_lerobot.py")
    command = [str(peers.python_of(peer)), script, *map(str, bags), "--out", str(out)]
    command += ["--crf", str(crf), *(["--streaming"] if peer == peers.STREAMING else [])]
    return Command(command, out, peers.environment_of(peer))


def forge_commands(bags: list[Path], out: Path, workers: int) -> list[Command]:
    """Return the command that converts with forge; it has no option for the pictures' size."""
    program = str(peers.python_of(peers.FORGE).parent / "forge")
    out.mkdir()
    found = []
    for number, bag in enumerate(bags):
        part = out / str(number)
        command = [program, "convert", str(next(bag.glob("*.mcap"))), str(part)]
        command += ["--format", "lerobot-v3", "--fps", str(CAMERA_HZ)]
        found.append(Command([*command, "--workers", str(workers)], part))
    return found


def alternate(
    contenders: dict[str, Callable[[Path], list[Command]]], folder: Path, repeats: int
) -> dict[str, list[Run]]:
    """Run each in turn, `repeats` times; every run writes to a folder of its own, named by both."""
    folder.mkdir(exist_ok=True)
    results: dict[str, list[Run]] = {name: [] for name in contenders}
    for repeat in range(repeats):
        for name, commands in contenders.items():
            results[name].append(run(commands(folder / f"{name}-{repeat}")))
            print(f"{name}, repeat {repeat}: {results[name][-1].wall_s:.1f} s", flush=True)
    return results


class Psnr(NamedTuple):
    """Median PSNR against the source resized by area, of all colours and of brightness [dB]."""

    rgb_db: float
    luma_db: float


def quality(dataset: Path, bags: list[Path]) -> Psnr:
    """Return how true the pictures of a dataset are, whose episodes are `bags`, in order."""
    source = LerobotSource(dataset)
    each = PSNR_FRAMES // len(bags)
    found = [
        pair
        for episode, path in zip(source.episodes, bags, strict=True)
        for pair in _episode_quality(source, episode, path, each)
    ]
    return Psnr(*(statistics.median(values) for values in zip(*found, strict=True)))


def _episode_quality(source: LerobotSource, episode, path: Path, count: int) -> list[Psnr]:
    rows = np.linspace(0, episode.length - 1, count).astype(int)
    with Bag(path) as bag:
        index = bag.image_index(CAMERAS[0])
        wanted = {CAMERAS[0]: index.places[rows]}
        originals = [decoded(data, "bench") for _, _, data in bag.images_at(wanted)]
    found = []
    shown = source.pictures(episode, f"observation.images.{CAMERAS[0]}", rows)
    for original, data in zip(originals, shown, strict=True):
        small = cv2.resize(original, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        pair = small, decoded(data, "bench")
        grey = tuple(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pair)
        found.append(Psnr(_psnr_db(*pair), _psnr_db(*grey)))
    return found


def _psnr_db(wanted: np.ndarray, found: np.ndarray) -> float:
    error = np.mean((wanted.astype(float) - found) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def matching_crf(quality_db: Callable[[int], float], wanted_db: float) -> tuple[int, float]:
    """Return the coarsest crf whose quality is at most 0.5 dB below `wanted_db`, and its quality.

    `quality_db` falls as crf rises; where even the finest is worse, that one is taken.
    """
    low, high = CRFS
    best = low, quality_db(low)
    while low < high:
        middle = (low + high + 1) // 2
        quality = quality_db(middle)
        if quality >= wanted_db - 0.5:
            low, best = middle, (middle, quality)
        else:
            high = middle - 1
    return best


def size_mb(folders: list[Path]) -> float:
    """Return the size of datasets, without what is kept for adding bags [MB]."""
    tops = [folder / top for folder in folders for top in ("data", "videos", "meta", "images")]
    kept = [path for top in tops for path in top.rglob("*")]
    return sum(path.stat().st_size for path in kept if path.is_file()) / 1e6
