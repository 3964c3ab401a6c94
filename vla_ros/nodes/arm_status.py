"""What the arm client says about the arm: on /diagnostics, and who holds it."""

import numpy as np

from vla_ros.core.command_loop import CommandLoop
from vla_ros.core.monitor import SERVOS
from vla_ros.nodes.arm_stream import MeasuredArm
from vla_ros.nodes.diagnostics import ERROR, OK, STALE, WARN
from vla_ros.nodes.servo_check import ServoCheck

Status = tuple[int, str, dict[str, object]]

# What a verdict says of others than who moves the arm.
_OUTSIDE = ("camera", "stale", "frozen", "clock")


def arm_status(
    active: bool, loop: CommandLoop, measured: MeasuredArm, servos: ServoCheck
) -> Status:
    """Return level, one sentence, and the numbers behind it, with units in their names."""
    values: dict[str, object] = {
        "active": active,
        "stopped": bool(loop.stop_reason),
        "refused_targets": loop.refusals,
        "blocks": loop.blocks,
        "late_commands": loop.clock.late,
        "clock_jumps": loop.clock.jumps,
    }
    if active and measured.pose is not None:
        lag_rad = np.abs(loop.commanded[0] - measured.pose[0]).max()
        values |= {"joint_state_age_s": round(loop.age_s, 3), "lag_rad": round(float(lag_rad), 4)}
    if measured.effort_ma is not None:
        values |= {
            f"effort_ma.{name}": round(float(effort_ma))
            for name, effort_ma in zip(SERVOS, measured.effort_ma, strict=True)
        }
    values |= {f"rejected.{reason}": count for reason, count in measured.rejected.items()}
    hottest, celsius = servos.heat.hottest
    values |= {"servo_checks": servos.checks, "hottest_servo": hottest, "hottest_c": celsius}
    if loop.stop_reason:
        return ERROR, f"stopped: {loop.stop_reason}", values
    if measured.pose is None:
        return STALE, "no joint state yet", values
    if not active:
        return OK, "not active", values
    if loop.verdict.level != "go" or loop.blocked_reason:
        return WARN, loop.verdict.sentence or loop.blocked_reason, values
    if servos.heat.warm_reason:
        return WARN, f"warm, let the motors rest: {servos.heat.warm_reason}", values
    return OK, "follows its commands", values


def held_from_outside(loop: CommandLoop) -> tuple[str, str]:
    """Return what holds the arm that did not come of its motion, in one word and in a sentence.

    The word is a verdict's cause, "stop", "wait" or "leash"; both are empty where nothing does,
    and where the arm was blocked.
    """
    verdict = loop.verdict
    if verdict.cause in _OUTSIDE:
        return verdict.cause, verdict.sentence
    if loop.is_stopped:
        return ("stop" if loop.stop_reason else "wait"), loop.blocked_reason
    return ("leash", loop.leash_reason) if loop.leash_reason else ("", "")
