"""The parameters of policy_node; docs/policy.md explains them."""

from dataclasses import dataclass

from vla_ros.core.handover_parameters import HandOverParameters
from vla_ros.core.task_run import MAX_TIME_LIMIT_S
from vla_ros.core.task_text import TaskError, checked_task
from vla_ros.nodes.commander import CommanderParameters
from vla_ros.nodes.params import ParameterError, group, parameter

STRATEGIES = ("auto", "blend", "ensemble", "rtc")


@dataclass(frozen=True)
class PolicyParameters(CommanderParameters):
    """Parameters of policy_node."""

    checkpoint: str = parameter(
        "", "Folder of a Stage 2 checkpoint, or tap: the one that comes with the package."
    )
    checkpoint_sha256: str = parameter(
        "", "SHA-256 that the checkpoint, a server's too, must have; empty: any."
    )
    remote_timeout_s: float = parameter(
        3.0, "How long a policy server may take to answer; then the arm holds.", "s", 0.1, 60.0
    )
    task: str = parameter(
        "",
        "The instruction; another one, here or on /vla/task, begins a new episode. Empty at the "
        "start: goals of /vla/do_task are waited for.",
        may_change=True,
    )
    camera: str = parameter("front", "Name of the camera that is the checkpoint's first.")
    episodes: int = parameter(1, "Stop after so many episodes; 0: never.", "", 0, 1_000_000)
    episode_s: float = parameter(60.0, "Time limit of an episode.", "s", 0.2, MAX_TIME_LIMIT_S)
    strategy: str = parameter(
        "auto",
        "How a chunk takes over from the one before; auto: rtc where the policy can, else blend.",
        choices=STRATEGIES,
    )
    speed_scale: float = parameter(
        1.0, "Speed along what the policy plans; 0: wait.", "1", 0.0, 1.0, may_change=True
    )
    image_max_age_s: float = parameter(
        0.5, "An older image is not shown to the network; the arm holds.", "s", 0.01, 10.0
    )
    outage_s: float = parameter(
        30.0,
        "How long answers may stay away - the server gone, a picture missing or frozen - until "
        "the arm parks and the node ends.",
        "s",
        1.0,
        MAX_TIME_LIMIT_S,
    )
    deadman_s: float = parameter(
        0.0, "Without a true on /vla/deadman for so long the arm holds; 0: not used.", "s", 0, 10.0
    )
    dry_run: bool = parameter(
        False, "Command nothing: what the policy would do goes to /vla/preview only."
    )
    overlays: bool = parameter(
        False, "Publish, where somebody listens, what answers hang on: attention and gates."
    )
    overlay_period_s: float = parameter(
        5.0,
        "Least time between two overlays, each of which keeps an answer waiting.",
        "s",
        0.1,
        3600.0,
    )
    device: str = parameter("cpu", "Where the network runs: cpu or cuda.")
    threads: int = parameter(1, "CPU threads of the network.", "", 1, 256)
    own_process: bool = parameter(
        True,
        "The network computes in a process of its own, so that it never keeps commands waiting; "
        "with overlays it does not.",
    )
    realtime_priority: int = parameter(
        1,
        "Commands come before whatever else wants the processor, at this priority of SCHED_RR, "
        "where the system allows it and time is not simulated; 0: not.",
        "",
        0,
        99,
    )
    results: str = parameter("", "JSON file for the outcome of every episode; empty: none.")
    handover: HandOverParameters = group(HandOverParameters, "handover")


def require_task(task: str) -> None:
    """Check that a text can be an instruction.

    Raises:
        ParameterError: it is empty, too long, or no line of text.
    """
    if not task.strip():
        raise ParameterError("parameter task of node policy is empty: say what to do, task:=…")
    try:
        checked_task(task)
    except TaskError as error:
        raise ParameterError(str(error)) from None
