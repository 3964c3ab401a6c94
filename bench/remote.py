"""What it costs to have a policy act over a websocket instead of in the same process.

python -m bench.remote [--quick]

The server is the real one, `python -m vla_ros.policy.server`, in a process of its own on this
machine; both act with the same small TAP checkpoint of random weights, one CPU thread each, on a
camera's JPEG of 640 x 480. Near and far act by turns. A network between two machines adds its
round trip, and the bytes of an observation over its bandwidth.
"""

import argparse
import importlib.metadata
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from bench._report import Row, publish, show
from bench.methods import by_turns
from vla_ros.core.contract import tap_contract
from vla_ros.core.observation import CameraView, Observation
from vla_ros.policy import remote_messages, remote_wire
from vla_ros.policy.checkpoint import Checkpoint, save_checkpoint
from vla_ros.policy.normalize import Normalizer
from vla_ros.policy.pictures import encode_jpeg
from vla_ros.policy.remote import RemoteRunner
from vla_ros.policy.runner import PolicyRunner
from vla_ros.policy.small_config import SmallVlmConfig
from vla_ros.policy.small_vlm import SmallVlm
from vla_ros.policy.tap import TapPolicy
from vla_ros.policy.tap_config import TapConfig

_REPEATS, _QUICK_REPEATS = 300, 30
_QUALITY = 90


def observation() -> Observation:
    """Return one of smooth shapes with a little noise, which makes a JPEG of a camera's size."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:480, :640] / 80.0
    shapes = np.stack([np.sin(x), np.sin(x + y), np.cos(y)], -1) * 90.0 + 128.0
    noisy = np.clip(shapes + rng.normal(scale=6.0, size=shapes.shape), 0, 255).astype(np.uint8)
    jpeg = encode_jpeg(noisy, _QUALITY)
    return Observation({"front": CameraView(jpeg)}, "put the carrot on the plate")


def write_checkpoint(folder: Path) -> None:
    """Write a small TAP checkpoint with random weights."""
    torch.manual_seed(0)
    policy = TapPolicy(SmallVlm(SmallVlmConfig()), TapConfig(stage=2, head="mlp"), None).eval()
    bounds = [0.05] * 3 + [0.5] * 3
    normalizer = Normalizer([-bound for bound in bounds], bounds)
    save_checkpoint(Checkpoint(policy, tap_contract(), {"stage": 2}, normalizer), folder)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a checkpoint in a process of its own; yields the address."""
    command = [sys.executable, "-m", "vla_ros.policy.server", str(folder), "--port", "0"]
    root = Path(__file__).resolve().parent.parent
    server = subprocess.Popen(
        [*command, "--threads", "1"], cwd=root, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        line = server.stdout.readline()
        if not line:
            raise SystemExit("bench.remote: the server did not start; its reason stands above")
        yield line.split()[-1]
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()


def main() -> None:
    """Measure, print the table, and without --quick write bench/results/remote.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, nothing written")
    args = parser.parse_args()
    repeats, seen = _QUICK_REPEATS if args.quick else _REPEATS, observation()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "checkpoint"
        write_checkpoint(folder)
        near = PolicyRunner.load(folder)
        with served(folder) as address:
            far = RemoteRunner(address, near.contract, timeout_s=60.0)
            if not np.array_equal(near.act(seen).actions, far.act(seen).actions):
                raise SystemExit("bench.remote: near and far answer differently")
            times = by_turns([lambda: near.act(seen), lambda: far.act(seen)], repeats)
            far.close()
    near_ms, far_ms = (1e3 * np.array(found) for found in times)
    sent = remote_wire.pack({"observation": remote_messages.observation_to_map(seen)})
    rows = [
        Row("one action of a small TAP policy in this process, median", "ms", _middle(near_ms)),
        Row("the same through a server on this machine, median", "ms", _middle(far_ms)),
        Row("what the server adds, median", "ms", _middle(far_ms) - _middle(near_ms)),
        Row("what the server adds, each beside its neighbour, p90", "ms", _slow(far_ms - near_ms)),
        Row("an observation of one camera, 640 x 480 JPEG", "kB", len(sent) / 1e3),
    ]
    versions = {name: importlib.metadata.version(name) for name in ("torch", "websockets")}
    if args.quick:
        show(rows)
    else:
        publish("remote", rows, versions)


def _middle(values: np.ndarray) -> float:
    return float(np.median(values))


def _slow(values: np.ndarray) -> float:
    return float(np.quantile(values, 0.9))


if __name__ == "__main__":
    main()
