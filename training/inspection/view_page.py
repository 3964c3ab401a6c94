"""A scene as one picture: a film strip a camera, and its streams below on one axis of time."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.inspection.view_scene import Camera, Panel, Scene, in_picture
from training.recordings import messages
from vla_ros.core.errors import ContractError, DatasetError
from vla_ros.policy.pictures import resize_rgb

WIDTH_IN, DOTS_PER_IN = 16.0, 100
PANEL_IN, LINE_IN, SPACE_IN = 1.55, 0.26, 0.45
# How much of the tool's way is drawn into a picture.
AHEAD_S = 1.0
WAY_COLOUR, CLOSED_COLOUR, OPEN_COLOUR, GAP_COLOUR = "#ff2d95", "#d62728", "#2ca02c", "#f2c14e"
GREY = "#555555"


def save_page(scene: Scene, out: Path, count: int) -> None:
    """Write the scene as a PNG with `count` frames in each film strip.

    Raises:
        DatasetError: there is no frame to show, or the file cannot be written.
    """
    if not len(scene.frame_times_s):
        reasons = ", ".join(f"{gap.count} {gap.reason}" for gap in scene.gaps) or "it is empty"
        raise DatasetError(
            f"{scene.title} has no frame to show ({reasons}); look at the bag with training.doctor"
        )
    frames = np.unique(np.linspace(0, len(scene.frame_times_s) - 1, count).round().astype(int))
    strips = {name: _strip(scene, name, frames) for name in scene.cameras}
    heights = [_strip_height(pictures, count) for pictures in strips.values()]
    heights += [PANEL_IN] * len(scene.panels)
    facts = [*scene.facts, *_gap_facts(scene), *_unseen(scene)]
    # Title, facts in two columns, and the times over the pictures.
    head_in = LINE_IN * (3 + -(-len(facts) // 2))
    total = head_in + sum(heights) + SPACE_IN * (len(heights) + 1 + 0.3 * len(strips))
    figure = plt.figure(figsize=(WIDTH_IN, total), dpi=DOTS_PER_IN)
    _head(figure, scene, facts, total)
    top = total - head_in
    for (name, pictures), height in zip(strips.items(), heights[: len(strips)], strict=True):
        _draw_strip(figure, scene, name, pictures, frames, count, (top - height, height, total))
        top -= height + 1.3 * SPACE_IN
    for panel in scene.panels:
        is_last = panel is scene.panels[-1]
        axes = figure.add_axes((0.045, (top - PANEL_IN) / total, 0.84, PANEL_IN / total))
        _draw_panel(axes, panel, scene, frames, is_last)
        top -= PANEL_IN + SPACE_IN
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, facecolor="white")
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{out} cannot be written ({error}); give another --out, with .png at its end"
        ) from None
    finally:
        plt.close(figure)


def _strip(scene: Scene, camera: str, frames: np.ndarray) -> list[np.ndarray | None]:
    """Return the picture of each frame; None for one that is broken."""
    rows = scene.cameras[camera].frames[frames]
    wanted = np.unique(rows)
    found = {}
    for row, data in zip(wanted.tolist(), scene.read_pictures(camera, wanted), strict=True):
        try:
            found[row] = messages.decoded(data, f"{camera} in {scene.title}")
        except ContractError:
            found[row] = None
    return [found[row] for row in rows.tolist()]


def _strip_height(pictures: list[np.ndarray | None], count: int) -> float:
    """Return how high [in] a strip is whose pictures fill the page's width."""
    shapes = [picture.shape for picture in pictures if picture is not None]
    aspect = shapes[0][0] / shapes[0][1] if shapes else 0.75
    return aspect * 0.955 * WIDTH_IN / count * 0.97


def _gap_facts(scene: Scene) -> list[str]:
    return [
        f"no frame: {gap.count} {gap.reason}, {gap.first_s:.1f} to {gap.last_s:.1f} s"
        for gap in scene.gaps
    ][:8]


def _unseen(scene: Scene) -> list[str]:
    """Return which cameras have no calibration, so that nobody looks for the tool's way there."""
    names = [n for n, c in scene.cameras.items() if c.K is None or c.T_base_camera is None]
    if not names or scene.tool is None:
        return []
    return [f"not calibrated, so without the tool's way: {', '.join(names)}"]


def _head(figure: Figure, scene: Scene, facts: list[str], total: float) -> None:
    y = total - 1.2 * LINE_IN
    figure.text(0.02, y / total, scene.title, fontsize=15, weight="bold", va="center")
    seconds = f"{len(scene.frame_times_s)} frames, {scene.end_s:.1f} s"
    figure.text(0.98, y / total, seconds, fontsize=11, ha="right", va="center", color=GREY)
    for at, fact in enumerate(facts):
        row, column = divmod(at, 2)
        x, place = (0.02, 0.5)[column], (y - LINE_IN * (1.1 + row)) / total
        figure.text(x, place, _shortened(fact), fontsize=10.5, va="center", color="#222222")


