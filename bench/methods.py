"""What TAP and APT need on a CPU: denoising, training, one action.

    python -m bench.methods                      all parts, some five minutes on an idle machine
    python -m bench.methods --only denoising training
    python -m bench.methods --quick              a few rounds of each, under a minute, shown only

What is compared runs by turns, so that other work on the machine meets all alike; times are medians
of wall time. A part is printed when it is through, and kept in bench/results/methods_PART.json.
"Cloned" is what lerobot's pi0 does at every step (`denoise_step` of `modeling_pi0.py`): it clones
keys and values of all layers into a new cache, and each layer's cache then joins the prefix's with
the actions' own by a copy of both.
"""

import argparse
import importlib.metadata
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from bench._data_bags import jpegs
from bench._methods_models import CAMERAS, Actor, apt_on_small, expert_on_noise, tap_on_small
from bench._methods_training import contenders, write_play
from bench._report import Row, save, show
from training.learning.memory import keep_freed_memory
from vla_ros.policy.apt.config import AptConfig, small_apt
from vla_ros.policy.apt.policy import PrefixUse
from vla_ros.policy.parameters import num_parameters
from vla_ros.policy.pictures import dataset_picture, resize_rgb

PREFIX_TOKENS = 256
DATASET_SIZE = 128
TASK = "put the carrot on the plate"
# Turns that a median is of, at least.
ENOUGH = 3
# (how the prefix is had, goal of how many times longer that takes than reading it once)
PEERS: tuple[tuple[PrefixUse, float], ...] = (("recomputed", 3.0), ("cloned", 1.5))
QUICK_PARTS = ("denoising", "denoising_bf16", "training", "actions", "actions_bf16")
PARTS = (*QUICK_PARTS, "denoising_base")


def by_turns(
    contenders: Sequence[Callable[[], object]],
    repeats: int,
    most_s: float = float("inf"),
    what: str = "",
) -> list[list[float]]:
    """Return each contender's wall times [s] by turns, after one turn to warm up.

    Args:
        contenders: to be measured.
        repeats: turns, at most.
        most_s: no further turn begins after so long [s]; three there are always, or `repeats`.
        what: name of the progress bar on a terminal.
    """
    times: list[list[float]] = [[] for _ in contenders]
    for contender in contenders:
        contender()
    begin = time.perf_counter()
    for turn in tqdm(range(repeats), desc=what, unit="turn", leave=False, disable=None):
        if turn >= ENOUGH and time.perf_counter() - begin > most_s:
            break
        for own, contender in zip(times, contenders, strict=True):
            start = time.perf_counter()
            contender()
            own.append(time.perf_counter() - start)
    return times


@torch.inference_mode()
def denoising_rows(
    name: str, config: AptConfig, repeats: int, most_s: float, bf16: bool = False
) -> list[Row]:
    """Return how long a chunk takes from a scene of PREFIX_TOKENS on, the prefix had three ways."""
    scene = expert_on_noise(config, PREFIX_TOKENS)
    ways: list[PrefixUse] = ["reused", *(way for way, _ in PEERS)]
    with precision(bf16):
        turns = [partial(scene.denoise, way) for way in ways]
        times = by_turns(turns, repeats, most_s, f"denoising, {name}, {word_of(bf16)}")
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
def action_rows(repeats: int, most_s: float, bf16: bool = False) -> list[Row]:
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
    turns = [lambda one=actor: answer(one) for _, actor, _ in contenders]
    times = by_turns(turns, repeats, most_s, f"actions, {word_of(bf16)}")
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


def training_row(repeats: int, steps: int, most_s: float) -> Row:
    """Return the throughput of TAP's Stage 1, as its script trains, next to the bare loop's."""
    with tempfile.TemporaryDirectory(prefix="bench_methods_") as name:
        dataset = write_play(Path(name))
        # One turn more than is measured, to warm up.
        with contenders(dataset, steps * (repeats + 1)) as (ours, bare, batch):
            turns = [lambda: ours(steps), lambda: bare(steps)]
            found = by_turns(turns, repeats, most_s, "training")
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


def rows_of(part: str, quick: bool) -> list[Row]:
    """Measure one of PARTS; `quick`: in some seconds."""
    most_s = 4.0 if quick else 45.0
    bf16 = part.endswith("_bf16")
    if part == "training":
        return [training_row(1, 2, most_s) if quick else training_row(12, 5, most_s)]
    if part.startswith("actions"):
        return action_rows(3 if quick else 200, most_s, bf16)
    if part == "denoising_base":
        return denoising_rows("base-sized", AptConfig(2), 10, most_s)
    return denoising_rows("CPU-sized", small_apt(2), 1 if quick else 50, most_s, bf16)


def main() -> None:
    """Measure part by part, print, and keep unless --quick."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    add("--quick", action="store_true", help="few turns, without the base size, shown only")
    args = parser.parse_args()
    # As training does at its start.
    keep_freed_memory()
    versions = {
        "torch": importlib.metadata.version("torch"),
        "threads": str(torch.get_num_threads()),
    }
    for part in args.only or (QUICK_PARTS if args.quick else PARTS):
        print(f"\n{part}:", flush=True)
        begin = time.perf_counter()
        found = rows_of(part, args.quick)
        show(found)
        if not args.quick:
            save(f"methods_{part}", found, versions)
        print(f"{time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
