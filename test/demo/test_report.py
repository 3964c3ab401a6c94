"""The demo's table, plot, strip and video, on small made-up results."""

import json

import cv2
import matplotlib.image
import numpy as np

from demo import report


def test_table_aligns_its_second_column():
    assert report.format_table([("a", "1"), ("long", "2")]) == "  a     1\n  long  2"


def _rollouts():
    rising = np.arange(12, dtype=np.uint8)[:, None, None, None] * 20
    frames = np.broadcast_to(rising, (12, 16, 16, 3))
    return [{"frames": list(frames), "label": name} for name in ("first", "second")]


def test_film_strip_has_a_row_a_rollout(tmp_path):
    report.film_strip(_rollouts(), tmp_path / "strip.png", num_frames=4)
    picture = matplotlib.image.imread(tmp_path / "strip.png")
    # 1.5 inch a row, 1.35 inch a frame, 110 dots an inch.
    assert picture.shape[:2] == (330, 594)
    assert picture[..., :3].min() < 0.1 < 0.9 < picture[..., :3].max()


def test_video_holds_every_frame_and_lingers_on_the_last(tmp_path):
    report.write_video(_rollouts(), tmp_path / "film.mp4")
    film = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    frames = []
    while (read := film.read())[0]:
        frames.append(read[1])
    assert len(frames) == 2 * (12 + report.HOLD_LAST_FRAME)
    brightness = [float(frame[:200].mean()) for frame in frames[:12]]
    assert brightness == sorted(brightness)


def test_a_wide_picture_is_not_made_narrow(tmp_path):
    wide = np.full((12, 16, 3), 200, np.uint8)
    report.write_video([{"frames": [wide], "label": ""}], tmp_path / "film.mp4")
    frame = cv2.VideoCapture(str(tmp_path / "film.mp4")).read()[1]
    # Three quarters of the square, in the middle.
    lit = np.flatnonzero(frame.mean((1, 2)) > 100)
    assert abs(lit[0] - report.VIDEO_SIDE_PX / 8) < 3
    assert abs(lit[-1] - report.VIDEO_SIDE_PX * 7 / 8) < 3


def test_plot_shows_every_stage(tmp_path):
    stage = {
        "train_curve": [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}],
        "val_curve": [{"step": 2, "loss": 0.6}],
        "val_constant_loss": 0.9,
    }
    report.plot_losses({"one": stage, "two": stage}, tmp_path / "loss.png")
    # 5.5 x 3.6 inch a stage, 120 dots an inch.
    assert matplotlib.image.imread(tmp_path / "loss.png").shape[:2] == (432, 1320)


def test_summary_reads_back(tmp_path):
    report.write_summary({"play": {"frames": 3}}, tmp_path / "summary.json")
    assert json.loads((tmp_path / "summary.json").read_text()) == {"play": {"frames": 3}}
