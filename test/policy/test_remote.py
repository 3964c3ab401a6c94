"""A runner far away acts as one that is near, and fails in one sentence: real sockets, a thread."""

import contextlib
import dataclasses
import socket
import subprocess
import sys
import threading
from pathlib import Path

import msgpack
import numpy as np
import pytest
from tiny_policies import apt, tap
from websockets.exceptions import InvalidStatus
from websockets.server import ServerProtocol
from websockets.sync.client import connect
from websockets.sync.server import serve

from vla_ros.core import arm, kinematics
from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import ContractError, RemoteError
from vla_ros.core.observation import CameraView, Chunk, Decided, Observation
from vla_ros.core.rotations import transform
from vla_ros.policy import remote, server
from vla_ros.policy import remote_messages as messages
from vla_ros.policy import remote_wire as wire
from vla_ros.policy.checkpoint_hash import checkpoint_sha256
from vla_ros.policy.pictures import encode_jpeg
from vla_ros.policy.remote import RemoteRunner
from vla_ros.policy.remote_access import Address
from vla_ros.policy.runner import runner_of
from vla_ros.policy.server import PolicyServer

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "0123456789abcdef"
STATE = np.append(arm.READY_RAD, 1.0)
LOOKING_DOWN = transform(np.diag([1.0, -1.0, -1.0]), np.array([0.3, 0.0, 0.8]))
PICTURE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
VIEW = CameraView(encode_jpeg(PICTURE, 90), LOOKING_DOWN)
SEEN = Observation({"front": VIEW}, "put the carrot on the plate", STATE)


T_NOW = kinematics.forward(STATE[:6])
DECIDED = Decided(T_NOW, np.stack([T_NOW] * 3), np.array([1.0, 1.0, 0.0]), 2)


class Runner:
    """Answers what it is told to."""

    run, num_past, goes_on, cameras = {"stage": 2}, 0, False, ("front",)

    def __init__(self, answer=None):
        self.contract, self.answer = tap_contract(image_size=32), answer
        self.chunk = Chunk(np.float32([[0.01, 0, 0, 0, 0, 0, 1]]), 0.2, np.ones(1))

    def warm_up(self):
        pass

    def act(self, observation, decided=None):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer(observation) if self.answer else self.chunk


@contextlib.contextmanager
def served(runner, port=0, token=None, sha256="aa"):
    """Serve `runner` in a thread; yields the address."""
    found = PolicyServer(runner, sha256, Address("127.0.0.1", port), token)
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    try:
        yield str(found.address)
    finally:
        found.close()
        thread.join()


WELCOME = {
    **{"kind": "welcome", "protocol": wire.PROTOCOL, "version": "9", "sha256": "aa"},
    **{"contract": messages.contract_to_text(tap_contract(image_size=32)), "run": "{}"},
    **{"cameras": ["front"], "num_past": 0, "goes_on": False},
}


@contextlib.contextmanager
def pretended(answer, welcome=None):
    """Serve as a server that lies: `answer(request, connection)` gives the bytes to send."""

    def one(connection):
        wire.unpack(connection.recv())
        said = {**WELCOME, **(welcome or {})}
        connection.send(wire.pack(said))
        for data in connection:
            connection.send(answer(wire.unpack(data), connection))

    with serve(one, "127.0.0.1", 0, close_timeout=0.1) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        host, port = found.socket.getsockname()
        yield f"ws://{host}:{port}"
        found.shutdown()
        thread.join()


@contextlib.contextmanager
def runner_at(address, timeout_s=30.0, **options):
    found = RemoteRunner(address, timeout_s=timeout_s, **options)
    try:
        yield found
    finally:
        found.close()


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


def test_who_has_the_token_comes_in_and_others_do_not(capsys):
    with served(Runner(), token=TOKEN) as address:
        with runner_at(address, token=TOKEN) as far:
            assert len(far.act(SEEN)) == 1
        for token in (None, TOKEN[:-1] + "x"):
            with pytest.raises(RemoteError, match=r"wants another token; .*VLA_POLICY_TOKEN"):
                RemoteRunner(address, token=token)
    assert TOKEN not in capsys.readouterr().out


