"""The link to a policy's server: too slow, deaf, closed, and a server without our token."""

import contextlib
import socket
import threading
import time

import numpy as np
import pytest
from policy_servers import SEEN, WELCOME, Runner, runner_at, served
from websockets.server import ServerProtocol
from websockets.sync.server import serve

from vla_ros.core.errors import RemoteError
from vla_ros.core.observation import CameraView, Chunk, Observation
from vla_ros.policy import remote_link
from vla_ros.policy import remote_wire as wire
from vla_ros.policy.remote import RemoteRunner
from vla_ros.policy.remote_access import NONCE_HEADER, PROOF_HEADER, address_of, new_nonce

TOKEN = "0123456789abcdef"


def test_a_slow_server_is_left_and_its_late_answer_is_nobodys():
    go_on, asked = threading.Event(), []

    def think(observation):
        asked.append(observation.task)
        if len(asked) == 1:
            go_on.wait(30.0)
        return Chunk(np.float32([[0.01 * len(asked), 0, 0, 0, 0, 0, 1]]), 0.2, np.ones(1))

    with served(Runner(think)) as address, runner_at(address) as far:
        far._timeout_s = 0.2
        with pytest.raises(RemoteError, match=r"no answer within 0.2 s; .*remote_timeout_s; the"):
            far.act(SEEN)
        go_on.set()
        far._timeout_s = 30.0
        assert far.act(SEEN).actions[0, 0] == np.float32(0.02)


def deaf(listener, said, is_over, pings=None):
    """Accept one client and greet it, then read nothing of what it sends, also of its pongs."""
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
    if pings:
        for _ in range(100):
            speaker.send_ping(bytes(125))
        sock.settimeout(0.3)
        many = b"".join(speaker.data_to_send())
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(many)
        pings.set()
    is_over.wait(30.0)
    sock.close()


@contextlib.contextmanager
def deaf_server(pings=None):
    """Serve one client that nobody reads from; yields the address.

    `pings` is set when the client takes none any more.
    """
    is_over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        arguments = listener, wire.pack(WELCOME), is_over, pings
        thread = threading.Thread(target=deaf, args=arguments)
        thread.start()
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
        is_over.set()
        thread.join()


# More than a socket takes that nobody reads from.
LARGE = Observation({"front": CameraView(np.zeros((2000, 2000, 3), np.uint8))}, "")


def test_a_server_that_reads_nothing_is_left_too():
    with deaf_server() as address, runner_at(address) as far:
        far._timeout_s = 0.2
        with pytest.raises(RemoteError, match=r"no answer within 0.2 s"):
            far.act(LARGE)


def test_closing_ends_a_question_that_waits_and_waits_for_nobody():
    raised = []

    def act(far):
        try:
            far.act(LARGE)
        except RemoteError as error:
            raised.append(str(error))

    with deaf_server() as address:
        far = RemoteRunner(address, timeout_s=20.0)
        asker = threading.Thread(target=act, args=(far,))
        asker.start()
        while not far._link._connection.protocol_mutex.locked():
            time.sleep(0.01)
        time.sleep(0.1)  # it waits in `send`
        far.close()
        asker.join()
    # Not cut off when its time was over.
    assert "no answer within" not in raised[0]
    with pytest.raises(RemoteError, match="was closed"):
        far.act(SEEN)


@contextlib.contextmanager
def acting_in_a_thread(far):
    """Have a runner that lost its server ask; yields the thread and what it raised."""
    raised = []

    def act():
        try:
            far.act(SEEN)
        except RemoteError as error:
            raised.append(str(error))

    far._drop(far._link)
    asker = threading.Thread(target=act, daemon=True)
    asker.start()
    yield asker, raised
    asker.join(10.0)


