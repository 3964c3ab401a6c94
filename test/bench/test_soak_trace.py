"""What the soak tells of a violation, on a history that is easy to read."""

from bench._soak_trace import State, Trace

GO = State("go", "moves", "1111111", ())
LIMP = State("limp", "stopped", "1101111", ("torque_lost elbow",))


def test_an_event_is_told_with_the_changes_of_the_second_before_it():
    trace = Trace()
    for period in range(200):
        trace.note(period * 0.02, GO if period < 150 else LIMP)
    line = trace.tell(3.5, "goal velocity", "elbow 131%")
    story = ["-3.50 s go moves", "-0.50 s limp stopped torque 1101111 [torque_lost elbow]"]
    assert line == f"3.50 s: goal velocity: elbow 131%; before: {' | '.join(story)}"
    assert trace.told[0]["before"] == story
    # Of what came after it nothing is told, nor of what was over a second before.
    assert trace.tell(2.9, "k", "d").endswith("before: -2.90 s go moves")
    trace.note(6.0, GO)
    assert trace.tell(6.0, "k", "d").count("|") == 1
    assert trace.tell(7.1, "k", "d").endswith("before: -1.10 s go moves")


def test_what_is_long_ago_is_forgotten():
    trace = Trace()
    for now_s in range(200):
        trace.note(float(now_s), GO if now_s % 2 else LIMP)
    assert len(trace._changes) < 40
