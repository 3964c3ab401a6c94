"""A runner far away acts as one that is near, and fails in one sentence: real sockets, a thread."""

import contextlib
import dataclasses
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgpack
import numpy as np
import pytest
from policy_servers import SEEN, Runner, pretended, runner_at, served
from tiny_policies import apt, tap
from websockets.sync.client import connect
from websockets.sync.server import serve

from vla_ros.core import arm, kinematics
from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import ContractError, RemoteError
from vla_ros.core.observation import CameraView, Decided, Observation
from vla_ros.policy import remote, remote_link, server
from vla_ros.policy import remote_messages as messages
from vla_ros.policy import remote_wire as wire
from vla_ros.policy.checkpoint_hash import checkpoint_sha256
from vla_ros.policy.remote import RemoteRunner
from vla_ros.policy.remote_access import Address
from vla_ros.policy.runner import runner_of
from vla_ros.policy.server import PolicyServer

ROOT = Path(__file__).resolve().parents[2]
T_NOW = kinematics.forward(arm.READY_RAD)
DECIDED = Decided(T_NOW, np.stack([T_NOW] * 3), np.array([1.0, 1.0, 0.0]), 2)


@pytest.mark.parametrize("make", [tap, apt])
def test_a_server_answers_what_its_runner_would_bit_for_bit(make, monkeypatch):
    monkeypatch.setattr("vla_ros.policy.runner.MAX_CHUNK_TRANSLATION_M", 100.0)
    monkeypatch.setattr(messages, "MAX_CHUNK_TRANSLATION_M", 100.0)
    monkeypatch.setattr(messages, "_FURTHEST_POSE_M", 100.0)
    checkpoint = make()
    near = runner_of(checkpoint, seed=3)
    near.warm_up()  # as a server does
    with served(runner_of(checkpoint, seed=3)) as address, runner_at(address) as far:
        assert (far.contract, far.run, far.cameras, far.num_past) == (
            *(near.contract, near.run, near.cameras, near.num_past),
        )
        assert far.goes_on == near.goes_on
        for decided in (None, DECIDED):  # APT's noise goes on meanwhile
            ours, theirs = near.act(SEEN, decided), far.act(SEEN, decided)
            for name in ("actions", "openings", "T_base_tool"):
                a, b = getattr(ours, name), getattr(theirs, name)
                if a is None:
                    assert b is None
                else:
                    assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
            assert ours.period_s == theirs.period_s


def test_versions_must_be_the_same_on_both_sides(monkeypatch):
    with served(Runner()) as address:
        hello = {"protocol": wire.PROTOCOL + 1, "version": "9.9"}
        monkeypatch.setattr(remote_link, "_hello", lambda: hello)
        with pytest.raises(RemoteError, match=r"the client \(vla_ros 9.9\) version 3; install"):
            RemoteRunner(address)
    monkeypatch.undo()
    says = r"it speaks version 1 \(vla_ros 9\), we speak 2"
    with pretended(None, {"protocol": 1}) as address, pytest.raises(RemoteError, match=says):
        RemoteRunner(address)


def test_another_contract_is_refused():
    other = tap_contract("wrist", image_size=32)
    with served(Runner()) as address:
        with pytest.raises(ContractError, match=r"policy server ws://127.* does not match \(cam"):
            RemoteRunner(address, expected_contract=other)
        RemoteRunner(address, expected_contract=tap_contract(image_size=32)).close()


@pytest.mark.parametrize(
    "lie",
    [{"num_past": 1 << 40}, {"cameras": []}, {"cameras": [["front"]]}, {"cameras": ["rear"]}]
    + [{"run": "[]"}, {"contract": "{}"}, {"sha256": None}],
)
def test_a_server_that_says_nonsense_of_itself_is_refused(lie):
    says = r"^policy server ws://.*is its vla_ros ours\?"
    with pretended(None, lie) as address, pytest.raises(RemoteError, match=says):
        RemoteRunner(address)


def test_an_observation_that_the_policy_refuses_is_a_contract_error_as_with_a_near_one():
    with served(runner_of(tap())) as address, runner_at(address) as far:
        with pytest.raises(ContractError, match=r"no picture of camera front.*policy server ws"):
            far.act(dataclasses.replace(SEEN, views={}))
        assert len(far.act(SEEN)) == 1  # on the same connection: no back-off


