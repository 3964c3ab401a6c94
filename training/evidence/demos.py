"""One demonstration by the scripted teacher, without a graph: what demo_node does with it."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from training.evidence.arm_loop import ArmLoop
from training.evidence.episode_writer import EpisodeWriter
from training.evidence.sim_camera import SimCamera
from training.evidence.simulation import Simulation
from vla_ros.core import arm, kinematics
from vla_ros.core.episode import EpisodeEvent
from vla_ros.core.errors import EpisodeError, KinematicsError, SafetyError, SceneError
from vla_ros.sim.tasks import Task, parse_task
from vla_ros.sim.teacher import RATE_HZ, ScriptedTeacher

# Time limit of one demonstration, and how long its end is looked at before it is judged [s].
EPISODE_S, JUDGED_AFTER_S = 30.0, 0.5
_TEACHER_NS = round(1e9 / RATE_HZ)
# From so high above it [m] the hand goes to where it missed.
_MISS_FROM_M = 0.08


@dataclass(frozen=True)
class Mistakes:
    """What a teacher does wrong, so that it is seen how to go on.

    Attributes:
        slips: how often a step slips, see `ScriptedTeacher`.
        misses: how often a demonstration begins with the hand low beside what it is to take, as
            after a try that missed; how it came there is not in it.
        losses: how often it begins with the hand closed on nothing and far off, as after a grasp
            that did not hold.

    Raises:
        EpisodeError: a share is out of its range.
    """

    slips: float = 0.0
    misses: float = 0.0
    losses: float = 0.0

    def __post_init__(self):
        if not 0.0 <= self.slips <= 0.5:
            raise EpisodeError(
                f"slips must be 0 to 0.5, got {self.slips}; the teacher never arrives"
            )
        if min(self.misses, self.losses) < 0.0 or self.misses + self.losses > 1.0:
            raise EpisodeError(
                f"misses and losses must be shares of 1 together, got {self.misses} and "
                f"{self.losses}"
            )

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return asdict(self)


FAULTLESS = Mistakes()


def task_of(text: str) -> Task:
    """Return the task that a sentence names.

    Raises:
        EpisodeError: the simulator does not know it.
    """
    task = parse_task(text)
    if task is None:
        raise EpisodeError(
            f"the scripted teacher does not know the task {text!r}; say, for instance, 'put the "
            "carrot on the plate'"
        )
    return task


def episode_id(attempt: int) -> str:
    """Return the name of the bag of an attempt, counted from 0."""
    return f"demo-{attempt:05d}"


def demonstrate(
    simulation: Simulation,
    text: str,
    folder: Path,
    attempt: int,
    camera: SimCamera,
    mistakes: Mistakes = FAULTLESS,
) -> str:
    """Make one attempt in a scene of its own; write it to `folder` where it succeeds.

    Returns:
        Why it failed, empty where it did not.

    Raises:
        VlaError: the task is unknown, or the bag cannot be made.
    """
    task = task_of(text)
    try:
        loop = simulation.make_arm(attempt, camera, task)
    except SceneError as error:  # what does not fit in this scene fits in another
        return str(error)
    if task.evaluate(loop.world).success:
        return "done from the beginning"
    teacher = ScriptedTeacher(task, simulation.random(attempt), slips=mistakes.slips)
    settings = {"seed": simulation.seed, "attempt": attempt, **mistakes.to_dict()}
    facts = {"generated_seed": str(simulation.seed), "generated_scene": str(attempt)}
    writer = EpisodeWriter(folder, loop.world, [camera], facts)
    loop.listeners.append(writer)
    try:
        loop.go_to(arm.READY_RAD, 1.0)
        # From a source of its own: what the teacher draws is the same with misses and without.
        drawn = simulation.random(attempt, 3).random()
        is_lost = mistakes.misses <= drawn < mistakes.misses + mistakes.losses
        if (drawn < mistakes.misses or is_lost) and not _miss(loop, teacher, is_lost):
            return "the hand did not get to where it was to begin"
        # The teacher looks when the camera does, as a policy will.
        while loop.now_ns % _TEACHER_NS:
            loop.step()
        writer.begin(EpisodeEvent("start", episode_id(attempt), "demo", text, settings=settings))
        reason = _teach(loop, teacher)
        if reason:
            return reason
        if not task.evaluate(loop.world).success:
            return "not done when the teacher was"
        writer.end(True, "teacher done")
        return ""
    except SafetyError as error:
        return str(error)
    finally:
        # What was ended is no longer open.
        writer.discard()


def _miss(loop: ArmLoop, teacher: ScriptedTeacher, is_lost: bool) -> bool:
    """Move the arm to where a try has missed, or has lost its toy; return whether it got there."""
    T_base_tool, opening = teacher.missed(
        kinematics.forward(loop.measured[0]), loop.world.object_poses(), is_lost
    )
    above = T_base_tool.copy()
    above[2, 3] += _MISS_FROM_M
    try:
        for pose in (above, T_base_tool):
            loop.go_to(kinematics.inverse(pose, loop.commanded[0]), opening)
    except (KinematicsError, SafetyError):  # out of reach, or something is in the way
        return False
    return True


def _teach(loop: ArmLoop, teacher: ScriptedTeacher) -> str:
    """Let the teacher act until it is done and the arm at rest; return why it was not, or ""."""
    end_ns, done = loop.now_ns + round(EPISODE_S * 1e9), False

    def act() -> None:
        nonlocal done
        if loop.now_ns % _TEACHER_NS:
            return
        q_rad, opening = loop.measured
        target, opening, done = teacher.action(
            kinematics.forward(q_rad), opening, loop.world.object_poses()
        )
        # Out of reach, it holds, as the node does.
        with suppress(KinematicsError):
            loop.loop.set_target(kinematics.inverse(target, loop.commanded[0]), opening)

    while not done:
        if loop.now_ns >= end_ns:
            return "time limit"
        loop.step(act)
        if cut := loop.loop.stop_reason or loop.loop.end_reason:
            return cut
    loop.settle()
    loop.wait(JUDGED_AFTER_S)
    return ""
