import numpy as np
import pytest
import yaml

from training import hand_eye
from training.calibration.extrinsics import angle_rad
from vla_ros.core.rotations import inverse_transform, matrix_from_quat, transform
from vla_ros.policy.pictures import encode_jpeg

MS = 1_000_000
# A recording of 21 November 2026, 12:00:00 UTC.
START_NS = 1_795_262_400_000_000_000
REST_MS, MOVE_MS, JOINTS_MS = 1200, 800, 20
BOARD = ["--board", "7x5", "--square", "0.025"]


def joint_states(q_n6, read_n6):
    """Return joint states at 50 Hz: rests at each pose as read, with moves between."""
    samples = []
    for index in range(len(q_n6)):
        begin_ms = index * (REST_MS + MOVE_MS)
        following = read_n6[min(index + 1, len(q_n6) - 1)]
        for offset_ms in range(0, REST_MS + MOVE_MS, JOINTS_MS):
            part = max(0, offset_ms - REST_MS) / MOVE_MS
            q = read_n6[index] + part * (following - read_n6[index])
            samples.append((START_NS + (begin_ms + offset_ms) * MS, (q, 0.5)))
    return samples


@pytest.fixture(scope="module")
def recording(scene):
    """Return (joint states, pictures): ten rests, read with 1 mrad of error, the last unseen."""
    rng = np.random.default_rng(8)
    q_n6 = scene.poses(9, rng)
    q_n6 = np.vstack([q_n6, q_n6[-1] + [1.2, 0, 0, 0, 0, 0]])
    read_n6 = q_n6 + rng.normal(0, 1e-3, q_n6.shape)
    pictures = []
    for index, q in enumerate(q_n6):
        data = encode_jpeg(scene.picture(scene.board_in_camera(q), rng), 90)
        for offset_ms in (400, 600, 800):
            pictures.append((START_NS + (index * (REST_MS + MOVE_MS) + offset_ms) * MS, data))
    return joint_states(q_n6, read_n6), pictures


@pytest.fixture
def write(bag_writer, recording, scene):
    """Return a function that writes the bag with some parts replaced."""

    def write_bag(**changes):
        joints, images = recording
        parts = {"joints": joints, "commanded": joints[:1], "images": images}
        parts["events"] = bag_writer.events("demo-00000", "demo", "show the board")
        parts["camera_info"] = [(START_NS, (scene.size, scene.K))]
        return bag_writer.write("demo-00000", **{**parts, **changes})

    return write_bag


def run(bag, out, *more):
    return hand_eye.main([str(bag), *BOARD, "--out", str(out), *more])


def test_a_recording_gives_the_camera_as_yaml(write, scene, tmp_path, capsys):
    out = tmp_path / "config" / "front_extrinsics.yaml"
    assert run(write(), out) == 0
    said = capsys.readouterr().out
    assert "9 views of 10 rests" in said
    assert "1 rests without the whole board in the picture" in said
    assert "WARNING" not in said
    written = yaml.safe_load(out.read_text())
    assert (written["parent"], written["child"]) == ("base_link", "front_optical_frame")
    x, y, z, w = written["rotation_xyzw"]
    found = transform(matrix_from_quat(np.array([w, x, y, z])), np.array(written["translation_m"]))
    error = inverse_transform(scene.T_base_camera) @ found
    # As in test_extrinsics: 1.2 mm and 1.4 mrad are one deviation for 12 views of exact pictures.
    # Nine views and corners off by 0.1 px add half of that again; four of them are 7 mm, 8 mrad.
    assert np.linalg.norm(error[:3, 3]) < 7e-3
    assert angle_rad(error[:3, :3]) < 8e-3
    facts = written["facts"]
    assert facts["bag"] == "bags/demo-00000"
    assert facts["recorded"] == "2026-11-21 12:00:00 UTC"
    assert facts["views"] == 9
    assert 0.0 < facts["residual_mm"] < 3.0


