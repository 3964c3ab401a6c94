"""Episodes of SIMPLER's WidowX tasks in ManiSkill, by a served policy; see `bench.public.simpler`.

Runs under the Python of `environments.SIMPLER`: `python -m bench.public.simpler_run JSON` does what
JSON asks for and writes one line of JSON an episode.

An episode goes on to its limit, and what counts is how things stand then, as in SIMPLER's own
`simpler_env/real2sim_eval_maniskill3.py` (github.com/simpler-env/SimplerEnv, branch maniskill3).
"""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bench.public.simpler_peer_scene import TASKS, Scene
from bench.public.vla_eval_client import Harness, RefusedError, connected
from vla_ros.core.errors import VlaError

# What vla-eval calls that camera's pictures, and so what our server wants.
PICTURE = "primary"


class Task(Protocol):
    """What of `Scene` an episode needs."""

    instruction: str

    def begin(self, start: int) -> None: ...
    def step(self, action: np.ndarray) -> bool: ...
    def picture(self) -> np.ndarray: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """What came of an episode.

    Attributes:
        is_success: it was done when the episode ended.
        was_done: it was done at some step.
        steps: that were made.
        refused: why the policy had no action, "" where it had all.
    """

    is_success: bool
    was_done: bool
    steps: int
    refused: str = ""


def policy_episode(task: Task, harness: Harness, start: int, most: int) -> Outcome:
    """Have a served policy do an episode of `most` steps; one that has no action has failed."""
    task.begin(start)
    harness.begin(task.instruction)
    is_done = was_done = False
    left = 0
    for step in range(most):
        told = {
            "images": {PICTURE: task.picture()} if left == 0 else {},
            "task_description": task.instruction,
        }
        try:
            action, left = harness.act(told)
        except RefusedError as error:
            harness.end(False)
            return Outcome(False, was_done, step, str(error))
        is_done = task.step(action)
        was_done = was_done or is_done
    harness.end(is_done)
    return Outcome(is_done, was_done, most)


def run(job: dict, harness: Harness, opened: Callable[[str], Task] = Scene) -> None:
    """Do the episodes that `job` asks for, tasks, episodes and most, and write a line of each."""
    for name in job["tasks"]:
        with closing(opened(name)) as task:
            for start in range(job["episodes"]):
                begun = time.monotonic()
                outcome = policy_episode(task, harness, start, job["most"] or TASKS[name].steps)
                row = {
                    "suite": TASKS[name].name,
                    "task": name,
                    "start": start,
                    "instruction": task.instruction,
                    "success": outcome.is_success,
                    "was_done": outcome.was_done,
                    "steps": outcome.steps,
                    "refused": outcome.refused,
                    "seconds": round(time.monotonic() - begun, 2),
                }
                print("\n" + json.dumps(row), flush=True)


def main() -> None:
    """Do what the first argument asks for; an error is a sentence on stderr and exit code 1."""
    job = json.loads(sys.argv[1])
    try:
        # ManiSkill asks whether to fetch what it misses, where nobody sees the question.
        with open(os.devnull) as sys.stdin, connected(job["url"]) as harness:
            run(job, harness)
    except ConnectionError as error:
        sys.exit(f"no policy server answers at {job['url']} ({error}); start one, or correct --url")
    except (RuntimeError, VlaError, OSError) as error:
        sys.exit(f"bench.public.simpler_run: {error}")


if __name__ == "__main__":
    main()
