"""Anybody's harness scores a checkpoint: vla-eval's bytes, made by hand, over real sockets."""

import json
import threading
import urllib.request

import cv2
import msgpack
import numpy as np
import pytest
from vla_eval_harness import (
    DOWN,
    HELLO,
    PICTURE,
    STATES,
    Fake,
    actions,
    answer,
    array,
    asked,
    displacement,
    image,
    message,
    seen,
)
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from vla_ros.core.errors import ContractError, RemoteError
from vla_ros.core.observation import Chunk
from vla_ros.core.rotations import transform
from vla_ros.policy import vla_eval_server
from vla_ros.policy.remote_access import Address
from vla_ros.policy.vla_eval_server import VlaEvalServer
from vla_ros.policy.vla_eval_session import manner_of


def test_a_displacement_becomes_shares_of_what_liberos_controller_does_at_most():
    # 0.03 of 0.05 m, 0.1 of 0.5 rad, and the gripper closes with +1.
    runner = Fake(displacement(0.03, 0, -0.02, 0, 0.1, 0, 0.0))
    with asked(runner) as (socket, _):
        socket.send(message("episode_start", {"task": {"name": "x"}}))
        said = answer(socket, seen(), seq=41)
        assert said["seq"] == 41
        assert actions(said) == pytest.approx([0.6, 0, -0.4, 0, 0.2, 0, 1.0])
        runner.chunk = displacement(0.1, 0.05, 0, 0, 0, 0, 1.0)
        # Twice too far: half of it, in the same direction.
        assert actions(answer(socket, seen())) == pytest.approx([1.0, 0.5, 0, 0, 0, 0, -1.0])
    assert runner.asked[0].task == "put it in the basket"


@pytest.mark.parametrize("form", ["png", "raw", None])
def test_a_picture_reaches_the_policy_as_a_dataset_would_hold_it(form):
    runner = Fake(displacement(0, 0, 0, 0, 0, 0, 1))
    told = array(PICTURE) if form is None else image(PICTURE, form)
    with asked(runner) as (socket, _):
        actions(answer(socket, {**seen(), "images": {"agentview": told}}))
    picture = runner.asked[0].views["agentview"].picture
    assert picture.shape == (32, 32, 3)
    coarse = cv2.resize(PICTURE, (32, 32), interpolation=cv2.INTER_AREA)
    assert np.abs(picture.astype(float) - coarse).mean() < 2  # it was a JPEG


def test_hello_says_what_the_policy_looks_at_and_does():
    with asked(Fake(displacement(0, 0, 0, 0, 0, 0, 1))) as (_, hello):
        told = hello["payload"]
    assert (hello["type"], told["protocol_version"]) == ("hello", 1)
    formats = {name: spec["format"] for name, spec in told["action_spec"].items()}
    gripper = "binary_close_positive"
    assert formats == {"position": "delta_xyz", "rotation": "axis_angle", "gripper": gripper}
    assert told["observation_params"] == {}
    runner = Fake(displacement(0, 0, 0, 0, 0, 0, 1), needs_poses=True)
    with asked(runner) as (_, hello):
        assert hello["payload"]["observation_params"] == {"send_state": True}
        assert set(hello["payload"]["observation_spec"]) == {"agentview", "language", "state"}


def test_a_chunk_of_poses_is_followed_from_where_the_tool_is_measured():
    poses = np.stack([transform(DOWN[:3, :3], DOWN[:3, 3] + [0.01 * n, 0, 0]) for n in (1, 2, 3)])
    chunk = Chunk(np.zeros((3, 10), np.float32), 0.05, np.array([1.0, 0.0, 0.0]), poses)
    runner = Fake(chunk, needs_poses=True, num_past=1)
    with asked(runner, steps=2) as (socket, _):
        said = answer(socket, seen(states=array(STATES)))
        assert said["payload"]["steps_left"] == 1
        first = actions(said)
        assert first == pytest.approx([0.2, 0, 0, 0, 0, 0, -1], abs=1e-5)
        moved = STATES + np.float32([0.004, 0, 0, 0, 0, 0, 0, 0])
        second = actions(answer(socket, {"states": array(moved)}))  # no picture is needed
        # 0.02 - 0.004 of 0.05 m are left, and the gripper closes.
        assert second == pytest.approx([0.32, 0, 0, 0, 0, 0, 1], abs=1e-5)
        assert len(runner.asked) == 1
        actions(answer(socket, seen(states=array(moved))))
        assert len(runner.asked) == 2  # two steps of a chunk are done, then the next is asked for
        socket.send(message("episode_start", {}))
        actions(answer(socket, seen(states=array(moved))))
        assert len(runner.asked) == 3  # and a chunk of the last episode is not gone on with
        assert runner.asked[1].tools[-1][:3, 3] == pytest.approx([0.104, 0, 0.3])
        assert runner.asked[1].state == pytest.approx([*moved[:6], 0.5], abs=1e-6)


