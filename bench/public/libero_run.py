"""Episodes of LIBERO-PRO, of the expert or of a served policy; called by `bench.public.libero`.

Runs under the Python of `environments.LIBERO`: `python -m bench.public.libero_run JSON` does what
JSON asks for and writes one line of JSON an episode, or one of a whole recording.
"""

import json
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from bench.public.libero_demos import expert_episode, record
from bench.public.libero_peer_world import BASE_SUITES, CAMERA, SIDE_PX, Goal, Seen, World
from bench.public.vla_eval_client import Harness, RefusedError, connected


class Task(Protocol):
    """What of `World` an episode of a policy needs."""

    instruction: str
    name_says: str
    goal: Goal

    def begin(self, layout: int) -> Seen: ...
    def step(self, action: np.ndarray) -> bool: ...
    def seen(self) -> Seen: ...
    def picture(self) -> np.ndarray: ...
    def camera(self) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True)
class Outcome:
    """What came of an episode; `refused` is why the policy had no action, "" where it had all."""

    is_success: bool
    steps: int
    refused: str = ""


def policy_episode(task: Task, harness: Harness, layout: int, most: int) -> Outcome:
    """Have a served policy do an episode.

    It is told the perturbed sentence, shown a picture where it wants one, and told where the tool
    and the camera are. A policy that has no action has failed.
    """
    seen = task.begin(layout)
    K, T = task.camera()
    camera = {"K": K, "size": [SIDE_PX, SIDE_PX], "T_base_camera": T}
    harness.begin(task.instruction)
    left, is_success, steps = 0, False, 0
    while steps < most and not is_success:
        told = {
            "images": {CAMERA: task.picture()} if left == 0 else {},
            "task_description": task.instruction,
            "states": seen.state,
            "cameras": {CAMERA: camera},
        }
        try:
            action, left = harness.act(told)
        except RefusedError as error:
            harness.end(False)
            return Outcome(False, steps, str(error))
        is_success = task.step(action)
        seen, steps = task.seen(), steps + 1
    harness.end(is_success)
    return Outcome(is_success, steps)


def run(job: dict, harness: Harness | None = None) -> None:
    """Do the episodes that `job` asks for: base, perturbations, tasks, layouts and most.

    By the policy behind `harness`, or by the expert.
    """
    most = job["most"] or BASE_SUITES[job["base"]]
    for perturbation in job["perturbations"]:
        for number in job["tasks"]:
            with closing(World(job["base"] + perturbation, number)) as world:
                for layout in range(job["layouts"]):
                    begun = time.monotonic()
                    if harness is None:
                        outcome = _expert(world, layout, most)
                    else:
                        outcome = policy_episode(world, harness, layout, most)
                    row = {
                        "suite": world.suite,
                        "task": number,
                        "layout": layout,
                        "instruction": world.instruction,
                        "name_says": world.name_says,
                        "success": outcome.is_success,
                        "steps": outcome.steps,
                        "refused": outcome.refused,
                        "seconds": round(time.monotonic() - begun, 2),
                    }
                    print("\n" + json.dumps(row), flush=True)


def _expert(world: World, layout: int, most: int) -> Outcome:
    moments: list[Seen] = []
    seen = world.begin(layout)
    found = expert_episode(world, layout, seen, most, lambda seen, _: moments.append(seen))
    return Outcome(found, len(moments))


def main() -> None:
    """Do what the first argument asks for."""
    job = json.loads(sys.argv[1])
    if "out" in job:
        told = record(Path(job["out"]), job["base"], job["tasks"], job["count"])
        print("\n" + json.dumps(told), flush=True)
    elif job["url"]:
        with connected(job["url"]) as harness:
            run(job, harness)
    else:
        run(job)


if __name__ == "__main__":
    main()