def test_refuses_an_uncalibrated_camera(write, scene, tmp_path, capsys):
    bag = write(camera_info=[(START_NS, (scene.size, np.zeros((3, 3))))])
    assert run(bag, tmp_path / "x.yaml") == 1
    assert "has no intrinsics (k[0] is 0): calibrate the camera" in capsys.readouterr().err
    assert not (tmp_path / "x.yaml").exists()


def test_refuses_another_distortion_model(write, scene, tmp_path, capsys):
    bag = write(camera_info=[(START_NS, (scene.size, scene.K, (0.0,) * 4, "equidistant"))])
    assert run(bag, tmp_path / "x.yaml") == 1
    assert "the distortion model 'equidistant'; calibrate with plumb_bob" in capsys.readouterr().err


def test_refuses_a_calibration_that_changes(write, scene, tmp_path, capsys):
    two = [(START_NS, (scene.size, scene.K)), (START_NS + MS, (scene.size, 2 * scene.K))]
    assert run(write(camera_info=two), tmp_path / "x.yaml") == 1
    assert "camera_info in bag" in capsys.readouterr().err


def test_refuses_a_calibration_of_another_size(write, scene, tmp_path, capsys):
    bag = write(camera_info=[(START_NS, ((1280, 720), scene.K))])
    assert run(bag, tmp_path / "x.yaml") == 1
    assert "is 640x480, its camera's calibration is for 1280x720" in capsys.readouterr().err


def test_refuses_a_recording_without_the_board(write, recording, tmp_path, capsys):
    empty = encode_jpeg(np.full((480, 640, 3), 90, np.uint8), 90)
    bag = write(images=[(stamp_ns, empty) for stamp_ns, _ in recording[1][:3]])
    assert run(bag, tmp_path / "x.yaml") == 1
    assert "was seen in none of 1 rests" in capsys.readouterr().err


def test_refuses_an_arm_that_never_rested(write, recording, tmp_path, capsys):
    moving = [
        (stamp_ns, (q + 0.1 * np.sin(stamp_ns / 5e8), opening))
        for stamp_ns, (q, opening) in recording[0]
    ]
    assert run(write(joints=moving), tmp_path / "x.yaml") == 1
    assert "was seen in none of 0 rests" in capsys.readouterr().err


def test_passes_over_pictures_that_cannot_be_read(write, recording, tmp_path, capsys):
    images = [
        *((stamp_ns, b"\xff\xd8 cut") for stamp_ns, _ in recording[1][:3]),
        *recording[1][3:18],
    ]
    assert run(write(images=images), tmp_path / "x.yaml") == 0
    assert "1 rests with unreadable pictures" in capsys.readouterr().out


def test_refuses_too_few_views(write, recording, tmp_path, capsys):
    assert run(write(images=recording[1][0:9:3]), tmp_path / "x.yaml") == 1
    assert "3 usable views, at least 5 needed" in capsys.readouterr().err


def test_refuses_a_bag_without_camera_info(write, tmp_path, capsys):
    assert run(write(omit=("/front/camera_info",)), tmp_path / "x.yaml") == 1
    assert "no message on /front/camera_info" in capsys.readouterr().err


def test_does_not_write_over_a_file(tmp_path, capsys):
    out = tmp_path / "old.yaml"
    out.write_text("kept")
    assert run(tmp_path / "nothing", out) == 1
    assert "exists; move it away" in capsys.readouterr().err
    assert out.read_text() == "kept"


def test_refuses_a_square_of_25_metres(tmp_path, capsys):
    command = [str(tmp_path), "--square", "25", "--out", str(tmp_path / "x.yaml")]
    assert hand_eye.main(command) == 1
    assert "--square must be from 0.001 to 0.5 m, got 25" in capsys.readouterr().err


@pytest.mark.parametrize("board", ["7", "7x", "axb", "2x5", "6x6"])
def test_refuses_a_board_that_is_none(board, tmp_path):
    with pytest.raises(SystemExit):
        hand_eye.parse_arguments([str(tmp_path), "--board", board, "--square", "1", "--out", "x"])
