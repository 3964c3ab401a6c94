import contextlib
import dataclasses
import json

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_ros.core.contract import apt_contract, tap_contract
from vla_ros.core.errors import ContractError, RemoteError
from vla_ros.core.observation import CameraView, Chunk, Decided, Observation
from vla_ros.policy import remote_messages as messages
from vla_ros.policy import remote_wire as wire

TAP, APT = tap_contract(image_size=32), apt_contract(image_size=32, horizon=2)
K = np.array([[48.0, 0, 31.5], [0, 48.0, 23.5], [0, 0, 1]])


def through(part):
    """Return a part of a message as it arrives."""
    return wire.unpack(wire.pack({"part": part}))["part"]


def tap_chunk(**changes):
    actions = np.float32([[0.01, 0, 0, 0, 0, 0.1, 1.0]])
    return Chunk(actions, 0.2, np.ones(1), **changes)


def apt_chunk():
    actions = np.tile(np.float32([0.1, 0, 0, 1, 0, 0, 0, 1, 0, -1]), (2, 1))
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[:, 0, 3] = 0.3
    return Chunk(actions, 0.2, np.array([0.0, 1.0]), poses)


def test_an_observation_arrives_bit_for_bit():
    rng = np.random.default_rng(0)
    views = {
        "front": CameraView(b"\xff\xd8 jpeg", rng.normal(size=(4, 4)), K, (64, 48)),
        "seite": CameraView(rng.integers(0, 255, (4, 6, 3), np.uint8)[:, ::-1]),
    }
    sent = Observation(views, "lege die Möhre 🥕", rng.normal(size=7), rng.normal(size=(2, 7)))
    got = messages.observation_from_map(through(messages.observation_to_map(sent)))
    assert got.task == sent.task
    assert list(got.views) == ["front", "seite"]
    assert got.views["front"].picture == b"\xff\xd8 jpeg"
    assert got.views["front"].size == (64, 48)
    assert got.views["seite"].T_base_camera is None
    for ours, theirs in (
        (sent.state, got.state),
        (sent.past_states, got.past_states),
        (views["front"].T_base_camera, got.views["front"].T_base_camera),
        (K, got.views["front"].K),
        (views["seite"].picture, got.views["seite"].picture),
    ):
        assert theirs.dtype == ours.dtype
        np.testing.assert_array_equal(theirs, ours)
    assert got.state.flags.writeable


def test_what_is_decided_arrives_and_nothing_else_for_it():
    chunk = apt_chunk()
    sent = Decided(np.eye(4), chunk.T_base_tool, chunk.openings, np.int64(1))
    said = through(messages.decided_to_map(sent))
    got = messages.decided_from_map(said)
    assert got.fixed == 1
    for name in ("T_commanded", "T_base_tool", "openings"):
        np.testing.assert_array_equal(getattr(got, name), getattr(sent, name))
    assert messages.decided_from_map(messages.decided_to_map(None)) is None
    lies = {"fixed": 3}, {"openings": None}, {"openings": said["T_commanded"]}, {"fixed": -1}
    for lie in lies:
        with pytest.raises(RemoteError):
            messages.decided_from_map({**said, **lie})


@pytest.mark.parametrize(("chunk", "contract"), [(tap_chunk(), TAP), (apt_chunk(), APT)])
def test_a_legal_chunk_arrives_bit_for_bit(chunk, contract):
    got = messages.chunk_from_map(through(messages.chunk_to_map(chunk)), contract)
    np.testing.assert_array_equal(got.actions, chunk.actions)
    np.testing.assert_array_equal(got.openings, chunk.openings)
    assert got.period_s == 0.2
    if chunk.T_base_tool is None:
        assert got.T_base_tool is None
    else:
        np.testing.assert_array_equal(got.T_base_tool, chunk.T_base_tool)


def changed(chunk, name, change):
    value = np.array(getattr(chunk, name))
    change(value)
    return dataclasses.replace(chunk, **{name: value})


def put(index, value):
    return lambda array: array.__setitem__(index, value)


