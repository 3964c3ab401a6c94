"""Words of a person on recordings, and requests that have to be made twice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_ros.core.episode import DISCARDED
from vla_ros.core.errors import EpisodeError
from vla_ros.core.teleop_takes import WORDS, Confirmation, End, Presses, Takes

AT = np.zeros(6)


def show(takes, began_s=0.0):
    """Begin the take that was asked for, and move the arm."""
    takes.began(began_s)
    takes.saw(AT, 1.0)
    takes.saw(AT + 0.1, 1.0)


def take(takes, word):
    """Record a take that ends with a word; return how."""
    if takes.state == "idle":
        takes.say("start", 0.0)
    show(takes)
    takes.say(word, 5.0)
    end = takes.end
    takes.over()
    return end


def test_takes_end_as_the_person_says_and_only_kept_ones_count():
    takes = Takes(wanted=2)
    assert take(takes, "discard") == End(False, DISCARDED)
    assert take(takes, "failed") == End(False, "the person calls it a failure")
    assert take(takes, "keep") == End(True, "kept by the person")
    assert not takes.done
    take(takes, "keep")
    assert takes.done
    assert takes.summary == "2 of 2 kept, 1 failed, 1 discarded"
    with pytest.raises(EpisodeError, match="nothing more to record: 2 of 2 kept"):
        takes.say("start", 5.0)


def test_a_redo_discards_and_asks_for_the_next_take_at_once():
    takes = Takes(wanted=1)
    assert take(takes, "redo") == End(False, DISCARDED)
    assert takes.state == "asked for"
    assert take(takes, "keep").success is True
    assert takes.state == "idle"


def test_one_button_starts_and_keeps():
    takes = Takes(wanted=1)
    assert takes.say("record", 0.0).startswith("the recording begins")
    with pytest.raises(EpisodeError, match=r"could keep \(asked for\)"):
        takes.say("record", 5.0)
    show(takes)
    assert takes.say("record", 5.0) == "kept"


def test_a_start_while_the_last_take_is_saved_waits_for_it():
    takes = Takes(wanted=2)
    for state in ("asked for", "idle"):
        if takes.state == "idle":
            takes.say("start", 5.0)
        show(takes)
        takes.say("keep", 5.0)
        takes.say("record", 5.0)
        takes.over()
        assert takes.state == state
    assert takes.done


def test_a_take_that_was_cut_is_nobodys_verdict():
    takes = Takes(wanted=1)
    takes.cut("too early")
    assert takes.end is None
    takes.say("start", 5.0)
    takes.began(0.0)
    takes.cut("stopped: x")
    assert takes.end == End(None, "stopped: x")
    takes.over()
    assert takes.summary == "0 of 1 kept, 0 failed, 0 discarded"
    assert takes.state == "idle"


@pytest.mark.parametrize("end", ["cut", "lost", "lost before", "lost at the end"])
def test_one_button_does_not_start_where_the_person_means_to_keep_a_take_that_ended_by_itself(end):
    takes = Takes(wanted=1)
    takes.say("record", 0.0)
    if end != "lost before":
        show(takes)
    if end == "cut":
        takes.cut("stopped: x")
        takes.over()
    else:
        if end == "lost at the end":
            takes.say("record", 5.0)
        takes.lost()
    with pytest.raises(EpisodeError, match=r"nothing is kept.*press once more to start anew"):
        takes.say("record", 6.0)
    assert takes.state == "idle"
    takes.say("record", 8.0)
    show(takes)
    assert takes.say("record", 13.0) == "kept"
    # Who says start knows.
    takes.over()
    takes.wanted = 2
    takes.say("start", 14.0)
    takes.lost()
    takes.say("start", 15.0)
    show(takes)
    assert takes.say("record", 20.0) == "kept"


def test_a_person_may_finish_early_but_not_in_the_middle_of_a_take():
    takes = Takes(wanted=5)
    takes.say("start", 5.0)
    show(takes)
    with pytest.raises(EpisodeError, match="a take is running; keep or discard it first"):
        takes.say("finish", 5.0)
    takes.say("redo", 5.0)
    assert takes.say("finish", 5.0) == "finished: 0 of 5 kept, 0 failed, 0 discarded"
    takes.over()
    assert takes.done


@pytest.mark.parametrize("word", ["keep", "record"])
def test_a_forgotten_take_is_not_kept_since_nothing_was_shown(word):
    takes = Takes(wanted=1)
    takes.say("start", 9.0)
    takes.began(10.0)
    takes.saw(AT, 1.0)
    takes.saw(np.array([0.0, 0.1, 0.0, 0.0, 0.0, 0.0]), 1.0)
    with pytest.raises(EpisodeError, match=r"began 1\.9 s ago.*say discard"):
        takes.say(word, 11.9)
    assert takes.say(word, 12.1) == "kept"
    takes.over()
    takes.wanted = 2
    takes.say("start", 20.0)
    takes.began(20.0)
    for q_rad, opening in ((AT + 0.3, 0.5), (AT + 0.26, 0.45), (AT + 0.34, 0.55)):
        takes.saw(q_rad, opening)
    with pytest.raises(EpisodeError, match="run for 40 s, and the arm has not moved"):
        takes.say(word, 60.0)
    assert takes.state == "running"
    takes.saw(AT + 0.3, 0.65)
    assert takes.say(word, 60.0) == "kept"


def test_a_start_is_taken_back_before_its_take_runs():
    takes = Takes(wanted=2)
    takes.say("start", 0.0)
    assert takes.say("discard", 0.0) == "the start is taken back: nothing more is recorded"
    assert takes.state == "idle"
    takes.say("start", 0.0)
    takes.cut("stopped: x")
    assert (takes.state, takes.end) == ("idle", None)
    # One that waits for the take before leaves what became of that as it was.
    assert take(takes, "redo") == End(False, DISCARDED)
    show(takes)
    takes.say("keep", 5.0)
    takes.say("start", 5.0)
    takes.say("discard", 5.0)
    takes.over()
    assert (takes.state, takes.summary) == ("idle", "1 of 2 kept, 0 failed, 1 discarded")
    takes.say("start", 6.0)
    takes.say("finish", 6.0)
    assert takes.done


def test_presses_of_one_word_that_follow_each_other_too_soon_are_one():
    presses = Presses(1.0)
    said = [("record", 0.0), ("record", 0.3), ("record", 1.2), ("discard", 1.3), ("record", 2.2)]
    assert [presses.counts(*one) for one in said] == [True, False, False, True, True]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([*WORDS, "began", "over", "x"]), max_size=30))
def test_whatever_is_said_a_take_runs_or_none_and_has_an_end_only_while_it_ends(words):
    takes = Takes(wanted=2)
    for word in words:
        before = (takes.state, takes.end, takes.summary)
        if word == "began":
            if takes.state == "asked for":
                show(takes)
        elif word == "over":
            if takes.state == "ending":
                takes.over()
        else:
            try:
                takes.say(word, 5.0)
            except EpisodeError:
                assert before == (takes.state, takes.end, takes.summary)
        assert (takes.end is not None) == (takes.state == "ending")


@pytest.mark.parametrize(
    ("asked_s", "confirmed"),
    [
        ([0.0, 2.0], [False, True]),
        ([0.0, 0.2, 2.0], [False, False, True]),
        ([0.0, 11.0, 12.0], [False, False, True]),
        ([0.0, 2.0, 3.0], [False, True, False]),
        ([0.0, 0.4, 0.8, 1.4], [False, False, False, True]),
    ],
)
def test_a_second_request_confirms_neither_at_once_nor_too_late(asked_s, confirmed):
    confirmation = Confirmation(0.5, 10.0)
    assert [confirmation.ask(now_s) for now_s in asked_s] == confirmed


@pytest.mark.parametrize("repeats_after_s", [0.25, 0.5, 0.66, 1.0])
def test_a_held_key_confirms_nothing_however_often_its_terminal_repeats_it(repeats_after_s):
    confirmation = Confirmation(1.5, 10.0)
    asked_s = [0.0] + [repeats_after_s + 0.033 * n for n in range(90)]
    assert not any(confirmation.ask(now_s) for now_s in asked_s)
    assert confirmation.ask(asked_s[-1] + 2.0)


def test_a_forgotten_request_confirms_nothing():
    confirmation = Confirmation(0.5, 10.0)
    confirmation.ask(0.0)
    confirmation.forget()
    assert not confirmation.ask(1.0)
