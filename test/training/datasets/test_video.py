import numpy as np
import pytest

from training.datasets.video import CODECS, join_videos, read_video, require_codec, write_video
from vla_ros.core.errors import DatasetError

FPS = 7  # no divisor of the usual time bases


def pictures(count, first=0):
    """Return pictures whose brightness and gradient tell which they are."""
    ramp = np.linspace(0, 50, 32)[None, :, None] + np.zeros((24, 32, 3))
    return [(ramp + 20 + 10 * (first + i)).astype(np.uint8) for i in range(count)]


@pytest.mark.parametrize("codec", CODECS)
def test_pictures_come_back_at_their_times(tmp_path, codec):
    assert write_video(tmp_path / "v.mp4", pictures(9), codec, FPS) == 9
    found = list(read_video(tmp_path / "v.mp4"))
    np.testing.assert_allclose([time_s for time_s, _ in found], np.arange(9) / FPS, atol=1e-9)
    for (_, got), shown in zip(found, pictures(9), strict=True):
        assert abs(got.astype(float) - shown).mean() < 2


@pytest.mark.parametrize("codec", CODECS)
def test_reading_begins_at_the_asked_picture(tmp_path, codec):
    write_video(tmp_path / "v.mp4", pictures(9), codec, FPS)
    for first in range(9):
        time_s, got = next(read_video(tmp_path / "v.mp4", first / FPS))
        assert time_s == pytest.approx(first / FPS)
        assert abs(got.astype(float) - pictures(9)[first]).mean() < 2


@pytest.mark.parametrize("codec", CODECS)
def test_joined_videos_follow_without_a_gap(tmp_path, codec):
    parts = []
    for number, count in enumerate((3, 1, 4)):
        parts.append(tmp_path / f"{number}.mp4")
        write_video(parts[-1], pictures(count, 5 * number), codec, FPS)
    join_videos(tmp_path / "all.mp4", parts, FPS)
    found = list(read_video(tmp_path / "all.mp4"))
    np.testing.assert_allclose([time_s for time_s, _ in found], np.arange(8) / FPS, atol=1e-9)
    expected = pictures(3) + pictures(1, 5) + pictures(4, 10)
    for (_, got), shown in zip(found, expected, strict=True):
        assert abs(got.astype(float) - shown).mean() < 2


@pytest.mark.parametrize("codec", CODECS)
def test_the_same_pictures_give_the_same_bytes(tmp_path, codec):
    for name in "ab":
        write_video(tmp_path / name, pictures(5), codec, FPS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_cannot_be_written_is_refused(tmp_path, monkeypatch):
    with pytest.raises(DatasetError, match="needs even sides, got 31 x 24 px; choose another"):
        write_video(tmp_path / "v.mp4", [np.zeros((24, 31, 3), np.uint8)], "vp9", FPS)
    with pytest.raises(DatasetError, match="codec 'x264' is unknown; choose one of vp9, av1"):
        require_codec("x264")
    monkeypatch.setattr("av.codec.codecs_available", {"libvpx-vp9"})
    with pytest.raises(DatasetError, match="cannot write av1: it has no libsvtav1; install av"):
        require_codec("av1")


def test_what_is_no_video_is_refused_by_name(tmp_path):
    with pytest.raises(DatasetError, match=r"video .*none.mp4 cannot be read .*get the file again"):
        next(read_video(tmp_path / "none.mp4"))
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(DatasetError, match=r"text.mp4 cannot be read"):
        next(read_video(tmp_path / "text.mp4"))


def test_no_encoder_under_the_gpl_is_called():
    assert {encoder for encoder, _ in CODECS.values()} == {"libvpx-vp9", "libsvtav1"}
