"""What TAP and APT need on a CPU: denoising, training, one action.

python -m bench.methods [--quick]

What is compared runs by turns, so that other work on the machine meets all alike; times are medians
of wall time.
"""

import argparse
import importlib.metadata
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from bench._data_bags import jpegs
from bench._methods_models import CAMERAS, Actor, apt_on_small, expert_on_noise, tap_on_small
from bench._methods_training import contenders, write_play
from bench._report import Row, publish, show
from vla_ros.policy.apt.config import AptConfig, small_apt
from vla_ros.policy.parameters import num_parameters
from vla_ros.policy.pictures import dataset_picture, resize_rgb

PREFIX_TOKENS = 256
DATASET_SIZE = 128
TASK = "put the carrot on the plate"
# (how the prefix is had, goal of how many times longer that takes than reading it once)
PEERS = (("recomputed", 3.0), ("cloned", 1.5))


def by_turns(contenders: Sequence[Callable[[], object]], repeats: int) -> list[list[float]]:
    """Return each contender's wall times [s] by turns, `repeats` of them after one to warm up."""
    times: list[list[float]] = [[] for _ in contenders]
    for contender in contenders:
        contender()
    for _ in range(repeats):
        for own, contender in zip(times, contenders, strict=True):
            start = time.perf_counter()
            contender()
            own.append(time.perf_counter() - start)
    return times


@torch.inference_mode()
def denoising_rows(name: str, config: AptConfig, repeats: int, bf16: bool = False) -> list[Row]:
    """Return how long a chunk takes from a scene of PREFIX_TOKENS on, the prefix had three ways."""
    scene = expert_on_noise(config, PREFIX_TOKENS)
    ways = ("reused", *(way for way, _ in PEERS))
    with precision(bf16):
        times = by_turns([lambda way=way: scene.denoise(way) for way in ways], repeats)
    own, *others = (1e3 * statistics.median(found) for found in times)
    what = f"{config.sample_steps} DDIM steps of the {name} expert on {PREFIX_TOKENS} tokens"
    return [
        Row(
            f"{what}, {word_of(bf16)}, prefix reused, against {way} at each step",
            "ms",
            own,
            other,
            other / own,
            f"≥ {goal:g}x",
            other / own >= goal,
        )
        for (way, goal), other in zip(PEERS, others, strict=True)
    ]


@torch.inference_mode()
def action_rows(repeats: int, bf16: bool = False) -> list[Row]:
    """Return p50 and p95 of one action of TAP and of one chunk of APT, from cameras' JPEGs on."""
    (jpeg,) = jpegs(0, 1)

    def see(side: int) -> np.ndarray:
        return resize_rgb(dataset_picture(jpeg, DATASET_SIZE, "bench"), side)

    def answer(actor: Actor) -> None:
        # Weights are cast anew for each answer, as by a runner that does so.
        with precision(bf16):
            actor.act(see, TASK)

    contenders = (
        ("one action of TAP, FAST head, 7 tokens", tap_on_small(), 60.0),
        (f"one chunk of {small_apt(2).horizon} of APT, {CAMERAS} cameras", apt_on_small(), 150.0),
    )
    times = by_turns([lambda one=actor: answer(one) for _, actor, _ in contenders], repeats)
    rows = []
    for (what, actor, goal_ms), found in zip(contenders, times, strict=True):
        p50, p95 = (1e3 * float(q) for q in np.quantile(found, [0.5, 0.95]))
        size = f"{num_parameters(actor.policy) / 1e6:.1f} M parameters, {word_of(bf16)}"
        rows.append(
            Row(f"{what}, {size}: p50", "ms", p50, goal=f"≤ {goal_ms:g}", met=p50 <= goal_ms)
        )
        rows.append(Row(f"{what}, {size}: p95", "ms", p95))
    return rows


def precision(bf16: bool) -> torch.autocast:
    """Return the context in which matrix products are of bfloat16, or of what the weights are."""
    return torch.autocast("cpu", torch.bfloat16, enabled=bf16)


def word_of(bf16: bool) -> str:
    """Return the precision's name."""
    return "bfloat16" if bf16 else "float32"


def training_row(repeats: int, steps: int) -> Row:
    """Return the throughput of TAP's Stage 1, as its script trains, next to the bare loop's."""
    with tempfile.TemporaryDirectory(prefix="bench_methods_") as name:
        dataset = write_play(Path(name))
        # One turn more than is measured, to warm up.
        with contenders(dataset, steps * (repeats + 1)) as (ours, bare, batch):
            found = by_turns([lambda: ours(steps), lambda: bare(steps)], repeats)
    rates = [batch * steps / statistics.median(times) for times in found]
    share = rates[0] / rates[1]
    return Row(
        f"training of TAP's Stage 1, batches of {batch} pairs, against the bare loop",
        "samples/s",
        rates[0],
        rates[1],
        share,
        "≥ 0.90 of it",
        share >= 0.9,
    )


def main() -> None:
    """Measure, print and write bench/results/methods.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few repeats, shown only")
    quick = parser.parse_args().quick
    rows = denoising_rows("CPU-sized", small_apt(2), 3 if quick else 50)
    if not quick:
        rows += denoising_rows("CPU-sized", small_apt(2), 50, bf16=True)
        rows += denoising_rows("base-sized", AptConfig(2), 10)
    rows.append(training_row(1, 2) if quick else training_row(12, 10))
    rows += action_rows(5 if quick else 200)
    if not quick:
        rows += action_rows(200, bf16=True)
    if quick:
        show(rows)
        return
    versions = {
        "torch": importlib.metadata.version("torch"),
        "threads": str(torch.get_num_threads()),
    }
    print(f"\nwritten: {publish('methods', rows, versions).name}")


if __name__ == "__main__":
    main()
