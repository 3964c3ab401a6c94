"""LeRobot's own reader opens a dataset: what it finds, or how fast it is; one line of JSON.

`bench.data` starts it in the peer's environment: it imports nothing of this project.

    python _data_peer_reads.py DATASET                      every row against the data files
    python _data_peer_reads.py DATASET --against OTHER      pictures of both, which should be alike
    python _data_peer_reads.py DATASET --timed 200          random samples a second
"""

import argparse
import io
import json
import time
from pathlib import Path

import _data_peer_start  # noqa: F401
import numpy as np
import pyarrow.parquet as pq
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from PIL import Image

CHUNK = 8


def opened(root, **more):
    return LeRobotDataset("bench/data", root=root, **more)


def compared(root):
    """Return how many rows and pictures are those of the data files; stops at one that is not."""
    dataset = opened(root)
    files = sorted(root.glob("data/*/*.parquet"))
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert len(rows) == len(dataset), (len(rows), len(dataset))
    pictures = 0
    for index, row in enumerate(rows):
        item = dataset[index]
        for name, value in row.items():
            got = item[name].numpy()
            if isinstance(value, dict):
                wanted = np.array(Image.open(io.BytesIO(value["bytes"])).convert("RGB"))
                assert np.array_equal(wanted.transpose(2, 0, 1), np.rint(255 * got)), (index, name)
                pictures += 1
            else:
                assert np.array_equal(np.asarray(value, got.dtype), got), (index, name)
        assert int(item["index"]) == index
    fps = dataset.fps
    times = {"action": [k / fps for k in range(CHUNK)], dataset.meta.camera_keys[0]: [-1 / fps, 0]}
    window = opened(root, delta_timestamps=times)[1]
    return {
        "episodes": dataset.num_episodes,
        "rows_equal": len(rows),
        "pictures_equal": pictures,
        "window": [list(window[name].shape) for name in times],
        "video": len(dataset.meta.video_keys),
    }


def likeness(root, other):
    """Return the PSNR [dB] between the pictures of two datasets, frame by frame."""
    first, second = opened(root), opened(other)
    found = []
    for index in range(len(first)):
        one, two = first[index], second[index]
        for name in first.meta.camera_keys:
            error = np.mean((one[name].numpy() - two[name].numpy()) ** 2)
            found.append(10 * np.log10(1 / max(error, 1e-12)))
    return {
        "pictures": len(found),
        "least_db": float(min(found)),
        "median_db": float(np.median(found)),
    }


def timed(root, count):
    """Return how many random samples with CHUNK actions come a second."""
    # Not by opening it a second time, which takes longer than what is timed.
    fps = json.loads((root / "meta/info.json").read_text())["fps"]
    dataset = opened(root, delta_timestamps={"action": [k / fps for k in range(CHUNK)]})
    rng = np.random.default_rng(0)
    indices = rng.integers(0, len(dataset), count)
    dataset[int(indices[0])]
    start = time.perf_counter()
    for index in indices:
        dataset[int(index)]
    return {"samples_per_s": count / (time.perf_counter() - start)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--timed", type=int)
    args = parser.parse_args()
    if args.timed:
        found = timed(args.dataset, args.timed)
    elif args.against:
        found = likeness(args.dataset, args.against)
    else:
        found = compared(args.dataset)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
