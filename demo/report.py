"""What the demo shows a person: a table, a loss plot, a film strip and a video.

Everything here is read from files that the loop itself wrote: bags, metrics.json of the two
training stages, and the policy node's results.
"""

import json
from pathlib import Path

import cv2
import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

VIDEO_SIDE_PX = 384
VIDEO_FPS = 10
HOLD_LAST_FRAME = 8


def format_table(rows: list[tuple[str, str]]) -> str:
    """Return rows of (what, value) as an aligned two-column table."""
    width = max(len(what) for what, _ in rows)
    return "\n".join(f"  {what:<{width}}  {value}" for what, value in rows)


def plot_losses(metrics: dict[str, dict], path: Path) -> None:
    """Draw each stage's training and held-out error beside its constant-prediction baseline.

    Where the loss is one of action tokens, training has another unit and is left out.

    Args:
        metrics: title to the content of a stage's metrics.json.
        path: PNG to write.
    """
    figure, axes = plt.subplots(1, len(metrics), figsize=(5.5 * len(metrics), 3.6), squeeze=False)
    for axis, (title, stage) in zip(axes[0], metrics.items(), strict=True):
        held_out = np.array([[point["step"], point["loss"]] for point in stage["val_curve"]])
        if "val_cross_entropy" not in stage:
            train = np.array([[point["step"], point["loss"]] for point in stage["train_curve"]])
            axis.plot(train[:, 0], train[:, 1], color="0.7", linewidth=1, label="training")
        axis.plot(held_out[:, 0], held_out[:, 1], color="tab:blue", label="held-out episodes")
        axis.axhline(
            stage["val_constant_loss"], color="tab:red", linestyle="--", label="constant prediction"
        )
        axis.set(title=title, xlabel="step", ylabel="mean squared error, normalised action")
        axis.set_ylim(bottom=0)
        axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def film_strip(rollouts: list[dict], path: Path, num_frames: int = 8) -> None:
    """Draw one row of frames a roll-out, evenly spaced in time.

    Args:
        rollouts: dicts with `frames` (T, H, W, 3) uint8 RGB and `label`.
        path: PNG to write.
    """
    rows = len(rollouts)
    figure, axes = plt.subplots(
        rows, num_frames, figsize=(1.35 * num_frames, 1.5 * rows), squeeze=False
    )
    for row, rollout in zip(axes, rollouts, strict=True):
        frames = rollout["frames"]
        picks = np.linspace(0, len(frames) - 1, num_frames).round().astype(int)
        for axis, index in zip(row, picks, strict=True):
            axis.imshow(frames[index])
            axis.set_axis_off()
        row[0].set_title(rollout["label"], fontsize=8, loc="left")
    # A quarter of an inch above each row for its label.
    figure.subplots_adjust(
        left=0.01, right=0.99, top=1 - 0.25 / (1.5 * rows), bottom=0.01, wspace=0.03, hspace=0.18
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def write_video(rollouts: list[dict], path: Path) -> None:
    """Write the roll-outs one after the other as a VP9 video, labels drawn into the frames."""
    size = (VIDEO_SIDE_PX, VIDEO_SIDE_PX)
    film = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"vp09"), VIDEO_FPS, size)
    if not film.isOpened():
        raise OSError(f"{path} cannot be written as a video: give a folder that can be written")
    for rollout in rollouts:
        frames = list(rollout["frames"])
        for frame in [*frames, *frames[-1:] * HOLD_LAST_FRAME]:
            picture = _fitted(frame)
            _draw_label(picture, rollout["label"])
            film.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    film.release()


def _fitted(frame: np.ndarray) -> np.ndarray:
    """Return the frame (H, W, 3) in the middle of a square of the video's size, undistorted."""
    scale = VIDEO_SIDE_PX / max(frame.shape[:2])
    height, width = (round(side * scale) for side in frame.shape[:2])
    picture = np.zeros((VIDEO_SIDE_PX, VIDEO_SIDE_PX, 3), np.uint8)
    top, left = (VIDEO_SIDE_PX - height) // 2, (VIDEO_SIDE_PX - width) // 2
    picture[top : top + height, left : left + width] = cv2.resize(
        frame, (width, height), interpolation=cv2.INTER_CUBIC
    )
    return picture


def _draw_label(picture: np.ndarray, label: str) -> None:
    origin, font = (8, VIDEO_SIDE_PX - 12), cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(picture, label, origin, font, 0.5, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(picture, label, origin, font, 0.5, (255, 255, 255), 1, cv2.LINE_AA)


def write_summary(summary: dict, path: Path) -> None:
    """Write the run's figures as indented JSON."""
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
