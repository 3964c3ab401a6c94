"""Pictures and recordings of an episode: what is in them, and what is said where nothing can be."""

import sys
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pytest

from training import view
from training.inspection import view_page, view_rerun
from training.inspection.view_bag import bag_scene
from training.inspection.view_dataset import dataset_scene
from training.inspection.view_scene import Camera, in_picture, motion_panels, relative_intrinsics
from training.recordings.source import vla_source
from vla_ros.core import arm
from vla_ros.core.errors import DatasetError

SECOND_NS = 1_000_000_000
DOTS_PER_IN = 40


@pytest.fixture
def small_page(monkeypatch):
    """Make pages of 640 px: drawn in half the time."""
    monkeypatch.setattr(view_page, "DOTS_PER_IN", DOTS_PER_IN)


def by_title(scene, start):
    return next(panel for panel in scene.panels if panel.title.startswith(start))


def test_a_point_is_seen_where_the_pinhole_says():
    # 100 x 50 px, 100 px focal length, centre in the middle of pixel (50, 25).
    K = np.array([[100.0, 0, 50], [0, 100.0, 25], [0, 0, 1]])
    # The camera stands 1 m above the origin and looks down: its x is the base's x, its y is -y.
    T = np.array([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 1], [0, 0, 0, 1]])
    camera = Camera(np.zeros(0), np.zeros(0, np.int64), relative_intrinsics(K, 100, 50), T)
    seen = in_picture(np.array([[0.0, 0, 0], [0.1, 0.2, 0], [0, 0, 2]]), camera)
    np.testing.assert_allclose(seen[0], [50.5 / 100, 25.5 / 50])
    np.testing.assert_allclose(seen[1], [60.5 / 100, 5.5 / 50])
    assert np.all(np.isnan(seen[2])), "what is behind the camera is not seen"


def test_motion_is_drawn_in_millimetres_and_degrees():
    reached = np.zeros(1), np.array([[0.001, 0, 0, 0, np.pi / 2, 0, 1]])
    names = ["dx", "dy", "dz", "drx", "dry", "drz", "gripper"]
    way, turn = motion_panels(names, reached, reached, "reached")
    assert way.lines[0].values == [1.0]
    assert turn.lines[1].values == pytest.approx([90.0])
    assert [line.label for line in way.lines] == ["dx", "dy", "dz", "", "", ""]


def test_scene_of_a_dataset_has_its_episode_and_no_other(dataset_path):
    scene = dataset_scene(dataset_path, 1, [])
    assert scene.title == "data, episode 1 of 6"
    assert len(scene.frame_times_s) == 8
    assert scene.frame_times_s[1] == pytest.approx(0.2)
    first = dataset_scene(dataset_path, 0, [])
    assert not np.array_equal(scene.tool, first.tool)
    waist = by_title(scene, "joints").lines[0]
    assert waist.label == "waist"
    assert not waist.dashed
    assert len(list(scene.read_pictures("front", np.array([0, 7])))) == 2


def test_scene_of_a_dataset_says_how_the_episode_ended(dataset_path):
    said = [fact for n in range(6) for fact in dataset_scene(dataset_path, n, []).facts]
    assert said.count("demo: Put the carrot on the plate") == 3
    assert said.count("failed (done)") == 1
    assert said.count("succeeded (done)") == 2
    assert said.count("nobody judged (done)") == 3


def test_bag_and_the_dataset_of_it_show_the_same_motion(bag_writer, converted):
    bag = bag_writer.moving_episode("play-0", 8, seed=0)
    shown = by_title(bag_scene(bag, vla_source(), [], 5.0), "translation")
    stored = by_title(dataset_scene(converted, 0, []), "translation")
    # The fixture's play-0 is the same recording, and its label comes first.
    for ours, theirs in zip(shown.lines, stored.lines, strict=True):
        np.testing.assert_array_equal(ours.values[:-1], theirs.values)


