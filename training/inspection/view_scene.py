"""What is shown of one episode, whether a bag or a dataset holds it: streams, pictures, gaps."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

# Given a camera and rising numbers of its pictures, yields (H, W, 3) uint8 RGB or JPEG/PNG bytes.
ReadPictures = Callable[[str, np.ndarray], Iterator[bytes | np.ndarray]]


@dataclass(frozen=True)
class Line:
    """One quantity over time.

    Attributes:
        label: its name; empty for one that another line of its colour names.
        times_s: (N,) since the episode's start [s].
        values: (N,), NaN where the line is broken.
        colour: number of its colour; the measured and the commanded have the same.
        dashed: whether it was commanded, not measured.
    """

    label: str
    times_s: np.ndarray
    values: np.ndarray
    colour: int = 0
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """One plot: what its lines are, with the unit."""

    title: str
    lines: list[Line]


@dataclass(frozen=True)
class Gap:
    """Frames that could not be had, between two times since the episode's start [s]."""

    reason: str
    count: int
    first_s: float
    last_s: float


@dataclass(frozen=True)
class Camera:
    """One camera's pictures.

    Attributes:
        times_s: (N,) of each picture.
        frames: (F,) int64, the picture that each frame shows; F is the number of frames.
        K: (3, 3) intrinsics in parts of the picture's width and height; None where unknown.
        T_base_camera: (4, 4) of the optical frame [m]; None where unknown.
    """

    times_s: np.ndarray
    frames: np.ndarray
    K: np.ndarray | None = None
    T_base_camera: np.ndarray | None = None


@dataclass(frozen=True)
class Scene:
    """One episode.

    Attributes:
        title: which episode of what.
        facts: sentences on it: task, how it ended, what was lost.
        frame_times_s: (F,) times of the frames that a policy sees or learns from.
        openings: (F,) of the gripper, 0 closed and 1 open; None where unknown.
        tool: (F, 3) position of the tool in the arm's base frame [m]; None where unknown.
        read_pictures: gives pictures by camera and number.
    """

    title: str
    facts: list[str]
    frame_times_s: np.ndarray
    cameras: dict[str, Camera]
    panels: list[Panel]
    read_pictures: ReadPictures
    openings: np.ndarray | None = None
    tool: np.ndarray | None = None
    gaps: list[Gap] = field(default_factory=list)

    @property
    def end_s(self) -> float:
        """Return when the last of all lines, pictures and frames is."""
        times = [self.frame_times_s, *(camera.times_s for camera in self.cameras.values())]
        times += [line.times_s for panel in self.panels for line in panel.lines]
        return max((float(t[-1]) for t in times if len(t)), default=0.0)


def axis_lines(
    names: list[str], times_s: np.ndarray, values: np.ndarray, dashed: bool = False
) -> list[Line]:
    """Return one line a column of `values` (N, k); dashed ones leave the name to the solid."""
    return [
        Line("" if dashed else name, times_s, values[:, at], at, dashed)
        for at, name in enumerate(names)
    ]


def motion_panels(
    names: list[str], solid: tuple | None, dashed: tuple | None, what: str
) -> list[Panel]:
    """Return plots of displacements (N, 7) in mm and degrees, each given as (times [s], values).

    `what` says which is solid and which is dashed.
    """
    parts = (
        (f"translation to the next frame [mm], {what}", slice(0, 3), 1000.0),
        (f"rotation to the next frame [°], {what}", slice(3, 6), float(np.degrees(1.0))),
    )
    return [
        Panel(
            title,
            [
                line
                for given, is_dashed in ((solid, False), (dashed, True))
                if given is not None
                for line in axis_lines(names[axes], given[0], scale * given[1][:, axes], is_dashed)
            ],
        )
        for title, axes, scale in parts
    ]


def outcome(kind: str, task: str, success: bool | None, reason: str) -> list[str]:
    """Return what was done and how it ended, for `Scene.facts`."""
    judged = {True: "succeeded", False: "failed", None: "nobody judged"}[success]
    return [f"{kind or 'unknown kind'}: {task or 'no task'}", f"{judged} ({reason or 'no reason'})"]


def in_picture(points_m: np.ndarray, camera: Camera) -> np.ndarray:
    """Return where points (N, 3) [m] of the base frame are seen (N, 2), in parts of the picture.

    NaN where they are behind the camera, and everywhere where it is not calibrated.
    """
    if camera.K is None or camera.T_base_camera is None:
        return np.full((len(points_m), 2), np.nan)
    R, origin = camera.T_base_camera[:3, :3], camera.T_base_camera[:3, 3]
    seen = (points_m - origin) @ R
    seen[seen[:, 2] < 0.01] = np.nan
    projected = seen @ camera.K.T
    return projected[:, :2] / projected[:, 2:]


def relative_intrinsics(K: np.ndarray, width: float, height: float) -> np.ndarray:
    """Return K (3, 3) of a picture of this size [px] in parts of it, 0 at its edge.

    Pixel centres lie at whole numbers, so the edge is half a pixel before the first.
    """
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return np.diag([1 / width, 1 / height, 1.0]) @ shift @ K