def test_a_page_in_a_browser_is_not_let_in():
    with served(Runner()) as address, pytest.raises(InvalidStatus, match="403"):
        connect(address, origin="http://127.0.0.1", proxy=None)


def test_versions_must_be_the_same_on_both_sides(monkeypatch):
    with served(Runner()) as address:
        hello = {"protocol": wire.PROTOCOL + 1, "version": "9.9"}
        monkeypatch.setattr(remote, "_hello", lambda: hello)
        with pytest.raises(RemoteError, match=r"the client \(vla_ros 9.9\) version 2; install"):
            RemoteRunner(address)
    monkeypatch.undo()
    says = r"it speaks version 3 \(vla_ros 9\), we speak 1"
    with pretended(None, {"protocol": 3}) as address, pytest.raises(RemoteError, match=says):
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
        with pytest.raises(RemoteError):
            far.act(SEEN)
        with pytest.raises(RemoteError, match="was closed; start anew"):
            far.act(SEEN)


def test_the_wait_for_the_next_try_grows_to_a_limit(monkeypatch):
    with served(Runner()) as address:
        far = RemoteRunner(address, timeout_s=30.0)
    monkeypatch.setattr(remote.time, "monotonic", lambda: 100.0)
    far._drop(far._connection)
    waits = []
    for tried in (0, 1, 2, 3, 4, 5, 6, 5000):  # the last one: a night later
        far._failures, far._next_try_s = tried, 100.0
        with pytest.raises(RemoteError):
            far.act(SEEN)
        waits.append(far._next_try_s - 100.0)
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0]


def test_a_slow_server_is_left_and_its_late_answer_is_nobodys():
    go_on, asked = threading.Event(), []

    def think(observation):
        asked.append(observation.task)
        if len(asked) == 1:
            go_on.wait(30.0)
        return Chunk(np.float32([[0.01 * len(asked), 0, 0, 0, 0, 0, 1]]), 0.2, np.ones(1))

    with served(Runner(think)) as address, runner_at(address) as far:
        far._timeout_s = 0.2
        with pytest.raises(RemoteError, match=r"no answer within 0.2 s; the arm gets nothing"):
            far.act(SEEN)
        go_on.set()
        far._timeout_s = 30.0
        assert far.act(SEEN).actions[0, 0] == np.float32(0.02)


def deaf(listener, said, is_over):
    """Accept one client and greet it, then read nothing of what it sends."""
    sock, _ = listener.accept()
    speaker = ServerProtocol()

    def hear():
        while not (events := speaker.events_received()):
            speaker.receive_data(sock.recv(65536))
        return events[0]

    speaker.send_response(speaker.accept(hear()))
    sock.sendall(b"".join(speaker.data_to_send()))
    hear()
    speaker.send_binary(said)
    sock.sendall(b"".join(speaker.data_to_send()))
    is_over.wait(30.0)
    sock.close()


def test_a_server_that_reads_nothing_is_left_too():
    is_over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        arguments = listener, wire.pack(WELCOME), is_over
        thread = threading.Thread(target=deaf, args=arguments)
        thread.start()
        far = RemoteRunner(f"ws://127.0.0.1:{listener.getsockname()[1]}", timeout_s=30.0)
        far._timeout_s = 0.2
        # More than a socket takes that nobody reads from.
        large = CameraView(np.zeros((2000, 2000, 3), np.uint8))
        with pytest.raises(RemoteError, match=r"no answer within 0.2 s"):
            far.act(Observation({"front": large}, ""))
        is_over.set()
        thread.join()


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
        assert far._connection is None


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
        rude.send(wire.pack(remote._hello()))
        rude.recv()
        rude.close(4000, RUDE_WORDS)
    said = capsys.readouterr().out
    assert "is gone (received 4000" in said
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
            rude.send(wire.pack(remote._hello()))
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
