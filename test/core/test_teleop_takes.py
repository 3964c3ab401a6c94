"""Words of a person on recordings, and requests that have to be made twice."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_ros.core.episode import DISCARDED
from vla_ros.core.errors import EpisodeError
from vla_ros.core.teleop_takes import WORDS, Confirmation, End, Takes


def take(takes, word):
    """Record a take that ends with a word; return how."""
    if takes.state == "idle":
        takes.say("start")
    takes.began()
    takes.say(word)
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
        takes.say("start")


def test_a_redo_discards_and_asks_for_the_next_take_at_once():
    takes = Takes(wanted=1)
    assert take(takes, "redo") == End(False, DISCARDED)
    assert takes.state == "asked for"
    assert take(takes, "keep").success is True
    assert takes.state == "idle"


def test_one_button_starts_and_keeps():
    takes = Takes(wanted=1)
    assert takes.say("record") == "started"
    with pytest.raises(EpisodeError, match=r"could keep \(asked for\)"):
        takes.say("record")
    takes.began()
    assert takes.say("record") == "kept"


def test_a_start_while_the_last_take_is_saved_waits_for_it():
    takes = Takes(wanted=2)
    for state in ("asked for", "idle"):
        if takes.state == "idle":
            takes.say("start")
        takes.began()
        takes.say("keep")
        takes.say("record")
        takes.over()
        assert takes.state == state
    assert takes.done


def test_a_take_that_was_cut_is_nobodys_verdict():
    takes = Takes(wanted=1)
    takes.cut("too early")
    assert takes.end is None
    takes.say("start")
    takes.began()
    takes.cut("stopped: x")
    assert takes.end == End(None, "stopped: x")
    takes.over()
    assert takes.summary == "0 of 1 kept, 0 failed, 0 discarded"
    assert takes.state == "idle"


def test_a_person_may_finish_early_but_not_in_the_middle_of_a_take():
    takes = Takes(wanted=5)
    takes.say("start")
    takes.began()
    with pytest.raises(EpisodeError, match="a take is running; keep or discard it first"):
        takes.say("finish")
    takes.say("redo")
    assert takes.say("finish") == "finished: 0 of 5 kept, 0 failed, 0 discarded"
    takes.over()
    assert takes.done


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([*WORDS, "began", "over", "x"]), max_size=30))
def test_whatever_is_said_a_take_runs_or_none_and_has_an_end_only_while_it_ends(words):
    takes = Takes(wanted=2)
    for word in words:
        before = (takes.state, takes.end, takes.summary)
        if word == "began":
            if takes.state == "asked for":
                takes.began()
        elif word == "over":
            if takes.state == "ending":
                takes.over()
        else:
            try:
                takes.say(word)
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
