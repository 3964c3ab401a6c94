from vla_ros.nodes.stream_health import StampAge, StreamHealth


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


def test_a_late_message_among_others_is_no_wrong_clock():
    age = StampAge(0.5)
    for age_s in (0.9, 0.1, 2.0):
        age.note(age_s)
    assert age.look() == (0.1, False)
    assert not age.is_off


def test_a_wrong_clock_is_said_once_on_either_side():
    for wrong_s in (3.0, -3.0):
        age = StampAge(0.5)
        assert age.look() == (0.0, False)
        age.note(wrong_s)
        assert age.look() == (wrong_s, True)
        assert age.is_off
        # Nothing new was heard, and then the clock was set and lost again.
        assert age.look() == (wrong_s, False)
        age.note(0.0)
        assert age.look() == (0.0, False)
        assert not age.is_off
        age.note(wrong_s)
        assert age.look() == (wrong_s, False)
        assert age.is_off