def test_closing_ends_the_look_for_a_server_that_is_not_reached(monkeypatch):
    is_asked, go_on = threading.Event(), threading.Event()
    ours, theirs = socket.socketpair()

    def take_long(address, timeout):
        is_asked.set()
        assert go_on.wait(30.0)
        return ours

    with served(Runner()) as address:
        far = RemoteRunner(address, timeout_s=60.0)
    monkeypatch.setattr(remote_link.socket, "create_connection", take_long)
    with acting_in_a_thread(far) as (asker, raised):
        assert is_asked.wait(10.0)
        far.close()
        asker.join(10.0)
        assert not asker.is_alive()
    assert raised[0].endswith("the connection was closed")
    go_on.set()
    theirs.settimeout(10.0)
    assert theirs.recv(1) == b""  # what came too late is not left open
    theirs.close()


@pytest.mark.parametrize("says", ["nothing", "that it is one"])
def test_closing_ends_the_wait_for_a_server_that_does_not_answer(says):
    with served(Runner()) as address:
        far = RemoteRunner(address, timeout_s=60.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        far._address = address_of(f"ws://127.0.0.1:{silent.getsockname()[1]}")
        with acting_in_a_thread(far) as (asker, raised):
            sock, _ = silent.accept()
            request = sock.recv(65536)
            if says != "nothing":
                speaker = ServerProtocol()
                speaker.receive_data(request)
                speaker.send_response(speaker.accept(speaker.events_received()[0]))
                sock.sendall(b"".join(speaker.data_to_send()))
                assert sock.recv(65536)  # its hello
            far.close()
            asker.join(10.0)
            assert not asker.is_alive()
        assert raised
        sock.close()


def test_a_name_that_is_not_found_in_time_is_not_waited_for(monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr(remote_link.socket, "create_connection", lambda *_: go_on.wait(30.0))
    with pytest.raises(RemoteError, match=r"no policy server on ws://gpu:8765 \(timed out\)"):
        RemoteRunner("ws://gpu", timeout_s=0.1)
    go_on.set()


def test_a_host_that_can_be_none_is_said():
    with pytest.raises(RemoteError, match=r"no policy server on ws://x+:8765 \(.*too long"):
        RemoteRunner("ws://" + "x" * 64)


def test_a_server_sends_nobody_elsewhere():
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        port = elsewhere.getsockname()[1]

        def lead_on(connection, request):
            response = connection.respond(302, "")
            response.headers["Location"] = f"ws://127.0.0.1:{port}/"
            return response

        with serve(None, "127.0.0.1", 0, process_request=lead_on) as found:
            thread = threading.Thread(target=found.serve_forever)
            thread.start()
            address = f"ws://127.0.0.1:{found.socket.getsockname()[1]}"
            with pytest.raises(RemoteError, match=r"^policy server ws://.*(redirect|status 302)"):
                RemoteRunner(address, timeout_s=2.0)
            found.shutdown()
            thread.join()
        elsewhere.setblocking(False)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


def test_closing_waits_for_no_server_that_pings_and_reads_nothing():
    is_full = threading.Event()
    with deaf_server(is_full) as address:
        far = RemoteRunner(address, timeout_s=20.0)
        assert is_full.wait(20.0)
        closing = threading.Thread(target=far.close, daemon=True)
        closing.start()
        closing.join(5.0)
        assert not closing.is_alive()


def test_who_does_not_prove_the_token_is_told_nothing():
    seen, said = [], []

    def show(connection, request, response):
        seen.append(str(request.headers))
        response.headers[NONCE_HEADER] = new_nonce()
        # The best that one can do who has only listened.
        response.headers[PROOF_HEADER] = request.headers[NONCE_HEADER]

    def hear(connection):
        said.extend(connection)

    with serve(hear, "127.0.0.1", 0, process_response=show) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        address = f"ws://127.0.0.1:{found.socket.getsockname()[1]}"
        with pytest.raises(RemoteError, match=r"^policy server ws.*another token than we.*_TOKEN "):
            RemoteRunner(address, token=TOKEN)
        found.shutdown()
        thread.join()
    assert said == []
    assert TOKEN not in seen[0]


def test_a_server_without_a_token_is_not_asked_by_who_has_one():
    with served(Runner()) as address, pytest.raises(RemoteError, match="another token than we"):
        RemoteRunner(address, token=TOKEN)
