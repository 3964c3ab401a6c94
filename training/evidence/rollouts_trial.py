"""One roll-out of a policy in a cell's scene, and what came of it."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from training.evidence.arm_loop import ArmLoop
from training.evidence.cells import Ask, Cell
from training.evidence.rollouts_policy import SimulatedPolicy
from training.evidence.sim_camera import SIZE_PX, SimCamera
from vla_ros.core.errors import SceneError
from vla_ros.core.limits import wx250s_limits
from vla_ros.core.task_run import Facts, Outcome, SimJudge, TaskRun
from vla_ros.policy.checkpoint import Checkpoint
from vla_ros.policy.runner import runner_of
from vla_ros.sim.looks import Look
from vla_ros.sim.render import SceneRenderer
from vla_ros.sim.tasks import Task
from vla_ros.sim.world import SimWorld

# As often as the simulator's node judges a task [ns].
_JUDGED_EACH_NS = 100_000_000


@dataclass(frozen=True)
class Settings:
    """What all trials of a run share; results of other settings are none of this run.

    Attributes:
        seed: of the scenes; training has others.
        time_limit_s: for each task [s of the world]; the teacher needs about 7.
        latency_s: from observation to answer [s], or "measured", which differs from run to run.
        camera_hz, width, height: of the pictures.
    """

    seed: int = 0
    time_limit_s: float = 20.0
    latency_s: float | Literal["measured"] = 0.1
    camera_hz: float = 5.0
    width: int = SIZE_PX[0]
    height: int = SIZE_PX[1]

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return asdict(self)


class Progress:
    """How far a trial's tasks are, one after the other.

    Attributes:
        partial, success: of each task, whether it was begun, and done.
    """

    def __init__(self, ask: Ask, world: SimWorld):
        self._ask, self._world = ask, world
        self._judges = [SimJudge(task.instruction) for task in ask.tasks]
        self.partial = [False] * len(ask.tasks)
        self.success = [False] * len(ask.tasks)

    @property
    def sentence(self) -> str:
        """What the policy is told now."""
        done = self.done
        return self._ask.sentences[min(done, len(self._ask.sentences) - 1)]

    @property
    def done(self) -> int:
        """How many tasks are done."""
        return sum(self.success)

    def look(self) -> None:
        """Judge the task that is next; what comes after it cannot be done before."""
        now = self.done
        if now == len(self._judges):
            return
        task, judge = self._ask.tasks[now], self._judges[now]
        state = task.evaluate(self._world)
        if now:
            # What a policy did too early counts once its turn has come.
            judge.hear(_said(task, state.partial, False))
        judge.hear(_said(task, state.partial, state.success))
        self.partial[now] = bool(judge.partial)
        self.success[now] = bool(judge.success)


def _said(task: Task, partial: bool, success: bool) -> dict[str, Any]:
    return {"task": task.instruction, "partial": partial, "success": success}


class Stage:
    """Cameras for trials, kept from one to the next: OpenGL takes longer than a picture.

    Args:
        names: of the cameras.
        settings: of the run.
    """

    def __init__(self, names: Sequence[str], settings: Settings):
        self._names, self._settings = tuple(names), settings
        self._cameras: dict[str, list[SimCamera]] = {}

    def cameras(self, look: Look) -> list[SimCamera]:
        """Return the cameras that see a look."""
        found = self._cameras.get(look.name)
        if found is None:
            s = self._settings
            found = self._cameras[look.name] = [
                SimCamera(
                    *(name, s.width, s.height, s.camera_hz),
                    renderer=SceneRenderer(s.width, s.height, name, look),
                )
                for name in self._names
            ]
        return found


class Film:
    """Keeps the pictures of one camera; a `Listener`."""

    def __init__(self, camera: str):
        self._camera = camera
        self.frames: list[bytes] = []

    def joint_state(self, stamp_ns, position, velocity, effort) -> None:
        """Not kept."""

    def commanded(self, stamp_ns, q_rad, opening) -> None:
        """Not kept."""

    def picture(self, stamp_ns: int, camera: str, jpeg: bytes) -> None:
        """Keep it."""
        if camera == self._camera:
            self.frames.append(jpeg)


def roll_out(
    checkpoint: Checkpoint, cell: Cell, trial: int, settings: Settings, stage: Stage
) -> tuple[dict, list[bytes]]:
    """Do one trial; return its record, plain JSON types, and its pictures (JPEG).

    Equal arguments give equal records but for `inference_ms`, in whatever order trials are done,
    unless latency is measured. The record has `success` and `partial` of the whole, and of each
    task.

    Raises:
        SceneError: the scene cannot be made, or is one where nothing is left to do.
    """
    scene, ask = cell.scene(trial, settings.seed), cell.ask(trial)
    # Begun with few things: a layout of its own that it would draw for nine may not be there.
    world = SimWorld(0, ask.tasks[0].objects, log=lambda _: None)
    world.reset(0, layout=scene.layout, arm_rad=scene.arm_rad)
    if any(task.evaluate(world).success for task in ask.tasks):
        raise SceneError(
            f"trial {trial} of cell {cell.name!r} with seed {settings.seed} begins with its task "
            "done; take another seed"
        )
    runner = runner_of(checkpoint, scene.seed)
    limits = wx250s_limits()
    cameras = stage.cameras(scene.look)
    loop = ArmLoop(world, cameras, limits)
    policy = SimulatedPolicy(loop, runner, cameras, limits, scene.look, settings.latency_s)
    film = Film(runner.cameras[0])
    loop.listeners.append(film)
    progress = Progress(ask, world)
    run = _run(loop, policy, progress, settings.time_limit_s)
    assert run.ending is not None
    record = {
        "cell": cell.name,
        "trial": trial,
        "layout_seed": scene.seed,
        "look": scene.look.name,
        "sentences": list(ask.sentences),
        "success": run.ending.outcome == Outcome.SUCCEEDED,
        "partial": progress.partial[0],
        "tasks_partial": progress.partial,
        "tasks_success": progress.success,
        "outcome": run.ending.outcome.name,
        "message": run.ending.message,
        "duration_s": round(run.elapsed_s, 3),
        "steps": policy.counts.steps,
        "unused": policy.counts.unused,
        "held": policy.counts.held,
        "blocks": loop.loop.blocks,
        "problem": policy.counts.problem,
        "tool_m": np.round(world.tool_pose()[:3, 3], 6).tolist(),
        "inference_ms": round(statistics.median(policy.counts.act_ms or [0.0]), 2),
    }
    return record, film.frames


def _run(
    loop: ArmLoop, policy: SimulatedPolicy, progress: Progress, time_limit_s: float
) -> TaskRun:
    """Let the policy act until all is done, the arm is stopped, or its time is over."""
    count = len(progress.success)
    run = TaskRun(time_limit_s * count)
    run.begin()
    progress.look()
    while True:
        policy.tell(progress.sentence)
        loop.step(policy.tick)
        if loop.now_ns % _JUDGED_EACH_NS == 0:
            progress.look()
        stopped = loop.loop.stop_reason or loop.loop.end_reason
        verdict = True if progress.done == count else None
        if run.judge(Facts(loop.now_ns, verdict, ", says the simulator", stopped)) is not None:
            return run