def test_a_policy_that_crashes_is_said_and_does_not_end_the_server(capsys):
    runner = Runner(ZeroDivisionError("of its own"))
    with served(runner) as address, runner_at(address) as far:
        with pytest.raises(RemoteError, match="the policy failed with ZeroDivisionError"):
            far.act(SEEN)
        runner.answer = None
        assert len(far.act(SEEN)) == 1
    assert "of its own" in capsys.readouterr().err


def test_a_server_that_goes_while_it_is_asked_is_gone_until_it_is_back(monkeypatch):
    monkeypatch.setattr(remote, "_FIRST_WAIT_S", 60.0)
    with pretended(lambda request, connection: connection.socket.shutdown(2)) as address:
        far = RemoteRunner(address, timeout_s=30.0)
        with pytest.raises(RemoteError, match=r"^policy server ws://.*: the link broke"):
            far.act(SEEN)
    with pytest.raises(RemoteError, match=r"no policy server on ws://.*start python -m"):
        far.act(SEEN)
    with pytest.raises(RemoteError, match=r"1 tries failed, the next one is in \d"):
        far.act(SEEN)  # at once: nobody is called
    port = int(address.rpartition(":")[2])
    far._next_try_s = 0.0
    says = r"came back with another checkpoint \(sha256 ch"
    with served(Runner(), port, sha256="bb"), pytest.raises(RemoteError, match=says):
        far.act(SEEN)
    far._next_try_s = 0.0
    with served(Runner(), port):
        assert len(far.act(SEEN)) == 1
        assert far._failures == 0
        far.close()
        with pytest.raises(RemoteError, match="was closed; start anew"):
            far.act(SEEN)


def test_the_wait_for_the_next_try_grows_to_a_limit(monkeypatch):
    with served(Runner()) as address:
        far = RemoteRunner(address, timeout_s=30.0)
    monkeypatch.setattr(remote.time, "monotonic", lambda: 100.0)
    far._drop(far._link)
    waits = []
    for tried in (0, 1, 2, 3, 4, 5, 6, 5000):  # the last one: a night later
        far._failures, far._next_try_s = tried, 100.0
        with pytest.raises(RemoteError):
            far.act(SEEN)
        waits.append(far._next_try_s - 100.0)
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda n: b"\xc1", "a message cannot be read"),
        (lambda n: "text", "a message cannot be read"),
        (lambda n: msgpack.packb({"number": n - 1}), "it answered another question"),
        (lambda n: msgpack.packb({"number": n, "chunk": []}), "a chunk must be a map, got list"),
        (lambda n: msgpack.packb({"number": n, "kind": "refused"}), "message of a message must be"),
        (lambda n: msgpack.packb({"number": n, "chunk": {}}), "actions must be .* got nothing"),
        (lambda n: bytes(1 << 22), "its answer is larger than 0.3 MB"),
    ],
)
def test_an_answer_that_is_none_is_dropped_with_the_connection(answer, words):
    lying = pretended(lambda request, _: answer(request["number"]))
    with lying as address, runner_at(address) as far:
        with pytest.raises(RemoteError, match=f"^policy server ws://.*{words}.* nothing of it"):
            far.act(SEEN)
        assert far._link is None


def test_an_observation_too_large_to_send_is_not_sent():
    huge = CameraView(np.zeros((2000, 3000, 3), np.uint8))
    with served(Runner()) as address, runner_at(address) as far:
        with pytest.raises(RemoteError, match=r"has 18.0 MB, .* takes 16.8 MB"):
            far.act(Observation({"front": huge}, ""))
        assert len(far.act(SEEN)) == 1


RUDE_WORDS = "bye\x1b[2J\nserving 10.0.0.1, all well"


