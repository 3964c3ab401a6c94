"""Simulated play and demonstrations as bags, many times faster than in a graph.

    python -m training.evidence.generate play --hours 30 --out DIR --workers 2
    python -m training.evidence.generate demos --task "put the carrot on the plate" \
        --episodes 200 --out DIR

What moves is the explorer's motion or the scripted teacher, under the nodes' safety layer, in the
world of `sim_node`; what is written is what the recorder would write, without a graph: see
`episode_writer`. The same command again goes on where it was stopped, and with more hours or
episodes it adds to what is there. Equal seeds give equal bags, whatever the number of workers.

A demonstration that fails is dropped and counted in DIR/failed.json, and one more is made. No
layout is one of `training.evidence.rollouts` or of `sim_node`, whatever the seeds.
"""

import argparse
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import cv2
from tqdm import tqdm

from training.datasets.side_by_side import side_by_side
from training.evidence import demos, generated, play
from training.evidence.demos import FAULTLESS, Mistakes
from training.evidence.sim_camera import SimCamera
from training.evidence.simulation import Simulation
from vla_ros.core.errors import EpisodeError, VlaError
from vla_ros.sim.objects import KNOWN_NAMES
from vla_ros.sim.world import DEFAULT_OBJECTS

# Given up after this many attempts for each demonstration wanted.
_ATTEMPTS_PER_EPISODE = 3


def generate_play(simulation: Simulation, hours: float, out: Path, workers: int = 1) -> str:
    """Write so many hours of play in segments of a minute; return one line on what was done.

    Raises:
        VlaError: `out` is of other settings, or scenes or bags cannot be made.
    """
    segments = max(1, math.ceil(hours * 3600.0 / play.SEGMENT_S))
    generated.settle(out, {"what": "play", **simulation.to_dict()})
    there = {index for index in range(segments) if (out / play.episode_id(index)).exists()}
    scenes = [
        (scene, count)
        for scene, count in play.scenes_of(segments)
        if not there.issuperset(range(scene * play.SEGMENTS_PER_SCENE, segments)[:count])
    ]
    ends: Counter[str] = Counter()
    played_s, start_s = 0.0, time.monotonic()
    at_hand = sum(count for _, count in scenes)
    with tqdm(total=at_hand, desc="play", unit="segment", disable=None) as bar:

        def say(length_s: float, outcome: str) -> None:
            nonlocal played_s
            played_s += length_s
            ends[outcome] += 1
            bar.update()

        for _, failure in _done(scenes, partial(_play, simulation, out), workers, say):
            if failure:
                raise EpisodeError(failure)
    took_s = time.monotonic() - start_s
    return (
        f"{segments} segments, {len(there)} of them there before; {played_s / 3600:.2f} h played "
        f"in {took_s / 60:.1f} min ({played_s / max(took_s, 1e-9):.1f} times real time), "
        f"{ends['blocked']} ended early because the arm was blocked"
    )


def generate_demos(
    simulation: Simulation,
    task: str,
    episodes: int,
    out: Path,
    workers: int = 1,
    mistakes: Mistakes = FAULTLESS,
) -> str:
    """Write so many demonstrations that succeeded; return one line on what was done.

    Raises:
        VlaError: the task is unknown, `out` is of other settings, scenes or bags cannot be made,
            or too few attempts succeed.
    """
    demos.task_of(task)
    settings = {"what": "demos", "task": task, **mistakes.to_dict(), **simulation.to_dict()}
    generated.settle(out, settings)
    failed = generated.read_failed(out)
    start_s, made = time.monotonic(), 0
    with tqdm(total=episodes, desc="demos", unit="episode", disable=None) as bar:
        while todo := _attempts_left(out, episodes, failed):
            bar.n = episodes - len(todo)
            job = partial(_demonstrate, simulation, task, out, mistakes)
            for attempt, (reason, fault) in _done(todo, job, workers, lambda *_: None):
                if fault:
                    raise EpisodeError(fault)
                if reason:
                    failed[attempt] = reason
                    generated.write_failed(out, failed)
                else:
                    made += 1
                    bar.update()
    took_s = time.monotonic() - start_s
    dropped = ", ".join(f"{n} {reason}" for reason, n in Counter(failed.values()).most_common())
    return (
        f"{episodes} demonstrations of {task!r}, {made} of them made now in {took_s / 60:.1f} min "
        f"({60 * made / max(took_s, 1e-9):.0f} a minute); failed and dropped: {dropped or 'none'}"
    )