def test_an_episode_begins_with_a_past_of_its_own_first_pose():
    runner = Fake(displacement(0, 0, 0, 0, 0, 0, 1), needs_poses=True, num_past=2)
    later = STATES + np.float32([0.1, 0, 0, 0, 0, 0, 0, 0])
    with asked(runner) as (socket, _):
        for states in (STATES, later):
            actions(answer(socket, seen(states=array(states))))
        socket.send(message("episode_start", {}))
        actions(answer(socket, seen(states=array(later))))
    pasts = [o.tools[:, 0, 3].round(3).tolist() for o in runner.asked]
    assert pasts == [[0.1] * 3, [0.1, 0.1, 0.2], [0.2] * 3]
    assert [len(o.past_states) for o in runner.asked] == [2, 2, 2]


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (seen("primary"), "no image 'agentview'.*there is primary: give --image agentview=NAME"),
        ({"task_description": "x"}, "no image 'agentview'"),
        ({**seen(), "task_description": 3}, "task_description must be a text .* got int"),
        (seen() | {"images": {"agentview": {"__image__": True, "format": "webp"}}}, "png or jpeg"),
        (seen() | {"images": {"agentview": array(np.zeros(3, np.uint8))}}, "must be uint8"),
        (
            seen() | {"images": {"agentview": {**image(PICTURE), "data": b"\x89PNG"}}},
            "cannot be decoded",
        ),
    ],
)
def test_an_observation_that_will_not_do_is_one_sentence_and_the_next_one_may(payload, says):
    with asked(Fake(displacement(0, 0, 0, 0, 0, 0, 1))) as (socket, _):
        said = answer(socket, payload, seq=7)
        assert (said["type"], said["seq"]) == ("error", 7)
        assert "\n" not in said["payload"]["error"]
        with pytest.raises(ContractError, match=says):
            raise ContractError(said["payload"]["error"])
        actions(answer(socket, seen()))


def test_who_needs_states_says_so():
    with asked(Fake(displacement(0, 0, 0, 0, 0, 0, 1), needs_poses=True)) as (socket, _):
        assert "has no states" in answer(socket, seen())["payload"]["error"]
        four = answer(socket, seen(states=array(STATES[:4])))["payload"]["error"]
        assert "got shape (4,)" in four


def test_another_version_is_told_and_nonsense_is_not_listened_to():
    runner = Fake(displacement(0, 0, 0, 0, 0, 0, 1))
    manner = manner_of(runner.contract, runner.cameras, {}, {})
    found = VlaEvalServer(runner, "aa", Address("127.0.0.1", 0), manner)
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    try:
        with connect(str(found.address), compression=None) as socket:
            socket.send(message("hello", {"harness_version": "9", "protocol_version": 2}))
            assert "of version 2" in msgpack.unpackb(socket.recv(5))["payload"]["error"]
            with pytest.raises(ConnectionClosed):
                socket.recv(5)
        with connect(str(found.address), compression=None) as socket:
            socket.send(HELLO)
            socket.recv(5)
            # A harness that makes its world for a minute is not gone.
            assert {c.ping_interval for c in found._connections} == {None}
            socket.send(b"\x93\x01\x02\x03")
            with pytest.raises(ConnectionClosed, match="a message must be a map"):
                socket.recv(5)
        where = str(found.address).replace("ws://", "http://")
        with urllib.request.urlopen(f"{where}/health", timeout=5) as reply:
            assert (reply.status, json.load(reply)) == (200, {"status": "ok"})
    finally:
        found.close()
        thread.join()


def test_only_this_machine_may_ask(capsys):
    assert vla_eval_server.main(["nowhere", "--host", "0.0.0.0"]) == 1
    said = capsys.readouterr().err
    assert "knows no token: stay on 127.0.0.1 and use an ssh tunnel" in said
    with pytest.raises(RemoteError):
        VlaEvalServer(Fake(None), "aa", Address("0.0.0.0", 0), None)
