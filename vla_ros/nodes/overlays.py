"""Where a policy looks, and its gates, for people who ask for it."""

import math
import time
import traceback
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Float32MultiArray, MultiArrayDimension, MultiArrayLayout

from vla_ros.core.errors import VlaError
from vla_ros.core.observation import Chunk, Observation
from vla_ros.nodes import conversions, qos
from vla_ros.nodes.inference import Inference
from vla_ros.nodes.lifetime import ShellNode
from vla_ros.nodes.policy_parameters import PolicyParameters
from vla_ros.policy.pictures import encode_jpeg
from vla_ros.policy.remote import RemoteRunner

if TYPE_CHECKING:
    from vla_ros.policy.apt.gates import Gates
    from vla_ros.policy.runner import PolicyRunner

Answered = Callable[[Observation, Chunk], None]
GATE_COLUMNS = ("gate_mean", "gate_min", "gate_max", "backbone_share")
_JPEG_QUALITY = 85
# Who begins to listen waits at most so long to be noticed [s, wall].
_LOOK_S = 0.2


def overlays_for(
    node: ShellNode,
    runner: "PolicyRunner | RemoteRunner",
    inference: Inference,
    parameters: PolicyParameters,
) -> Answered | None:
    """Return what is to be told of each answer, so that overlays are published; None: of none.

    Where a server answers, what its network looks at stays there. That is said.
    """
    if not parameters.overlays:
        return None
    if isinstance(runner, RemoteRunner):
        node.get_logger().warning(
            "no overlays: a policy server gives none; run the checkpoint on this machine, or "
            "training.attention on a recording"
        )
        return None
    return OverlayPublisher(node, runner, inference, parameters.overlay_period_s).answered


class OverlayPublisher:
    """Publishes what answers hung on, now and then, and only where somebody listens.

    It is computed in the network's thread, behind an answer that was given; the next question
    waits for it, at most once every `period_s`.

    Args:
        node: the node to live in.
        runner: who answers.
        inference: the thread that it lives in.
        period_s: from the end of one overlay to the begin of the next, at least [s, wall].
    """

    def __init__(
        self, node: ShellNode, runner: "PolicyRunner", inference: Inference, period_s: float
    ):
        # Only where there is a network: a robot that asks a server needs no torch.
        from vla_ros.policy.overlays import overlays_of

        self._of, self._runner, self._inference = overlays_of, runner, inference
        self._logger, self._period_s = node.get_logger(), period_s
        self._pictures = {
            camera: node.create_publisher(CompressedImage, qos.attention_topic(camera), qos.PREVIEW)
            for camera in runner.cameras
        }
        self._gates = None
        if runner.has_gates:
            self._gates = node.create_publisher(Float32MultiArray, qos.GATES_TOPIC, qos.PREVIEW)
        self._is_wanted = self._was_timed = False
        # Of the network's thread alone.
        self._not_before_s = 0.0
        self._made: SimpleQueue[tuple[int, dict[str, bytes], Gates | None]] = SimpleQueue()
        node.create_timer(_LOOK_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def answered(self, seen: Observation, chunk: Chunk) -> None:
        """In the network's thread: have an overlay of an answer made after it, if it is time."""
        if self._is_wanted and time.monotonic() >= self._not_before_s:
            self._not_before_s = math.inf
            self._inference.afterwards(lambda: self._make(seen, chunk))

    def _make(self, seen: Observation, chunk: Chunk) -> None:
        start_s = time.monotonic()
        try:
            found = self._of(self._runner, seen, chunk)
            pictures = {k: encode_jpeg(p, _JPEG_QUALITY) for k, p in found.pictures.items()}
        except VlaError as error:
            self._logger.warning(f"no overlay: {error}", throttle_duration_sec=10.0)
        except Exception:  # nothing that goes wrong here may end a node whose arm is up
            self._logger.error(f"no overlay: {traceback.format_exc()}", throttle_duration_sec=10.0)
        else:
            self._made.put((seen.pictured_ns, pictures, found.gates))
            self._say_once(time.monotonic() - start_s)
        self._not_before_s = time.monotonic() + self._period_s

    def _say_once(self, took_s: float) -> None:
        if not self._was_timed:
            self._was_timed = True
            self._logger.info(
                f"an overlay takes {1e3 * took_s:.0f} ms of the network's thread: at most every "
                f"{self._period_s:g} s the next answer is later by that"
            )

    def _look(self) -> None:
        """In the node's thread: publish what was made, and see who listens."""
        publishers = [*self._pictures.values(), *filter(None, [self._gates])]
        self._is_wanted = any(p.get_subscription_count() for p in publishers)
        # All: a fast network's period may be shorter than this timer's.
        while not self._made.empty():
            stamp_ns, pictures, gates = self._made.get_nowait()
            for camera, jpeg in pictures.items():
                # In no camera's frame: it is cropped and scaled as the network is shown it.
                self._pictures[camera].publish(conversions.compressed_to_msg(jpeg, stamp_ns, ""))
            if gates is not None and self._gates is not None:
                self._gates.publish(gates_to_msg(gates))


def gates_to_msg(gates: "Gates") -> Float32MultiArray:
    """Return a row for each fused layer, with GATE_COLUMNS; the labels say which they are."""
    values = gates.values
    rows = np.stack([values.mean(1), values.min(1), values.max(1), gates.backbone_share], 1)
    count, width = rows.shape
    slots = ",".join(map(str, gates.slots))
    return Float32MultiArray(
        layout=MultiArrayLayout(
            dim=[
                MultiArrayDimension(label=f"slot {slots}", size=count, stride=count * width),
                MultiArrayDimension(label=",".join(GATE_COLUMNS), size=width, stride=width),
            ]
        ),
        data=rows.astype(np.float32).ravel().tolist(),
    )