def test_scene_of_a_bag_marks_what_yields_no_frame(bag_writer):
    # Joints at 10 Hz for 6 s; the camera says nothing from 2 s to 4 s.
    stamps = [SECOND_NS + i * SECOND_NS // 10 for i in range(61)]
    joints = [(t, (arm.READY_RAD, 1.0)) for t in stamps]
    images = [(t, bag_writer.picture(90)) for t in stamps if not 2.95 < t / SECOND_NS < 5.0]
    bag = bag_writer.write("play-1", joints, joints, images, bag_writer.events("play-1"))
    scene = bag_scene(bag, vla_source(), [], 5.0)
    gap = next(gap for gap in scene.gaps if gap.reason.startswith("stale"))
    assert 1.9 < gap.first_s < gap.last_s < 4.01
    assert not np.any((scene.frame_times_s >= gap.first_s) & (scene.frame_times_s <= gap.last_s))
    spacing = by_title(scene, "pictures").lines[-1]
    assert max(spacing.values) == pytest.approx(2100, abs=101)


@pytest.mark.parametrize("kind", ["bag", "dataset"])
def test_the_page_is_a_picture(kind, bag_writer, dataset_path, tmp_path, capsys, small_page):
    path = bag_writer.moving_episode("play-0", 8) if kind == "bag" else dataset_path
    out = tmp_path / "deep" / "page.png"
    assert view.main([str(path), "--out", str(out), "--frames", "4"]) == 0
    assert "8 frames" in capsys.readouterr().out
    picture = matplotlib.image.imread(out)
    assert picture.shape[1] == view_page.WIDTH_IN * DOTS_PER_IN
    strip = picture[1 * DOTS_PER_IN : 4 * DOTS_PER_IN]
    assert strip.std() > 0.1, "the film strip is not empty"


def test_a_broken_picture_leaves_the_others(bag_writer, tmp_path, small_page):
    stamps = [SECOND_NS + i * SECOND_NS // 5 for i in range(9)]
    joints = [(t, (arm.READY_RAD, 1.0)) for t in stamps]
    images = [(t, b"torn" if i == 2 else bag_writer.picture(60)) for i, t in enumerate(stamps)]
    bag = bag_writer.write("play-2", joints, joints, images, bag_writer.events("play-2"))
    assert view.main([str(bag), "--out", str(tmp_path / "page.png")]) == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--episode", "6"], "has no episode 6, but 6 from 0 on"),
        (["--camera", "wrist"], "has no camera 'wrist', but front"),
        (["--out", "/dev/null/page.png"], "give another --out"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(
    arguments, sentence, dataset_path, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert view.main([str(dataset_path), *arguments]) == 1
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


def test_a_folder_of_bags_counts_them(bag_writer, tmp_path, capsys):
    bag_writer.moving_episode("play-0", 8)
    assert view.main([str(bag_writer.folder), "--episode", "1"]) == 1
    assert "holds 1 bags, and number 1 is none of them" in capsys.readouterr().err


def test_without_rerun_there_is_one_sentence(dataset_path, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    scene = dataset_scene(dataset_path, 0, [])
    with pytest.raises(DatasetError, match="needs rerun-sdk, which is not installed"):
        view_rerun.save_recording(scene, tmp_path / "x.rrd")


class FakeRecording:
    """Keeps what is logged, as rerun's RecordingStream takes it."""

    def __init__(self):
        self.logged, self.columns, self.saved, self.time = {}, {}, None, None

    def save(self, path):
        self.saved = path

    def set_time(self, timeline, duration):
        self.time = duration

    def log(self, entity, what, static=False):
        self.logged.setdefault(entity, []).append((None if static else self.time, what))

    def send_columns(self, entity, indexes, columns):
        self.columns[entity] = indexes[0], columns

    def flush(self):
        pass

    disconnect = flush


def test_recording_has_pictures_at_their_times_and_every_line(dataset_path, tmp_path, monkeypatch):
    fake = FakeRecording()

    def named(name):
        return lambda *args, **options: (name, args, options)

    names = "TextDocument LineStrips3D Points3D EncodedImage Image Transform3D Pinhole TextLog"
    rerun = SimpleNamespace(
        RecordingStream=lambda *_, **__: fake,
        ViewCoordinates=SimpleNamespace(RIGHT_HAND_Z_UP="z up"),
        TimeColumn=lambda _, duration: duration,
        Scalars=SimpleNamespace(columns=lambda scalars: scalars),
        **{name: named(name) for name in names.split()},
    )
    monkeypatch.setitem(sys.modules, "rerun", rerun)
    view_rerun.save_recording(dataset_scene(dataset_path, 0, []), tmp_path / "x.rrd")
    pictures = fake.logged["arm/front/picture"]
    assert [time for time, _ in pictures] == pytest.approx([0.2 * i for i in range(8)])
    assert all(what[2]["media_type"] == "image/jpeg" for _, what in pictures)
    times, waist = fake.columns["plots/joints/waist"]
    assert len(times) == len(waist) == 8
    assert fake.saved == str(tmp_path / "x.rrd")
