"""policy_node: a checkpoint and an instruction move the arm.

At the contract's rate, and where the last chunk is used up to `execute_steps`, what is seen goes to
the network, in a thread of its own; the chunk that comes back is put into a queue, from which the
50 Hz stream of the arm client pops targets. Whatever is wrong - a stale image, an illegal action, a
pose out of reach - the arm holds.
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from std_msgs.msg import String

from vla_ros.core import arm, kinematics
from vla_ros.core.action_queue import ActionQueue
from vla_ros.core.contract import Contract, apt_contract, tap_contract
from vla_ros.core.errors import EpisodeError, VlaError
from vla_ros.core.observation import Chunk, Observation
from vla_ros.nodes import qos
from vla_ros.nodes.commander import CommanderNode, CommanderParameters
from vla_ros.nodes.episodes import Steps
from vla_ros.nodes.lifetime import run
from vla_ros.nodes.params import ParameterError, parameter
from vla_ros.nodes.policy_inputs import PolicyInputs
from vla_ros.nodes.policy_results import PolicyResults
from vla_ros.nodes.ticker import tick_every
from vla_ros.policy.checkpoint_folder import require_folder

if TYPE_CHECKING:
    from vla_ros.policy.runner import PolicyRunner

# Without a command for so long, five periods, the arm was held.
_HELD_NS = 100_000_000


@dataclass(frozen=True)
class PolicyParameters(CommanderParameters):
    """Parameters of policy_node."""

    checkpoint: str = parameter("", "Folder of a Stage 2 checkpoint, of TAP or APT.")
    task: str = parameter("", "The instruction; /vla/task changes it while running.")
    camera: str = parameter("front", "Name of the camera that is the checkpoint's first.")
    episodes: int = parameter(1, "Stop after so many episodes; 0: never.", "", 0, 1_000_000)
    episode_s: float = parameter(60.0, "Time limit of an episode.", "s", 0.2, 86400.0)
    execute_steps: int = parameter(
        3, "Steps of a chunk that are executed before the next is asked for.", "", 1, 1000
    )
    image_max_age_s: float = parameter(0.5, "An older image is not acted on.", "s", 0.01, 10.0)
    device: str = parameter("cpu", "Where the network runs: cpu or cuda.")
    threads: int = parameter(1, "CPU threads of the network.", "", 1, 256)
    results: str = parameter("", "JSON file for the outcome of every episode; empty: none.")


class PolicyNode(CommanderNode):
    """Runs episodes of one task with one checkpoint."""

    def __init__(self):
        super().__init__("policy", "policy", PolicyParameters)
        self._worker: ThreadPoolExecutor | None = None
        self._inference: Future | None = None
        self._inference_ms: list[float] = []
        self._steps_taken = 0
        self._held = 0
        self._ticked_ns = 0
        # What is asked for in one life of the plan is not used in the next.
        self._life = self._asked = 0

    def configure(self) -> None:
        """Load the checkpoint and have the network act once, so that its first step is no slower.

        Raises:
            ParameterError: there is no task or no checkpoint.
            CheckpointError: the checkpoint is missing or damaged.
            ContractError: it was made for another arm, camera or action space.
        """
        parameters = self.parameters
        if not parameters.task.strip():
            raise ParameterError("parameter task of node policy is empty: say what to do, task:=…")
        self._task = parameters.task
        runner = load_runner(
            parameters.checkpoint, parameters.camera, parameters.device, parameters.threads
        )
        runner.warm_up()
        self._runner = runner
        self._queue = ActionQueue(parameters.execute_steps)
        self._results = PolicyResults(self._task, parameters.checkpoint, parameters.results)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")
        super().configure()
        self._inputs = PolicyInputs(
            *(self, self.arm, runner, parameters.robot_name, parameters.image_max_age_s),
            # Of older ones the arm's monitor holds the arm anyway.
            state_max_age_s=parameters.monitor.stale_s,
        )
        self.create_subscription(String, qos.TASK_TOPIC, self._on_task, qos.LATCHED)
        self._decisions = tick_every(self, 1.0 / runner.contract.rate_hz, self._decide)
        self.episodes.say_task(self._task)

    def mission(self) -> Steps:
        """Run the episodes from the ready pose, each on a fresh scene in the sim, then park."""
        yield from self.until_active()
        count = 0
        while not self.parameters.episodes or count < self.parameters.episodes:
            yield from self.until_free()
            yield from self.go_to(arm.READY_RAD, 1.0)
            if count and self.scene_can_reset:
                yield from self.reset_scene()
            yield from self._episode(f"policy-{count:05d}")
            count += 1
        yield from self.park_arm()

    def _episode(self, episode_id: str) -> Steps:
        yield from self._until_seen()
        yield from self.episodes.begin(episode_id, self._task)
        self._steps_taken, self._held, self._inference_ms = 0, 0, []
        start_ns = self.now_ns
        end_ns = start_ns + int(self.parameters.episode_s * 1e9)
        self._begin_anew()
        self._ticked_ns = start_ns
        partial, success = None, None
        # While the policy acts, the arm holds without pictures; on its own ways it needs none.
        self._inputs.need_cameras(True)
        self.acting = True
        while self.now_ns < end_ns and not success and not self.arm.stopped:
            self.episodes.check()
            if self.task_state:
                partial = partial or self.task_state["partial"]
                success = self.task_state["success"]
            yield
        reason = "task done" if success else self.arm.blocked_reason or "time limit"
        yield from self.settle()
        self._inputs.need_cameras(False)
        yield from self.episodes.end(success, reason)
        self._note(episode_id, partial, success, (self.now_ns - start_ns) / 1e9)

    def _until_seen(self) -> Steps:
        deadline = time.monotonic() + self.parameters.driver_wait_s
        while missing := self._inputs.streams.missing():
            if time.monotonic() > deadline:
                raise EpisodeError(f"{missing} (waited {self.parameters.driver_wait_s:g} s)")
            yield

    # --- what the policy does ---

    def _on_task(self, message: String) -> None:
        if message.data.strip() and message.data != self._task:
            self._task = message.data
            self.get_logger().info(f"new task: {self._task}")
            if self.acting:
                # What the old task asked for, and what is still being inferred for it, is over.
                self._begin_anew()
                self.arm.hold()

    def _decide(self) -> None:
        """Start one inference on what is seen now, where it is time, unless the last still runs."""
        now_ns = self.now_ns
        if not self.acting or not self._queue.wants_chunk(now_ns):
            return
        try:
            seen = self._inputs.streams.at(self.get_clock().now().nanoseconds, self._task)
        except VlaError as error:
            self._hold(str(error))
            return
        if self._inference is None:
            T_commanded = kinematics.forward(self.arm.commanded[0])
            self._asked = self._life
            self._inference = self._worker.submit(self._infer, seen, T_commanded, now_ns)
        elif self._queue.is_empty(now_ns):
            self._held += 1

    def _infer(
        self, seen: Observation, T_commanded: np.ndarray, seen_ns: int
    ) -> tuple[Chunk, int, float]:
        """Return (chunk, when was seen what it answers [ns], duration [ms]); in the worker."""
        start_s = time.perf_counter()
        chunk = self._runner.act(seen)
        if seen.state is not None:
            chunk = chunk.as_commands(kinematics.forward(seen.state[:6]), T_commanded)
        return chunk, seen_ns, 1e3 * (time.perf_counter() - start_s)

    def on_tick(self) -> None:
        """Take over a chunk that is ready, and head for the step that is due."""
        now_ns = self.now_ns
        since_ns, self._ticked_ns = now_ns - self._ticked_ns, now_ns
        if self.arm.blocked_reason or not 0 <= since_ns <= _HELD_NS:
            # The arm is held, or was since; what the pictures showed is over.
            self._begin_anew()
        if self.arm.blocked_reason:
            self.arm.hold()
            return
        q_now, _ = self.arm.commanded
        try:
            self._take_chunk()
            target = self._queue.pop(now_ns, kinematics.forward(q_now))
            if target is None:
                return
            # A network aims a little too low as often as too high; that is no reason to stop.
            q_target = kinematics.inverse(self.limits.clamp_pose(target[0]), q_now)
        except VlaError as error:
            self._hold(str(error))
            return
        self._steps_taken += 1
        self.arm.set_target(q_target, target[1])

    def _take_chunk(self) -> None:
        if self._inference is None or not self._inference.done():
            return
        done, self._inference = self._inference, None
        if self._asked != self._life:
            return
        chunk, seen_ns, duration_ms = done.result()
        self._inference_ms.append(duration_ms)
        self._queue.put(chunk, seen_ns)

    def _begin_anew(self) -> None:
        """Leave nothing of before: the answer of an inference that still runs is nobody's."""
        self._queue.clear()
        self._life += 1

    def _hold(self, reason: str) -> None:
        self._held += 1
        self._begin_anew()
        self.arm.hold()
        self.get_logger().warning(f"holding: {reason}", throttle_duration_sec=2.0)

    # --- results ---

    def _note(self, episode_id: str, partial, success, duration_s: float) -> None:
        self.get_logger().info(
            f"{episode_id}: success {success}, partial {partial}, {self._steps_taken} steps"
        )
        self._results.add(
            {
                "episode_id": episode_id,
                "task": self._task,
                "layout_seed": self.task_state.get("layout_seed"),
                "partial": partial,
                "success": success,
                "steps": self._steps_taken,
                "held": self._held,
                "duration_s": round(duration_s, 3),
                "inference_ms": [round(value, 3) for value in self._inference_ms],
            }
        )

    def close(self) -> None:
        """Wait for the running inference."""
        super().close()
        if self._worker is not None:
            self._worker.shutdown(wait=True, cancel_futures=True)
            self._worker = None


