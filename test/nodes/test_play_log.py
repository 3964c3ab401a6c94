import json

import pytest

from vla_ros.core.errors import EpisodeError
from vla_ros.nodes.play_log import SUMMARY_FILE, PlayLog

HOUR_NS = 3600 * 10**9


def test_a_line_says_how_far_it_is_and_what_is_left(tmp_path):
    log = PlayLog(5 * HOUR_NS, 100.0, 8.0)
    log.segments, log.refused, log.unreachable, log.cuts = 90, 1, 2, 3
    log.bags = (str(tmp_path / "play-00000"),)
    line = log.line(5 * HOUR_NS + 2 * HOUR_NS)
    assert line.startswith("2.00 h played, 6.00 h left: 90 segments, 1 bags, 1 targets refused,")
    assert line.endswith("GB of disk free")
    assert "left" not in PlayLog(0, 0.0, 0.0).line(HOUR_NS)


def test_the_summary_lies_beside_the_bags(tmp_path):
    log = PlayLog(0, 100.0, 0.0)
    log.segments, log.bags = 2, (str(tmp_path / "play-00000"), str(tmp_path / "play-00001"))
    path = log.write(130 * 10**9, 160.5, "the recorder is gone")
    assert path == tmp_path / SUMMARY_FILE
    said = json.loads(path.read_text())
    assert (said["segments"], said["bags"], said["play_time_s"], said["wall_time_s"]) == (
        2,
        2,
        130.0,
        60.5,
    )
    assert said["failure"] == "the recorder is gone"
    assert log.summary(130 * 10**9, 160.5).startswith("2 segments, 130 s of play time in 60 s, 2 b")


def test_without_bags_there_is_no_place_for_a_summary():
    assert PlayLog(0, 0.0, 0.0).write(1, 1.0, "") is None


def test_a_summary_that_cannot_be_written_is_said(tmp_path):
    log = PlayLog(0, 0.0, 0.0)
    log.bags = (str(tmp_path / "gone" / "play-00000"),)
    with pytest.raises(EpisodeError, match="cannot be written to .*; the bags are whole"):
        log.write(1, 1.0, "")


def test_only_whole_segments_count_as_segments(tmp_path):
    log = PlayLog(0, 0.0, 0.0)
    log.bags = (str(tmp_path / "play-00000"),)
    for outcome in ("whole", "stopped", "blocked", "blocked", "whole", "whole"):
        log.count(outcome)
    assert (log.segments, log.stopped, log.blocked) == (3, 1, 2)
    assert "1 segments stopped, 2 blocked, 0 recordings cut" in log.line(HOUR_NS)
    said = json.loads(log.write(1, 1.0, "").read_text())
    assert (said["segments"], said["segments_stopped"], said["segments_blocked"]) == (3, 1, 2)
