"""One episode of a LeRobot dataset as a scene: this package's, or anybody's."""

import json
from pathlib import Path

import numpy as np

from training.datasets.labels import ACTION, DELTA_AXES, LABELS, POSE, STATE
from training.inspection.view_scene import (
    Camera,
    Line,
    Panel,
    Scene,
    axis_lines,
    motion_panels,
    outcome,
    relative_intrinsics,
)
from training.lerobot.source import LerobotSource, SourceEpisode
from vla_ros.core.errors import DatasetError

_NUMBERS = ("float32", "float64", "int64", "int32", "bool")
_SCALARS = {"timestamp", "frame_index", "episode_index", "index", "task_index"}
# More lines than this in one plot tell nobody anything.
MAX_LINES = 14
OPENING = "opening"
AXES = ["x", "y", "z"]


def dataset_scene(path: Path, number: int, cameras: list[str]) -> Scene:
    """Return episode `number` of the dataset at `path`; `cameras` empty for all.

    Raises:
        DatasetError: there is no such episode or camera, or the dataset is damaged.
    """
    source = LerobotSource(path)
    episode = _episode(source, number)
    columns = _columns(source, cameras)
    vectors = _vectors(source, episode)
    times = np.arange(episode.length) / source.fps
    state, state_axes = vectors.get(STATE), axes_of(source, STATE)
    openings = None
    if state is not None and state_axes[-1] == OPENING:
        openings = state[:, -1]
    pose = vectors.get(POSE)

    def read(camera: str, rows: np.ndarray):
        return source.pictures(episode, columns[camera], rows)

    return Scene(
        title=f"{Path(path).resolve().name}, episode {number} of {len(source.episodes)}",
        facts=_facts(Path(path), episode),
        frame_times_s=times,
        cameras={
            name: Camera(times, np.arange(episode.length), *_calibration(source, episode, name))
            for name in columns
        },
        panels=_panels(source, vectors, times),
        read_pictures=read,
        openings=openings,
        tool=None if pose is None else pose[:, :3].astype(np.float64),
    )


def axes_of(source: LerobotSource, column: str) -> list[str]:
    """Return the names of a vector's elements; numbers where the dataset gives none."""
    feature = source.features.get(column)
    if feature is None:
        return []
    size = int(np.prod(feature["shape"]))
    names = feature.get("names")
    if isinstance(names, dict):
        # Some writers group them: {"motors": [...]}.
        names = [name for group in names.values() for name in group]
    if not isinstance(names, list) or len(names) != size:
        return [f"{column} {at}" for at in range(size)]
    return [str(name) for name in names]


def _episode(source: LerobotSource, number: int) -> SourceEpisode:
    for episode in source.episodes:
        if episode.index == number:
            return episode
    raise DatasetError(
        f"{source.path} has no episode {number}, but {len(source.episodes)} from "
        f"{source.episodes[0].index if source.episodes else 0} on; choose another --episode"
    )


def _columns(source: LerobotSource, cameras: list[str]) -> dict[str, str]:
    """Return the column of each camera's pictures; raises DatasetError for an unknown one."""
    pictures = [n for n, f in source.features.items() if f["dtype"] in ("image", "video")]
    named = {name.removeprefix("observation.images."): name for name in pictures}
    unknown = [name for name in cameras if name not in named]
    if unknown:
        raise DatasetError(
            f"{source.path} has no camera {unknown[0]!r}, but {', '.join(named) or 'none'}; "
            "choose another --camera"
        )
    return {name: named[name] for name in cameras} if cameras else named


def _vectors(source: LerobotSource, episode: SourceEpisode) -> dict[str, np.ndarray]:
    """Return every column of numbers as (N, k) float64."""
    wanted = [
        name
        for name, feature in source.features.items()
        if feature["dtype"] in _NUMBERS and name not in _SCALARS
    ]
    table = source.table(episode, wanted)
    return {
        name: np.array(table.column(name).to_pylist(), np.float64).reshape(episode.length, -1)
        for name in wanted
    }


def _facts(path: Path, episode: SourceEpisode) -> list[str]:
    row = episode.row
    if "kind" not in row:
        return [episode.task or "no task"]
    facts = outcome(row["kind"], episode.task, row["success"], row["reason"] or "")
    facts.append(f"from bag {row['bag']}, pictures {row['image_age_ms']:.0f} ms old on average")
    return facts + [f"dropped there: {clause}" for clause in _dropped(path, row["bag"])]


def _dropped(path: Path, label: str) -> list[str]:
    """Return what conversion dropped of the recording."""
    info = json.loads((path / "meta/info.json").read_text(encoding="utf-8"))
    rows = info.get("vla_ros", {}).get("provenance", {}).get("bags", [])
    return [
        f"{count} {reason}"
        for row in rows
        if row.get("bag") == label
        for reason, count in row.get("dropped", {}).items()
    ]


def _calibration(
    source: LerobotSource, episode: SourceEpisode, camera: str
) -> tuple[np.ndarray | None, np.ndarray | None]:
    K, T = (episode.row.get(f"cameras/{camera}/{key}") for key in ("K", "T_base_camera"))
    height, width = source.features[f"observation.images.{camera}"]["shape"][:2] if K else (0, 0)
    return (
        None if K is None else relative_intrinsics(np.array(K), width, height),
        None if T is None else np.array(T),
    )


def _panels(
    source: LerobotSource, vectors: dict[str, np.ndarray], times: np.ndarray
) -> list[Panel]:
    """Return plots of this package's columns as it knows them, and of others as they are."""
    left = dict(vectors)
    panels = []
    axes = axes_of(source, STATE)
    # A command holds from one frame to the next: it is shown where it is reached.
    following = times + 1 / source.fps
    if STATE in left and axes[-1] == OPENING:
        state = left.pop(STATE)
        joints = axis_lines(axes[:-1], times, state[:, :-1])
        gripper = [Line("measured", times, state[:, -1])]
        goal, beside = left.pop(LABELS["joint"], None), ""
        if goal is not None and axes_of(source, LABELS["joint"]) == axes:
            beside = ", dashed: commanded"
            joints += axis_lines(axes[:-1], following, goal[:, :-1], dashed=True)
            gripper.append(Line("commanded", following, goal[:, -1], 0, dashed=True))
        panels.append(Panel(f"joints [rad]{beside}", joints))
        panels.append(Panel(f"gripper opening, 1 is open{beside}", gripper))
    solid = next((n for n in (LABELS["reached"], ACTION) if axes_of(source, n) == DELTA_AXES), None)
    if solid is not None:
        reached, moved = left.pop(solid), left.pop(LABELS["commanded"], None)
        what = "reached" if moved is None else "reached, dashed: commanded"
        panels += motion_panels(
            DELTA_AXES, (times, reached), None if moved is None else (times, moved), what
        )
        if axes_of(source, ACTION) == DELTA_AXES:
            left.pop(ACTION, None)
    if POSE in left and POSE in source.features:
        lines, beside = axis_lines(AXES, times, left.pop(POSE)), ""
        goal = left.pop(LABELS["ee"], None)
        if goal is not None:
            beside = ", dashed: commanded"
            lines += axis_lines(AXES, following, goal, dashed=True)
        panels.append(Panel(f"tool in the base frame [m]{beside}", lines))
    for name, values in left.items():
        lines = axis_lines(axes_of(source, name), times, values)
        panels.append(Panel(name, lines[:MAX_LINES]))
    return panels