def load_runner(checkpoint: str, camera: str, device: str, threads: int) -> "PolicyRunner":
    """Return the runner of a checkpoint that fits this arm and camera.

    Raises:
        CheckpointError: missing or damaged.
        ContractError: made for another arm, camera or action space.
    """
    if not checkpoint:
        raise ParameterError(
            "parameter checkpoint of node policy is empty: give the folder that "
            "training.stage2_tap or training.stage2_apt wrote, checkpoint:=DIR"
        )
    require_folder(Path(checkpoint))
    # Importing torch takes seconds: whoever forgot a parameter is told before.
    import torch

    from vla_ros.policy.runner import PolicyRunner

    torch.set_num_threads(threads)
    runner = PolicyRunner.load(checkpoint, device=device)
    expected = expected_contract(camera, runner.contract)
    expected.require_match(runner.contract, f"checkpoint {checkpoint}")
    return runner


def expected_contract(camera: str, found: Contract) -> Contract:
    """Return the contract that a policy of this node has.

    Image size, rate, horizon and further cameras are the checkpoint's to choose; arm, first camera
    and action space are not.
    """
    cameras = (camera, *found.cameras[1:])
    size, rate_hz = found.image.shape[0], found.rate_hz
    if found.action_space == "ee_chunk":
        return apt_contract(cameras, size, rate_hz, found.action.shape[0])
    return tap_contract(cameras, size, rate_hz)


def main() -> int:
    """Run policy_node; the entry of scripts/policy_node."""
    return run(PolicyNode, "policy_node")