LIES = [
    (tap_chunk(), {"actions": np.zeros((1, 6), np.float32)}, r"actions must be .* \(1, 6\)"),
    (tap_chunk(), {"actions": np.zeros((0, 7), np.float32)}, "actions must be"),
    (tap_chunk(), {"actions": np.zeros((1001, 7), np.float32)}, "actions must be"),
    (tap_chunk(), {"actions": np.zeros((1, 7))}, "got float64"),
    (tap_chunk(), {"actions": None}, "got nothing"),
    (tap_chunk(), {"actions": np.full((1, 7), np.nan, np.float32)}, "not finite"),
    (tap_chunk(), {"actions": np.float32([[0.3, 0, 0, 0, 0, 0, 1]])}, "must lie in"),
    (tap_chunk(), {"openings": np.ones(2)}, "openings must be"),
    (tap_chunk(), {"openings": np.array([1.5])}, "openings must lie in 0 to 1"),
    (tap_chunk(), {"period_s": 0.02}, "period_s must be 0.2"),
    (tap_chunk(), {"period_s": "fast"}, "period_s must be 0.2"),
    (tap_chunk(), {"T_base_tool": np.eye(4)[None]}, "without poses"),
    (apt_chunk(), {"actions": np.zeros((1, 10), np.float32)}, r"actions must be float32 \(2, 10\)"),
    (apt_chunk(), {"actions": np.full((2, 10), 1.4, np.float32)}, "within 1.3 m"),
    (apt_chunk(), {"T_base_tool": None}, "T_base_tool must be float64"),
    (apt_chunk(), {"T_base_tool": np.tile(2 * np.eye(4), (2, 1, 1))}, "rotations and places"),
    (apt_chunk(), {"T_base_tool": np.tile(np.diag([1.0, 1, -1, 1]), (2, 1, 1))}, "rotations"),
    (apt_chunk(), {"T_base_tool": np.full((2, 4, 4), np.inf)}, "not finite"),
]  # fmt: skip


@pytest.mark.parametrize(("chunk", "lie", "words"), LIES)
def test_a_chunk_that_is_none_of_the_contract_is_refused(chunk, lie, words):
    contract = TAP if len(chunk) == 1 else APT
    said = through({**messages.chunk_to_map(chunk), **lie})
    with pytest.raises((ContractError, RemoteError), match=words):
        messages.chunk_from_map(said, contract)


def test_poses_out_of_this_world_are_refused():
    chunk = apt_chunk()
    chunk.T_base_tool[1, 2, 3] = -3.1
    with pytest.raises(ContractError, match="within 3 m of the base"):
        messages.chunk_from_map(through(messages.chunk_to_map(chunk)), APT)


ARRAY = {"dtype": "<f4", "shape": [2], "data": bytes(8)}


@pytest.mark.parametrize(
    "lie",
    [
        {"dtype": "|O"},
        {"dtype": ["<f4"]},
        {"shape": [3]},
        {"shape": [-1]},
        {"shape": [1 << 40, 0]},
        {"shape": [2, 1, 1, 1, 1]},
        {"shape": [0, (1 << 24) - 1, (1 << 24) - 1, (1 << 24) - 1], "data": b""},
        {"shape": [2.0]},
        {"shape": 2},
        {"data": bytes(7)},
        {"data": "12345678"},
        {"more": 1},
    ],
)
def test_an_array_that_lies_about_itself_is_refused(lie):
    assert wire.array_of({"a": ARRAY}, "a").tolist() == [0.0, 0.0]
    with pytest.raises(RemoteError, match="^a of a message"):
        wire.array_of({"a": ARRAY | lie}, "a")


@pytest.mark.parametrize(
    "data",
    [
        "text",
        b"",
        b"\xc1",
        msgpack.packb([1]),
        msgpack.packb({"a": 1}) + b"\x00",
        msgpack.packb({1: 2}),
        b"\x91" * 100_000,  # lists in lists
        b"\xdf\xff\xff\xff\xff",  # says that it has four billion entries
        msgpack.packb({"a": "b"}).replace(b"b", b"\xff"),
    ],
)
def test_bytes_that_are_no_message_are_refused_in_one_line(data):
    with pytest.raises(RemoteError, match="^a message (cannot be read|must be a map)") as raised:
        wire.unpack(data)
    assert str(raised.value).isprintable()


ATOMS = st.none() | st.booleans() | st.integers(-5, 1 << 40) | st.floats() | st.text(max_size=3)
THINGS = st.recursive(
    ATOMS | st.binary(max_size=12) | st.just(ARRAY),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "dtype", "shape", "data", "picture"]), inner)
    ),
    max_leaves=6,
)
KEYS = ["views", "task", "state", "past_states", "actions", "period_s", "openings", "T_base_tool"]
LIKE_OURS = st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, THINGS))


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_a_message_or_refused(data):
    with contextlib.suppress(RemoteError):
        assert isinstance(wire.unpack(data), dict)


