"""What a policy is shown and what it answers, and how the one is taken from streams that run.

An observation at a tick is what a frame of a dataset at that tick is: the same rule
(`core.resample`) over the same messages. Poses of cameras are those of the tree of frames,
intrinsics those of CameraInfo, as in training.recordings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vla_ros.core.cameras import PINHOLE_MODELS
from vla_ros.core.errors import ContractError
from vla_ros.core.resample import NS_PER_S, StreamBuffer, Value
from vla_ros.core.transforms import Transform, Transforms, frame_name

# Joint states come at 100 Hz, pictures at up to 60: more than is looked back to.
_PICTURES_KEPT, _STATES_PER_S = 4, 200
# Stamps that go back further are another time, not a message that came late.
_CLOCK_STEP_NS = NS_PER_S // 2


@dataclass(frozen=True, eq=False)
class CameraView:
    """One camera's part of an observation.

    Attributes:
        picture: JPEG or PNG bytes as the camera gave them, or (H, W, 3) uint8 RGB.
        T_base_camera: (4, 4) pose of its optical frame in base_link [m]; None: not known.
        K: (3, 3) intrinsics [px]; None: not known.
        size: (width, height) [px] of the picture that K is of.
    """

    picture: bytes | np.ndarray
    T_base_camera: np.ndarray | None = None
    K: np.ndarray | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class Observation:
    """What is known at one moment.

    Attributes:
        views: by camera.
        task: the instruction, any text.
        state: (7,) joints [rad] and opening, measured; None: not asked for.
        past_states: (P, 7) the same at moments before, one period of the policy apart, oldest
            first.
        pictured_ns: stamp of the oldest of its pictures [ns].
        tools: (P + 1, 4, 4) tool poses of the past states and then of the present [m], measured;
            None: the joints tell them, which they do of the arms that are known here.
    """

    views: Mapping[str, CameraView]
    task: str
    state: np.ndarray | None = None
    past_states: np.ndarray = field(default_factory=lambda: np.zeros((0, 7)))
    pictured_ns: int = 0
    tools: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Decided:
    """What is decided of a chunk before it is asked for, for real-time chunking.

    Poses are those of commands. They are told from the pose that was *commanded* at the
    observation, as `Chunk.as_commands` takes a chunk's: from the measured one, an arm that hangs
    below its command would rise by as much with every chunk.

    Attributes:
        T_commanded: (4, 4) tool pose that was commanded at the observation.
        T_base_tool: (K, 4, 4) poses that are planned at the chunk's first K way-points.
        openings: (K,) the gripper there.
        fixed: how many of them will be done before the chunk arrives.
    """

    T_commanded: np.ndarray
    T_base_tool: np.ndarray
    openings: np.ndarray
    fixed: int


@dataclass(frozen=True, eq=False)
class Chunk:
    """What a policy answers: H actions, one after the other.

    Attributes:
        actions: (H, A) float32 in the contract's action space.
        period_s: from one to the next [s].
        openings: (H,) gripper of each, 0 closed or 1 open.
        T_base_tool: (H, 4, 4) tool poses in base_link, due 1 to H periods after the observation;
            None: each action is a displacement (`core.actions`) of whatever pose is then commanded.
        tokens: that the actions were decoded from, for who asks what they hang on; None: of none,
            or of a policy elsewhere.
    """

    actions: np.ndarray
    period_s: float
    openings: np.ndarray
    T_base_tool: np.ndarray | None = None
    tokens: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.actions)

    def as_commands(self, T_measured: np.ndarray, T_commanded: np.ndarray) -> "Chunk":
        """Return the chunk with poses to command, so that the tool comes to the poses it has.

        An arm hangs below what it is commanded, and lags behind. Poses that were predicted from
        where it was measured, commanded as they are, would lower it by as much with every chunk.
        The way to each pose is therefore taken from the pose that was commanded at that time.

        Args:
            T_measured: (4, 4) tool pose of the observation.
            T_commanded: (4, 4) tool pose that was commanded then.
        """
        if self.T_base_tool is None:
            return self
        poses = self.T_base_tool.copy()
        poses[:, :3, :3] = poses[:, :3, :3] @ T_measured[:3, :3].T @ T_commanded[:3, :3]
        poses[:, :3, 3] += T_commanded[:3, 3] - T_measured[:3, 3]
        return replace(self, T_base_tool=poses)


class ObservationStreams:
    """Takes messages in and observations out.

    Args:
        cameras: their names.
        image_max_age_s: how old a picture may be [s].
        state_max_age_s: how old a joint state may be [s].
        base_frame: the frame that poses of cameras are wanted in.
        period_s: time between two states of the past [s].
        num_past: how many of them are wanted.
        with_geometry: whether poses of cameras and states are wanted at all.
    """

    def __init__(
        self,
        cameras: Sequence[str],
        image_max_age_s: float,
        state_max_age_s: float,
        base_frame: str,
        period_s: float,
        num_past: int = 0,
        with_geometry: bool = False,
    ):
        self._pictures: dict[str, StreamBuffer[tuple[bytes, str]]] = {
            name: StreamBuffer(
                f"/{name}/image_raw/compressed", int(image_max_age_s * NS_PER_S), _PICTURES_KEPT
            )
            for name in cameras
        }
        kept = int((num_past * period_s + 1.0) * _STATES_PER_S)
        self._states: StreamBuffer[np.ndarray] = StreamBuffer(
            "the joint states", int(state_max_age_s * NS_PER_S), kept
        )
        self._base_frame = base_frame
        self._period_ns, self._num_past = round(period_s * NS_PER_S), num_past
        self._with_geometry = with_geometry
        self._transforms = Transforms()
        self._calibrations: dict[str, tuple[np.ndarray, tuple[int, int]]] = {}

    def take_picture(self, camera: str, stamp_ns: int, data: bytes, frame_id: str) -> None:
        """Note a picture of a camera, as it came."""
        _push(self._pictures[camera], stamp_ns, (data, frame_name(frame_id)))

    def take_state(self, stamp_ns: int, q_rad: np.ndarray, opening: float) -> None:
        """Note joints (6,) [rad] and opening, measured and believed."""
        _push(self._states, stamp_ns, np.append(q_rad, opening))

    def take_transform(self, found: Transform) -> None:
        """Note a transform of /tf_static; one that changes is not known any more."""
        self._transforms.take_static(found)

    def take_calibration(
        self, camera: str, size: tuple[int, int], model: str, k: Sequence[float]
    ) -> None:
        """Note a CameraInfo: (width, height) [px], distortion model and the 9 numbers of K."""
        if k[0] > 0 and model in PINHOLE_MODELS:
            self._calibrations[camera] = np.reshape(np.array(k, np.float64), (3, 3)), size
        else:
            self._calibrations.pop(camera, None)

    def missing(self) -> str:
        """Return one sentence on what never came yet; empty where an observation can be had."""
        for name, pictures in self._pictures.items():
            if not len(pictures):
                return f"no image on {pictures.name}; start camera_node with this camera"
            if self._with_geometry and self._pose_of(name) is None:
                if moved := self._transforms.contradicted(self._frame_of(name)):
                    return (
                        f"frame {moved}, which says where camera {name} is, was moved since this "
                        "node listens; restart it once that frame stays where it is"
                    )
                return (
                    f"where camera {name} is on the robot is not known, and this policy acts in "
                    "its axes; measure it with training.hand_eye and set camera_node's extrinsics"
                )
        if self._with_geometry and not len(self._states):
            return "no joint state yet; start the arm's driver"
        return ""

    def at(self, now_ns: int, task: str) -> Observation:
        """Return what holds at `now_ns`.

        Raises:
            StaleDataError: a picture or a joint state is missing or too old.
            ContractError: the pose of a camera is not known.
        """
        views, pictured_ns = {}, []
        for name, pictures in self._pictures.items():
            stamp_ns, (data, _) = pictures.sample(now_ns)
            pictured_ns.append(stamp_ns)
            if not self._with_geometry:
                views[name] = CameraView(data)
                continue
            T_base_camera = self._pose_of(name)
            if T_base_camera is None:
                raise ContractError(self.missing())
            K, size = self._calibrations.get(name, (None, None))
            views[name] = CameraView(data, T_base_camera, K, size)
        if not self._with_geometry:
            return Observation(views, task, pictured_ns=min(pictured_ns))
        _, state = self._states.sample(now_ns)
        ticks = [now_ns - back * self._period_ns for back in range(self._num_past, 0, -1)]
        past = [self._states.sample(tick)[1] for tick in ticks]
        return Observation(views, task, state, np.reshape(past, (-1, 7)), min(pictured_ns))

    def _pose_of(self, camera: str) -> np.ndarray | None:
        """Return T_base_camera (4, 4) [m] of the frame that the last picture names."""
        frame_id = self._frame_of(camera)
        return self._transforms.static(self._base_frame, frame_id) if frame_id else None

    def _frame_of(self, camera: str) -> str:
        """Return the frame that the last picture names; empty where there is none."""
        pictures = self._pictures[camera]
        if pictures.last_ns is None:
            return ""
        _, (_, frame_id) = pictures.sample(pictures.last_ns)
        return frame_id


def _push(buffer: StreamBuffer[Value], stamp_ns: int, value: Value) -> None:
    # Of a clock that was set back, samples of before would look new until it has caught up.
    if buffer.last_ns is not None and buffer.last_ns - stamp_ns > _CLOCK_STEP_NS:
        buffer.clear()
    buffer.push(stamp_ns, value)
