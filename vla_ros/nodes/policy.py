"""policy_node: a checkpoint and an instruction move the arm.

At the contract's rate the newest image goes to the network, in a thread of its own; the action
that comes back moves the commanded tool pose, and the 50 Hz stream of the arm client follows.
Whatever is wrong - a stale image, an illegal action, a pose out of reach - the arm holds.
"""

import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import String

from vla_ros.core import arm, kinematics
from vla_ros.core.actions import apply_ee_delta
from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import EpisodeError, StaleDataError, VlaError
from vla_ros.core.resample import NS_PER_S, StreamBuffer
from vla_ros.nodes import conversions, qos
from vla_ros.nodes.commander import CommanderNode, CommanderParameters
from vla_ros.nodes.episodes import Steps
from vla_ros.nodes.lifetime import run
from vla_ros.nodes.params import ParameterError, parameter
from vla_ros.nodes.ticker import tick_every
from vla_ros.policy.runner import PolicyRunner


@dataclass(frozen=True)
class PolicyParameters(CommanderParameters):
    """Parameters of policy_node."""

    checkpoint: str = parameter("", "Folder of a Stage 2 checkpoint.")
    task: str = parameter("", "The instruction; /vla/task changes it while running.")
    camera: str = parameter("front", "Name of the camera to look through.")
    episodes: int = parameter(1, "Stop after so many episodes; 0: never.", "", 0, 1_000_000)
    episode_s: float = parameter(60.0, "Time limit of an episode.", "s", 0.2, 86400.0)
    image_max_age_s: float = parameter(0.5, "An older image is not acted on.", "s", 0.01, 10.0)
    threads: int = parameter(1, "CPU threads of the network.", "", 1, 256)
    results: str = parameter("", "JSON file for the outcome of every episode; empty: none.")