def _shortened(text: str, longest: int = 105) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _draw_strip(
    figure: Figure,
    scene: Scene,
    camera: str,
    pictures: list[np.ndarray | None],
    frames: np.ndarray,
    count: int,
    place: tuple[float, float, float],
) -> None:
    bottom, height, total = place
    step = 0.96 / count
    for at, (frame, picture) in enumerate(zip(frames, pictures, strict=True)):
        axes = figure.add_axes((0.02 + at * step, bottom / total, step * 0.97, height / total))
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        if picture is None:
            axes.text(0.5, 0.5, "broken picture", ha="center", transform=axes.transAxes)
            continue
        shown = picture if picture.shape[0] >= 96 else _enlarged(picture)
        axes.imshow(shown)
        _draw_way(axes, scene, scene.cameras[camera], int(frame), shown.shape)
        _caption(axes, scene, camera if at == 0 else "", int(frame))


def _enlarged(picture: np.ndarray) -> np.ndarray:
    """Return a small picture with its pixels kept as squares."""
    if picture.shape[0] != picture.shape[1]:
        return picture
    return np.kron(resize_rgb(picture, picture.shape[0]), np.ones((4, 4, 1), np.uint8))


def _caption(axes: Axes, scene: Scene, camera: str, frame: int) -> None:
    text = f"{scene.frame_times_s[frame]:.1f} s"
    axes.set_title(f"{camera}  {text}".strip(), fontsize=9, pad=3, loc="left", color="#222222")
    if scene.openings is None:
        return
    opening = float(np.clip(scene.openings[frame], 0, 1))
    colour = OPEN_COLOUR if opening >= 0.5 else CLOSED_COLOUR
    axes.set_xlabel(f"gripper {100 * opening:.0f} % open", fontsize=9, labelpad=5, color=colour)
    # A bar under the picture, as wide as the gripper is open.
    for width, shade in ((1.0, "#dddddd"), (opening, colour)):
        axes.plot(
            [0, width],
            [-0.02, -0.02],
            transform=axes.transAxes,
            color=shade,
            linewidth=4,
            solid_capstyle="butt",
            clip_on=False,
        )


def _draw_way(axes: Axes, scene: Scene, camera: Camera, frame: int, shape: tuple[int, ...]) -> None:
    """Draw where the tool goes within the next second, as the camera would see it."""
    if scene.tool is None:
        return
    times = scene.frame_times_s
    ahead = (times >= times[frame]) & (times <= times[frame] + AHEAD_S)
    points = in_picture(scene.tool[ahead], camera) * (shape[1], shape[0]) - 0.5
    inside = np.all(np.isfinite(points), axis=1)
    points = points[inside & np.all((points > 0) & (points < (shape[1], shape[0])), axis=1)]
    if not len(points):
        return
    axes.plot(*points.T, color="white", linewidth=3.2, alpha=0.8)
    axes.plot(*points.T, color=WAY_COLOUR, linewidth=1.8)
    axes.plot(*points[0], "o", color=WAY_COLOUR, markeredgecolor="white", markersize=5)
    if len(points) > 1 and np.linalg.norm(points[-1] - points[0]) > 0.02 * shape[1]:
        arrow = {"arrowstyle": "-|>", "color": WAY_COLOUR, "lw": 1.8, "mutation_scale": 11}
        axes.annotate("", points[-1], points[-2], arrowprops=arrow)


def _draw_panel(axes: Axes, panel: Panel, scene: Scene, frames: np.ndarray, is_last: bool) -> None:
    axes.set_title(panel.title, fontsize=10, loc="left", pad=4)
    for line in panel.lines:
        axes.plot(
            line.times_s,
            line.values,
            color=f"C{line.colour % 10}",
            linestyle=(0, (4, 2)) if line.dashed else "-",
            linewidth=1.0 if line.dashed else 1.3,
            alpha=0.75 if line.dashed else 1.0,
            label=line.label or None,
        )
    for gap in scene.gaps:
        # A gap of one frame still shows.
        width = max(gap.last_s - gap.first_s, scene.end_s / 400)
        axes.axvspan(gap.first_s, gap.first_s + width, color=GAP_COLOUR, alpha=0.35, linewidth=0)
    for time in scene.frame_times_s[frames]:
        axes.axvline(time, color="#bbbbbb", linewidth=0.7, linestyle=":", zorder=0)
    axes.set_xlim(0, max(scene.end_s, 1e-3))
    axes.grid(axis="y", color="#eeeeee", zorder=0)
    axes.tick_params(labelsize=8, labelbottom=is_last)
    axes.spines[["top", "right"]].set_visible(False)
    if is_last:
        axes.set_xlabel("time since the start [s]", fontsize=9)
    if any(line.label for line in panel.lines):
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(1.005, 1.08),
            fontsize=8,
            frameon=False,
            handlelength=1.4,
            labelspacing=0.25,
        )
