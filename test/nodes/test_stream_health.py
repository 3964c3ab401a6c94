from vla_ros.nodes.stream_health import StreamHealth


def test_rate_is_counted_since_it_was_last_asked():
    health = StreamHealth(2.0)
    health.restart(10.0)
    for index in range(6):
        health.count(10.0 + 0.1 * index)
    assert health.rate_hz(12.0) == 3.0
    assert health.rate_hz(13.0) == 0.0
    assert health.rate_hz(13.0) == 0.0
    assert health.images == 6


def test_a_stall_is_said_once_and_so_is_its_end():
    health = StreamHealth(2.0)
    health.restart(10.0)
    health.count(11.0)
    assert not health.changed(13.0)
    assert health.changed(13.1)
    assert health.stalled
    assert not health.changed(14.0)
    health.alive(14.5)
    assert health.changed(14.6)
    assert not health.stalled
    assert health.stalls == 1


def test_a_new_start_waits_anew():
    health = StreamHealth(2.0)
    health.restart(0.0)
    assert health.changed(5.0)
    health.restart(10.0)
    assert not health.stalled
    assert health.silent_s(11.0) == 1.0
