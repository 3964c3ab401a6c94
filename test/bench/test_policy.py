"""What `bench.policy` reads off the commands of a node."""

import pytest

pytest.importorskip("rclpy")

from bench.policy import Found, rows_of

MS = 1_000_000


def test_a_period_without_a_command_is_a_missed_tick_and_jitter():
    # Three periods of 20 ms, one of 23, one of 59: in that two ticks are missing.
    at_ms = [0, 20, 40, 60, 83, 142]
    episodes = [
        {
            **{"inference_ms": [10.0, 12.0], "picture_age_ms": [2.0, 9.0]},
            "camera_to_command_ms": [15.0, 30.0],
        },
        {"inference_ms": [11.0], "picture_age_ms": [3.0], "camera_to_command_ms": [17.0]},
    ]
    stamps_ns = [MS * ms for ms in at_ms]
    found = Found(ready_s=8.0, stamps_ns=stamps_ns, peak_mb=1300.0, results={"episodes": episodes})
    rows = {row.what.partition(": ")[2]: row for row in rows_of("TAP", found)}
    assert rows["missed ticks"].ours == 2
    assert rows["missed ticks"].met is False
    assert rows["jitter, largest"].ours == pytest.approx(39.0)
    assert rows["answers"].ours == 3
    assert rows["camera to command beside it, p50"].ours == pytest.approx(6.0)
    assert rows["a picture's age when asked about, p50"].ours == pytest.approx(3.0)
    assert rows["a picture's age when asked about, p99"].ours == pytest.approx(8.88)
    assert rows["ready"].met
    assert rows["peak memory"].met is False
