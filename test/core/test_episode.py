import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_ros.core.episode import EPISODE_KINDS, RECORDING_STATES, EpisodeEvent, RecordingState
from vla_ros.core.errors import EpisodeError


@given(
    st.builds(
        EpisodeEvent,
        event=st.sampled_from(["start", "end"]),
        episode_id=st.text("abcXYZ019-_", min_size=1),
        kind=st.sampled_from(EPISODE_KINDS),
        task=st.text(),
        success=st.sampled_from([True, False, None]),
        reason=st.text(),
        settings=st.dictionaries(st.text(), st.integers() | st.lists(st.floats(-9, 9))),
    )
)
def test_event_survives_json(event):
    assert EpisodeEvent.from_json(event.to_json()) == event


@pytest.mark.parametrize("task", ["yes", "1", 'a: "b" # c', "put the 🥕 on the plate", "null"])
def test_tasks_that_look_like_yaml_stay_text(task):
    text = EpisodeEvent("start", "e1", "demo", task).to_json()
    assert "\n" not in text
    assert EpisodeEvent.from_json(text).task == task


def test_an_end_says_what_its_start_said():
    start = EpisodeEvent("start", "e1", "play", "a task", settings={"seed": 5})
    end = EpisodeEvent("end", "e1", "play", "a task", None, "cut", {"seed": 5})
    assert start.cut_short("cut") == end
    assert start.ended(True, "done").success is True


def test_an_event_of_before_there_were_settings_is_read_but_not_one_that_lacks_more():
    said = json.loads(EpisodeEvent("start", "e1", "play").to_json())
    del said["settings"]
    assert EpisodeEvent.from_json(json.dumps(said)).settings == {}
    del said["reason"]
    with pytest.raises(EpisodeError, match="must hold exactly"):
        EpisodeEvent.from_json(json.dumps(said))


@given(st.sampled_from(RECORDING_STATES), st.text(), st.text(), st.lists(st.text()), st.text())
def test_recording_state_survives_json(state, episode_id, path, missing, detail):
    recording = RecordingState(episode_id, state, path, tuple(missing), detail)
    assert RecordingState.from_json(recording.to_json()) == recording


def test_missing_topics_become_a_tuple():
    assert RecordingState(missing=["/tf"]).missing == ("/tf",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"event": "pause"}, "event of EpisodeEvent must be one of start, end, got 'pause'"),
        ({"kind": "dance"}, "kind of EpisodeEvent must be one of play, demo, policy"),
        ({"task": 1}, "task of EpisodeEvent must be str, got 1"),
        ({"success": 1}, "success of EpisodeEvent must be bool or NoneType, got 1"),
        ({"episode_id": ""}, "episode_id of EpisodeEvent must be letters"),
        ({"episode_id": ".."}, r"got '\.\.'"),
        ({"episode_id": "a/b"}, "got 'a/b'"),
        ({"episode_id": "ä"}, "episode_id of EpisodeEvent must be letters"),
        ({"reason": None}, "reason of EpisodeEvent must be str, got None"),
        ({"settings": None}, "settings of EpisodeEvent must be dict, got None"),
    ],
)
def test_illegal_event_is_refused(changes, message):
    legal = json.loads(EpisodeEvent("start", "e1", "play").to_json())
    with pytest.raises(EpisodeError, match=message):
        EpisodeEvent.from_json(json.dumps({**legal, **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": "paused"}, "state of RecordingState must be one of idle, waiting"),
        ({"missing": "front"}, "missing of RecordingState must be tuple or list, got 'front'"),
        ({"missing": [1]}, "missing of RecordingState must be str, got 1"),
        ({"path": None}, "path of RecordingState must be str, got None"),
    ],
)
def test_illegal_recording_state_is_refused(changes, message):
    legal = json.loads(RecordingState().to_json())
    with pytest.raises(EpisodeError, match=message):
        RecordingState.from_json(json.dumps({**legal, **changes}))


@pytest.mark.parametrize("kind", [EpisodeEvent, RecordingState])
def test_text_that_is_not_json_is_refused(kind):
    with pytest.raises(EpisodeError, match=f"{kind.__name__} is not JSON"):
        kind.from_json("{event: start")


@pytest.mark.parametrize("kind", [EpisodeEvent, RecordingState])
@pytest.mark.parametrize("text", ["[]", "null", '"x"', "{}", '{"extra": 1}'])
def test_missing_and_unknown_keys_are_refused(kind, text):
    with pytest.raises(EpisodeError, match=f"{kind.__name__} must hold exactly"):
        kind.from_json(text)


def test_an_episode_that_is_cut_short_ends_unjudged():
    start = EpisodeEvent("start", "demo-1", "demo", "put it there")
    end = EpisodeEvent("end", "demo-1", "demo", "put it there", None, "the arm is gone")
    assert start.cut_short("the arm is gone") == end
