"""How fast a dataset becomes batches: alone, beside LeRobot's reader, and inside training."""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from bench import _data_peers as peers
from bench._data_commands import ROOT, SIZE
from bench._report import Row
from training.learning.dataset import open_dataset
from training.learning.tap_recipes import RECIPES
from training.learning.windows import Pairs, Windows, frame_pairs

BATCH, CHUNK = 32, 8
SAMPLES = 200
TRAINING_STEPS = 60


def window_rows(dataset: Path, batches: int) -> list[Row]:
    """Return how fast random windows come, once the cache is there."""
    start = time.perf_counter()
    data = open_dataset(dataset, SIZE, ("front", "wrist"))
    opened_s = time.perf_counter() - start
    windows = Windows(data, data.episodes, CHUNK)
    rate = _rate(windows, len(windows), BATCH, batches)
    return [
        Row("first opening of the dataset: cache of decoded pictures", "s", opened_s),
        Row(f"random windows, 2 cameras, {CHUNK} actions, batches of {BATCH}", "windows/s", rate),
    ]


def _rate(samples: Windows | Pairs, count: int, size: int, batches: int) -> float:
    """Return the median of samples a second, of random batches."""
    rng = np.random.default_rng(0)
    spent = []
    for _ in range(batches):
        indices = rng.integers(0, count, size)
        start = time.perf_counter()
        samples.batch(indices)
        spent.append(time.perf_counter() - start)
    return size / statistics.median(spent)


def peer_row(peer: peers.Peer, dataset: Path, ours: float, images: str, repeats: int) -> Row:
    """Return how fast `LeRobotDataset[i]` gives the same: random samples with actions."""
    script = str(ROOT / "bench/_data_peer_reads.py")
    command = [str(peers.python_of(peer)), script, str(dataset), "--timed", str(SAMPLES)]
    found = []
    for _ in range(repeats):
        done = subprocess.run(
            command, cwd=ROOT, env=peers.environment_of(peer), capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"{peer.name} cannot read {dataset}:\n{done.stderr[-2000:]}")
        found.append(json.loads(done.stdout.splitlines()[-1])["samples_per_s"])
    theirs = statistics.median(found)
    what = f"random windows against LeRobotDataset[i] of {peer.name}, pictures as {images}"
    ratio = ours / theirs
    return Row(what, "windows/s", ours, theirs, ratio, "≥ 20x", ratio >= 20)


def training_rows(dataset: Path, out: Path, steps: int = TRAINING_STEPS) -> list[Row]:
    """Return what a step of training waits for its batch, and what it could be given."""
    command = [sys.executable, "-m", "training.stage1_tap", "--data", str(dataset)]
    command += ["--out", str(out), "--overwrite", "--steps", str(steps)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"training on {dataset} failed:\n{done.stderr[-2000:]}")
    metrics = json.loads((out / "metrics.json").read_text())
    step_ms, waited_ms = metrics["step_ms"], metrics["loader_ms"]
    share = waited_ms / (step_ms + waited_ms)
    recipe = RECIPES["small"](stage=1)
    data = open_dataset(dataset, recipe.small.image_size)
    pairs = frame_pairs(data, data.episodes, recipe.pair_offset)
    rate = _rate(pairs, len(pairs), recipe.batch_size, 50)
    eaten = recipe.batch_size / (step_ms + waited_ms) * 1000
    what = f"pairs alone, {recipe.small.image_size} px, against what stage1_tap's `small` takes"
    return [
        Row("step of stage1_tap's `small` on a CPU", "ms", step_ms),
        Row("of a step, waiting for its batch", "%", 100 * share, None, None, "≤ 5", share <= 0.05),
        Row(what, "pairs/s", rate, eaten, rate / eaten, "≥ 10x", rate >= 10 * eaten),
    ]