class PolicyNode(CommanderNode):
    """Runs episodes of one task with one checkpoint."""

    def __init__(self):
        super().__init__("policy", "policy", PolicyParameters)
        self._worker: ThreadPoolExecutor | None = None
        self._inference: Future | None = None
        self._outcomes: list[dict] = []
        self._inference_ms: list[float] = []
        self._steps_taken = 0
        self._held = 0

    def configure(self) -> None:
        """Load the checkpoint and have the network act once, so that its first step is no slower.

        Raises:
            ParameterError: there is no task or no checkpoint.
            CheckpointError: the checkpoint is missing or damaged.
            ContractError: it was made for another arm, camera or action space.
        """
        parameters = self.parameters
        # The same rule as in conversion: the newest image not later than now, if recent enough.
        self._images: StreamBuffer[bytes] = StreamBuffer(
            f"/{parameters.camera}/image_raw/compressed",
            int(parameters.image_max_age_s * NS_PER_S),
            capacity=4,
        )
        if not parameters.task.strip():
            raise ParameterError("parameter task of node policy is empty: say what to do, task:=…")
        self._task = parameters.task
        torch.set_num_threads(parameters.threads)
        self._runner = load_runner(parameters.checkpoint, parameters.camera)
        self._runner.warm_up()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")
        super().configure()
        self.create_subscription(
            CompressedImage,
            f"/{parameters.camera}/image_raw/compressed",
            self._on_image,
            qos.CAMERA,
        )
        self.create_subscription(String, qos.TASK_TOPIC, self._on_task, qos.LATCHED)
        self._decisions = tick_every(self, 1.0 / self._runner.contract.rate_hz, self._decide)
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
        yield from self._until_image()
        yield from self.episodes.begin(episode_id, self._task)
        self._steps_taken, self._held, self._inference_ms = 0, 0, []
        # An action of the last episode, if one came late, is nobody's any more.
        self._inference = None
        start_ns = self.now_ns
        end_ns = start_ns + int(self.parameters.episode_s * 1e9)
        partial, success = None, None
        # While the policy acts, the arm holds without pictures; on its own ways it needs none.
        self.arm.need_camera(self.parameters.camera, self.parameters.image_max_age_s)
        self.acting = True
        while self.now_ns < end_ns and not success and not self.arm.stopped:
            self.episodes.check()
            if self.task_state:
                partial = partial or self.task_state["partial"]
                success = self.task_state["success"]
            yield
        reason = "task done" if success else self.arm.blocked_reason or "time limit"
        yield from self.settle()
        self.arm.need_camera(self.parameters.camera, None)
        yield from self.episodes.end(success, reason)
        self._note(episode_id, partial, success, (self.now_ns - start_ns) / 1e9)

    def _until_image(self) -> Steps:
        deadline = time.monotonic() + self.parameters.driver_wait_s
        while not len(self._images):
            if time.monotonic() > deadline:
                raise EpisodeError(
                    f"no image on /{self.parameters.camera}/image_raw/compressed for "
                    f"{self.parameters.driver_wait_s:g} s; start camera_node with this camera"
                )
            yield

    # --- one step of the policy ---

    def _on_image(self, message: CompressedImage) -> None:
        stamp_ns = conversions.ns_from_stamp(message.header.stamp)
        jpeg = bytes(message.data)
        self._images.push(stamp_ns, jpeg)
        self.arm.saw_image(self.parameters.camera, stamp_ns, jpeg)

    def _on_task(self, message: String) -> None:
        if message.data.strip() and message.data != self._task:
            self._task = message.data
            self.get_logger().info(f"new task: {self._task}")

    def _decide(self) -> None:
        """Start one inference on the newest image, unless the last one still runs."""
        if not self.acting:
            return
        try:
            _, jpeg = self._images.sample(self.get_clock().now().nanoseconds)
        except StaleDataError as error:
            self._hold(str(error))
            return
        if self._inference is not None:
            self._held += 1
        else:
            self._inference = self._worker.submit(self._infer, jpeg, self._task)

    def _infer(self, jpeg: bytes, task: str) -> tuple[np.ndarray, float, int]:
        """Return (action (7,), duration [ms], when it was there [ns]); in the worker's thread."""
        start_s = time.perf_counter()
        # As it came: on its way to the network it goes through what training data went through.
        action = self._runner.act(jpeg, task)
        return action, 1e3 * (time.perf_counter() - start_s), self.now_ns

    def on_tick(self) -> None:
        """Take over an action that is ready."""
        if self._inference is None or not self._inference.done():
            return
        done, self._inference = self._inference, None
        try:
            action, duration_ms, done_ns = done.result()
            if self.now_ns - done_ns > NS_PER_S / self._runner.contract.rate_hz:
                # The arm was held since; what the picture showed is over.
                raise StaleDataError("an action waited while the arm was held, and is dropped")
            q_now, _ = self.arm.commanded
            T_target, opening = apply_ee_delta(kinematics.forward(q_now), action)
            # A network aims a little too low as often as too high; that is no reason to stop.
            q_target = kinematics.inverse(self.limits.clamp_pose(T_target), q_now)
        except VlaError as error:
            self._hold(str(error))
            return
        self._inference_ms.append(duration_ms)
        self._steps_taken += 1
        self.arm.set_target(q_target, float(opening >= 0.5))

    def _hold(self, reason: str) -> None:
        self._held += 1
        self.arm.hold()
        self.get_logger().warning(f"holding: {reason}", throttle_duration_sec=2.0)

    # --- results ---

    def _note(self, episode_id: str, partial, success, duration_s: float) -> None:
        outcome = {
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
        self._outcomes.append(outcome)
        self.get_logger().info(
            f"{episode_id}: success {success}, partial {partial}, {self._steps_taken} steps"
        )
        if self.parameters.results:
            write_results(Path(self.parameters.results), self._results())

    def _results(self) -> dict:
        durations = [value for outcome in self._outcomes for value in outcome["inference_ms"]]
        p50, p95 = np.percentile(durations, [50, 95]) if durations else (None, None)
        return {
            "task": self._task,
            "checkpoint": self.parameters.checkpoint,
            # Nobody judges a real arm: no number then.
            "successes": None
            if any(outcome["success"] is None for outcome in self._outcomes)
            else sum(outcome["success"] for outcome in self._outcomes),
            "inference_ms_p50": p50,
            "inference_ms_p95": p95,
            "episodes": self._outcomes,
        }

    def close(self) -> None:
        """Wait for the running inference."""
        super().close()
        if self._worker is not None:
            self._worker.shutdown(wait=True, cancel_futures=True)
            self._worker = None


def load_runner(checkpoint: str, camera: str) -> PolicyRunner:
    """Return the runner of a checkpoint that fits this arm and camera.

    Raises:
        CheckpointError: missing or damaged.
        ContractError: made for another arm, camera or action space.
    """
    if not checkpoint:
        raise ParameterError(
            "parameter checkpoint of node policy is empty: give the folder that "
            "training.stage2_tap wrote, checkpoint:=DIR"
        )
    runner = PolicyRunner.load(checkpoint)
    # Image size and rate are the checkpoint's to choose; arm, camera and action space are not.
    expected = tap_contract(camera, runner.contract.image.shape[0], runner.contract.rate_hz)
    expected.require_match(runner.contract, f"checkpoint {checkpoint}")
    return runner


def write_results(path: Path, results: dict) -> None:
    """Write the results as JSON, whole or not at all.

    Raises:
        EpisodeError: the file cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        part.replace(path)
    except OSError as error:
        raise EpisodeError(
            f"results cannot be written to {path} ({error.strerror}); choose another results file"
        ) from None


def main() -> int:
    """Run policy_node; the entry of scripts/policy_node."""
    return run(PolicyNode, "policy_node")