def _attempts_left(out: Path, episodes: int, failed: dict[int, str]) -> list[int]:
    """Return which attempts are still to be made: with none failing, as many as are wanted.

    Raises:
        EpisodeError: too many have failed.
    """
    good, attempt, left = 0, 0, []
    while good < episodes:
        if attempt >= _ATTEMPTS_PER_EPISODE * episodes:
            raise EpisodeError(
                f"the teacher failed {len(failed)} of {attempt} times, {episodes} demonstrations "
                f"were wanted; simplify the task, or take other objects (the reasons are in "
                f"{out / generated.FAILED_FILE})"
            )
        if attempt not in failed:
            good += 1
            if not (out / demos.episode_id(attempt)).exists():
                left.append(attempt)
        attempt += 1
    return left


# --- what a worker does ---


@cache
def _camera(simulation: Simulation) -> SimCamera:
    """Return this process's camera: an OpenGL context takes longer to make than a picture."""
    return simulation.make_camera()


def _play(
    simulation: Simulation, out: Path, item: tuple[int, int], say: Callable[..., None]
) -> str:
    """Play a scene; return why that could not be, empty where it was."""
    try:
        play.play_scene(simulation, out, *item, _camera(simulation), say)
    except VlaError as error:
        return str(error)
    return ""


def _demonstrate(
    simulation: Simulation,
    task: str,
    out: Path,
    mistakes: Mistakes,
    attempt: int,
    say: Callable[..., None],
) -> tuple[str, str]:
    """Make an attempt; return why it failed, and why it could not be made; both may be empty."""
    del say
    try:
        return demos.demonstrate(simulation, task, out, attempt, _camera(simulation), mistakes), ""
    except VlaError as error:
        return "", str(error)


def _alone(item, job: Callable, say: Callable):
    cv2.setNumThreads(1)  # the others have the other processors
    return job(item, say=say)


def _done(items: list, job: Callable, workers: int, say: Callable) -> Iterator[tuple]:
    """Yield (item, what `job` returned) as they are done; EpisodeError where a worker died."""
    if workers <= 1 or len(items) <= 1:
        for item in items:
            yield item, job(item, say=say)
        return
    for item, result in side_by_side(items, partial(_alone, job=job), workers, say):
        if isinstance(result, str) and result.startswith("its worker ended"):
            raise EpisodeError(f"{item}: {result}; the same command goes on from here")
        yield item, result


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="training.evidence.generate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whats = parser.add_subparsers(dest="what", required=True)
    playing = whats.add_parser("play", help="undirected play in segments of a minute")
    playing.add_argument("--hours", type=float, required=True, help="[h] of play")
    teaching = whats.add_parser("demos", help="demonstrations by the scripted teacher")
    teaching.add_argument("--task", required=True, help="the instruction")
    teaching.add_argument("--episodes", type=int, default=200, help="successful ones")
    teaching.add_argument(
        "--others",
        type=int,
        help="scenes as in trials, with so many known objects beside the task's; without it, as in "
        "sim_node with --objects",
    )
    teaching.add_argument(
        "--slips",
        type=float,
        default=0.0,
        help="how often a step of the teacher slips, 0 to 0.5; it shows how to come back",
    )
    teaching.add_argument(
        "--misses",
        type=float,
        default=0.0,
        help="how often it begins low beside what is to be taken, as after a try that missed",
    )
    teaching.add_argument(
        "--losses",
        type=float,
        default=0.0,
        help="how often it begins closed and far off, as after a grasp that did not hold",
    )
    default = Simulation()
    for sub in (playing, teaching):
        add = sub.add_argument
        add("--out", type=Path, required=True, help="folder of bags to make or to go on with")
        add("--seed", type=int, default=0)
        add("--objects", nargs="+", default=list(DEFAULT_OBJECTS), help="names, or: known")
        add("--in-play", type=int, default=0, help="draw so many of them a scene; 0: all")
        add("--camera", default=default.camera, help="the camera's name")
        add("--width", type=int, default=default.width, help="[px]")
        add("--height", type=int, default=default.height, help="[px]")
        add("--rate", type=float, default=default.rate_hz, help="pictures a second [Hz]")
        add("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Generate as the command line says; an error is one sentence on stderr and exit code 1."""
    args = parse_arguments(argv)
    try:
        simulation = Simulation(
            *(args.seed, KNOWN_NAMES if args.objects == ["known"] else tuple(args.objects)),
            *(args.in_play, args.others if args.what == "demos" else None),
            *(args.camera, args.width, args.height, args.rate),
        )
        if args.what == "play":
            line = generate_play(simulation, args.hours, args.out, args.workers)
        else:
            wanted = args.task, args.episodes, args.out, args.workers
            mistakes = Mistakes(args.slips, args.misses, args.losses)
            line = generate_demos(simulation, *wanted, mistakes)
    except VlaError as error:
        print(f"training.evidence.generate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "training.evidence.generate: stopped; what is whole is kept: run the same command "
            "again",
            file=sys.stderr,
        )
        return 130
    print(f"{args.out}: {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