def test_what_the_other_side_says_at_the_end_stays_one_line(capsys):
    leave = pretended(lambda request, connection: connection.close(4000, RUDE_WORDS) or b"")
    says = pytest.raises(RemoteError, match=r"the link broke \(.*bye \[2J serving")
    with leave as address, runner_at(address) as far, says as caught:
        far.act(SEEN)
    assert str(caught.value).isprintable()
    with served(Runner()) as address, connect(address, proxy=None, compression=None) as rude:
        rude.send(wire.pack({**remote_link._hello(), "version": "0.0"}))
        rude.recv()
        rude.close(4000, RUDE_WORDS)
        said, deadline = "", time.monotonic() + 10.0
        while "is gone" not in said and time.monotonic() < deadline:
            # Read without a pause, what is printed between two halves of a read would be lost.
            time.sleep(0.1)
            said += capsys.readouterr().out
    assert "is gone (received 4000" in said
    # Who reads it is told what to do about versions.
    assert f"vla_ros 0.0 (here {wire.package_version()}: install the same" in said
    assert "\x1b" not in said
    assert not [line for line in said.splitlines() if line.startswith("serving 10.0.0.1")]


@pytest.mark.parametrize(
    "said",
    [b"\xc1", b"", "text", msgpack.packb({"number": 1}), msgpack.packb({"number": -1})]
    + [bytes(wire.MAX_REQUEST_BYTES + 1)],
    ids=["no message", "nothing", "text", "no observation", "no number", "too large"],
)
def test_a_client_that_says_nonsense_is_left_and_others_are_served(said, capsys):
    with served(Runner()) as address, runner_at(address) as far:
        with connect(address, proxy=None, compression=None) as rude:
            rude.send(wire.pack(remote_link._hello()))
            assert wire.unpack(rude.recv())["kind"] == "welcome"
            rude.send(said)
            with contextlib.suppress(Exception):
                rude.recv(5.0)
            assert rude.close_code in (1008, 1009)
        assert len(far.act(SEEN)) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_a_refused_hello_is_answered_in_words():
    with served(Runner()) as address, connect(address, proxy=None) as rude:
        rude.send(b"\x80")
        said = wire.unpack(rude.recv(5.0))
        assert (said["kind"], said["error"]) == ("refused", "RemoteError")


def test_no_server_and_another_server_are_told_apart():
    with pytest.raises(RemoteError, match=r"no policy server on ws://127.0.0.1:1 \(.*refused"):
        RemoteRunner("ws://127.0.0.1:1")
    with serve(None, "127.0.0.1", 0, process_request=lambda c, r: c.respond(404, "")) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        with pytest.raises(RemoteError, match="HTTP status 404; is that the policy server's port"):
            RemoteRunner(f"ws://127.0.0.1:{found.socket.getsockname()[1]}")
        found.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0 is reached from other machines, and there is no token"),
        (["--token-file", "absent"], "token file absent cannot be read"),
        ([], "checkpoint folder nowhere does not exist"),
    ],
)
def test_the_command_refuses_before_it_loads_anything(arguments, words, monkeypatch, capsys):
    monkeypatch.delenv("VLA_POLICY_TOKEN", raising=False)
    assert server.main(["nowhere", *arguments]) == 1
    assert words in capsys.readouterr().err


def test_a_port_that_is_taken_is_said():
    with served(Runner()) as address:
        port = int(address.rpartition(":")[2])
        with pytest.raises(RemoteError, match=r"cannot listen on ws://.*give another --port"):
            PolicyServer(Runner(), "aa", Address("127.0.0.1", port))


def test_the_hash_of_a_checkpoint_is_of_names_and_contents(tmp_path):
    for name, parts in {
        "one": {"a": b"1", "b/c": b"2"},
        "two": {"a": b"1", "b/c": b"3"},
        "three": {"a": b"1", "b/d": b"2"},
        "four": {"a": b"", "b/c": b"12"},
        "same": {"b/c": b"2", "a": b"1"},
    }.items():
        for part, content in parts.items():
            (tmp_path / name / part).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / part).write_bytes(content)
    found = {name: checkpoint_sha256(tmp_path / name) for name in ("one", "two", "three", "four")}
    assert len(set(found.values())) == 4
    assert checkpoint_sha256(tmp_path / "same") == found["one"]


def test_a_robot_needs_no_torch_for_it():
    code = "import sys, vla_ros.policy.remote; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