@settings(max_examples=50, deadline=None)
@given(LIKE_OURS, LIKE_OURS)
def test_any_message_is_an_observation_or_a_chunk_or_refused(said, view):
    said = {**said, "views": {"front": {"picture": b"", **view}}} if said else said
    with contextlib.suppress(RemoteError):
        assert isinstance(messages.observation_from_map(said), Observation)
    with pytest.raises((RemoteError, ContractError)):  # ARRAY is no legal action
        messages.chunk_from_map(said, TAP)


def maps(lists):
    """Return a message with so many lists of 60 empty maps."""
    return msgpack.packb({str(i): [{}] * 60 for i in range(lists)})


def test_a_message_of_very_many_parts_is_refused_before_it_is_read():
    assert len(wire.unpack(maps(4))) == 4
    with pytest.raises(RemoteError, match="it has more than 256 maps and lists"):
        wire.unpack(maps(5))
    for many in ({"a": [0] * 65}, {str(i): 0 for i in range(65)}, {"a": "b" * ((1 << 18) + 1)}):
        with pytest.raises(RemoteError, match=r"exceeds max_(array|map|str)_len"):
            wire.unpack(msgpack.packb(many))


def test_the_largest_legal_chunk_and_observation_arrive():
    poses = np.tile(np.eye(4), (1000, 1, 1))
    large = Chunk(np.zeros((1000, 10), np.float32), 0.2, np.ones(1000), poses)
    said = wire.pack({"kind": "chunk", "number": 1 << 60, "chunk": messages.chunk_to_map(large)})
    assert len(said) < wire.MAX_ANSWER_BYTES
    assert messages.chunk_from_map(wire.unpack(said)["chunk"], apt_contract(horizon=1000))
    view = CameraView(b"\xff", np.eye(4), K, (64, 48))
    views = {str(i): view for i in range(8)}
    sent = Observation(views, "g" * 1000, np.zeros(7), np.zeros((1000, 7)))
    part = through(messages.observation_to_map(sent))
    assert len(messages.observation_from_map(part).views) == 8
    for change, words in (
        ({"views": {**part["views"], "8": part["views"]["0"]}}, "up to 8 views, got 9"),
        ({"task": "g" * 1001}, "up to 1000 characters, got 1001"),
    ):
        with pytest.raises(RemoteError, match=words):
            messages.observation_from_map({**part, **change})


@pytest.mark.parametrize("contract", [TAP, APT])
def test_a_contract_arrives_as_it_is(contract):
    assert messages.contract_from_text(messages.contract_to_text(contract)) == contract


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("action", "shape", [1 << 40, 7]),
        ("action", "shape", [7.0]),
        ("action", "low", [0.0, 1.0]),
        ("action", "high", "high"),
        ("state", "dtype", "object"),
        ("state", "unit", "rad\x1b[2J"),
        ("action", "low", "-1"),
        ("action", "low", ["-1"] * 7),
        ("action", "high", float("nan")),
        ("action", "high", float("inf")),
        ("action", "high", 10**400),
        (None, "name", "tap\nall is well"),
        (None, "robot_model", "x" * 101),
        (None, "cameras", ["front", "a\x1b[2J"]),
        (None, "cameras", [str(i) for i in range(9)]),
        (None, "rate_hz", 0.0),
        (None, "rate_hz", 1e9),
        (None, "rate_hz", float("nan")),
        (None, "rate_hz", "5"),
        (None, "rate_hz", 10**400),
        (None, "cameras", [1]),
        (None, "cameras", [["front"]]),
        (None, "action", 3),
    ],
)
def test_a_contract_of_impossible_sizes_is_refused(part, key, value):
    said = json.loads(messages.contract_to_text(TAP))
    (said if part is None else said[part])[key] = value
    with pytest.raises(RemoteError, match="a contract cannot be read"):
        messages.contract_from_text(json.dumps(said))


def test_what_is_not_ours_to_send_is_no_message():
    with pytest.raises(TypeError, match="array of int64"):
        wire.pack({"a": np.arange(3)})
    with pytest.raises(RemoteError, match="a text cannot be sent"):
        wire.pack({"task": "\udcff"})
    with pytest.raises(TypeError, match="Chunk"):
        wire.pack({"a": tap_chunk()})


def test_foreign_text_is_one_line():
    assert wire.line_of({"a": "x\n\x1b[31my" + "z" * 1000}, "a")[:8] == "x  [31my"
    assert len(wire.line_of({"a": "z" * 1000}, "a")) == 600
