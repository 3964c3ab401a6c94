"""How fast play and demonstrations are made without a graph, on one core, and how large they are.

python -m bench.evidence [--quick]

As `training.evidence.generate` makes them: one front camera of 128x128 at 5 Hz, commands and joint
states at 50 Hz, the whole safety layer, bags written and saved. Times are this process's CPU time;
two workers share nothing but the disk.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from bench._report import Row, publish, show
from training.evidence import demos, play
from training.evidence.sim_camera import SimCamera
from training.evidence.simulation import Simulation
from vla_ros.sim.gl import mujoco

# 30 h on two cores within an hour.
_GOAL_PACE = 15.0
_TASKS = ("put the carrot on the plate", "push the pumpkin to the left")


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def play_rows(camera: SimCamera, folder: Path, segments: int) -> list[Row]:
    """Return pace and size of play; the median of the segments, the scene's start left out."""
    paces, played_s, last_s = [], 0.0, time.process_time()
    with tqdm(total=segments, desc="play", unit="segment") as bar:

        def say(length_s: float, _: str) -> None:
            nonlocal played_s, last_s
            now_s = time.process_time()
            paces.append(length_s / (now_s - last_s))
            played_s, last_s = played_s + length_s, now_s
            bar.update()

        play.play_scene(Simulation(), folder, 0, segments, camera, say)
    pace = statistics.median(paces)
    return [
        Row(
            f"play with its bags, median of {segments} segments of a minute",
            "x real time",
            pace,
            goal=f"≥ {_GOAL_PACE:g}: 30 h within 1 h on two cores",
            met=pace >= _GOAL_PACE,
        ),
        Row("30 h of play on two such cores", "h", 30.0 / (2.0 * pace)),
        Row("an hour of play on the disk", "MB", _megabytes(folder) * 3600.0 / played_s),
    ]


def demo_rows(camera: SimCamera, folder: Path, attempts: int) -> list[Row]:
    """Return how many demonstrations of each task a minute gives, and how large one is."""
    rows = []
    simulation = Simulation(others=2)
    for task in _TASKS:
        where = folder / task.split()[2]
        where.mkdir()
        begin_s, good = time.process_time(), 0
        for attempt in tqdm(range(attempts), desc=task, unit="demo"):
            good += not demos.demonstrate(simulation, task, where, attempt, camera)
        minutes = (time.process_time() - begin_s) / 60.0
        what = f"{task!r}: demonstrations, {good} of {attempts} attempts succeeded"
        rows.append(Row(what, "1/min", good / minutes))
        rows.append(Row(f"{task!r}: one on the disk", "MB", _megabytes(where) / max(good, 1)))
    return rows


def main() -> None:
    """Measure, print and write bench/results/evidence.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="half a minute; says little")
    quick = parser.parse_args().quick
    camera = Simulation().make_camera()
    with tempfile.TemporaryDirectory() as folder:
        played, taught = Path(folder, "play"), Path(folder, "demos")
        taught.mkdir()
        rows = play_rows(camera, played, 1 if quick else 10)
        rows += demo_rows(camera, taught, 2 if quick else 50)
    camera.close()
    if quick:
        show(rows)
        return
    versions = {"mujoco": mujoco.__version__, "numpy": np.__version__}
    print(f"\nwritten: {publish('evidence', rows, versions).name}")


if __name__ == "__main__":
    main()
