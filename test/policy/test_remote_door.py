"""Who comes in at a policy's server, and how many."""

import contextlib
import socket
import threading
import time

import numpy as np
import pytest
from policy_servers import SEEN, Runner, runner_at, served
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.uri import parse_uri

from vla_ros.core.errors import RemoteError
from vla_ros.core.observation import CameraView, Chunk, Observation
from vla_ros.policy import remote_door, remote_link, server
from vla_ros.policy import remote_messages as messages
from vla_ros.policy import remote_wire as wire
from vla_ros.policy.remote import RemoteRunner
from vla_ros.policy.remote_access import NONCE_HEADER, Address, is_proof, new_nonce, proof_of

TOKEN = "0123456789abcdef"


def test_who_has_the_token_comes_in_and_others_do_not(capsys):
    with served(Runner(), token=TOKEN) as address:
        with runner_at(address, token=TOKEN) as far:
            assert len(far.act(SEEN)) == 1
        with pytest.raises(RemoteError, match=r"wants a token; .*VLA_POLICY_TOKEN"):
            RemoteRunner(address)
        with pytest.raises(RemoteError, match=r"another token than we.*VLA_POLICY_TOKEN"):
            RemoteRunner(address, token=TOKEN[:-1] + "x")
    said = capsys.readouterr().out
    assert ": no token" in said
    assert TOKEN not in said


@pytest.mark.parametrize("proof", ["none", "the server's", "of another connection"])
def test_a_proof_that_is_none_lets_nobody_in(proof, capsys):
    with served(Runner(), token=TOKEN) as address:
        nonce = new_nonce()
        headers = {NONCE_HEADER: nonce}
        with connect(address, additional_headers=headers, proxy=None) as rude:
            theirs = rude.response.headers
            assert is_proof(
                theirs["Vla-Proof"], proof_of(TOKEN, "server", (nonce, theirs[NONCE_HEADER]))
            )
            overheard = proof_of(TOKEN, "client", (nonce, new_nonce()))
            said = {"none": None, "the server's": theirs["Vla-Proof"]}.get(proof, overheard)
            rude.send(wire.pack({**remote_link._hello(), "proof": said}))
            assert wire.unpack(rude.recv(5.0))["message"] == "wrong token"
            with pytest.raises(ConnectionClosed):
                rude.recv(5.0)
    assert "wrong token" in capsys.readouterr().out


def test_a_page_in_a_browser_is_not_let_in():
    with served(Runner()) as address, pytest.raises(InvalidStatus, match="403"):
        connect(address, origin="http://127.0.0.1", proxy=None)


def where(address):
    return "127.0.0.1", int(address.rpartition(":")[2])


def is_hung_up(sock):
    sock.settimeout(10.0)
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_no_more_robots_come_in_than_may_and_the_next_one_when_one_has_left(monkeypatch, capsys):
    monkeypatch.setattr(remote_door, "MAX_CONNECTIONS", 1)
    with served(Runner()) as address:
        with runner_at(address) as first:
            with pytest.raises(RemoteError, match="1 are connected; stop one of them"):
                RemoteRunner(address)
            assert len(first.act(SEEN)) == 1
        assert ": 1 are connected" in capsys.readouterr().out
        deadline, has_acted = time.monotonic() + 10.0, False
        while not has_acted:  # until the server has seen that it left
            assert time.monotonic() < deadline
            with contextlib.suppress(RemoteError), runner_at(address) as second:
                has_acted = len(second.act(SEEN)) == 1


def knocking(come):
    """Return what comes in: while those told to leave are still at the door, it knocks again."""
    until_s = time.monotonic() + 10.0
    while True:
        try:
            return come()
        except RemoteError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.05)


def test_who_shows_no_token_keeps_nobody_out_who_does(monkeypatch, capsys):
    monkeypatch.setattr(remote_door, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(remote_door, "MAX_STRANGERS", 2)
    monkeypatch.setattr(server, "_OPEN_S", 60.0)
    with served(Runner(), token=TOKEN) as address, contextlib.ExitStack() as stack:
        first = stack.enter_context(runner_at(address, token=TOKEN))
        silent = [stack.enter_context(socket.create_connection(where(address))) for _ in range(9)]
        second = knocking(lambda: stack.enter_context(runner_at(address, token=TOKEN)))
        assert len(second.act(SEEN)) == len(first.act(SEEN)) == 1
        assert all(map(is_hung_up, silent[:7]))
        assert first._link is not None
    said = capsys.readouterr().out
    assert said.count("more wait to show who they are than may") == 1  # of eight
    assert "refused or failed since the last such line: " in said


def test_those_leave_first_that_come_from_where_most_do(monkeypatch):
    monkeypatch.setattr(remote_door, "MAX_STRANGERS", 3)
    with socket.create_server(("127.0.0.1", 0)) as plain, contextlib.ExitStack() as stack:
        listener = stack.enter_context(remote_door.Listener(plain, remote_door.Sparingly()))
        came = {}
        for host in ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.2"):
            client = socket.create_connection(listener.getsockname(), source_address=(host, 0))
            came.setdefault(host, []).append(stack.enter_context(client))
            stack.enter_context(listener.accept()[0])
        for host, expected in (
            ("127.0.0.1", [False]),
            ("127.0.0.2", [True, True, False]),
            ("127.0.0.3", [False]),
        ):
            for client, is_gone in zip(came[host], expected, strict=True):
                client.setblocking(False)
                if is_gone:
                    assert client.recv(1) == b""
                else:
                    with pytest.raises(BlockingIOError):
                        client.recv(1)


def test_those_told_to_leave_are_not_without_number_either(monkeypatch):
    monkeypatch.setattr(remote_door, "MAX_STRANGERS", 1)
    with socket.create_server(("127.0.0.1", 0)) as plain, contextlib.ExitStack() as stack:
        listener = stack.enter_context(remote_door.Listener(plain, remote_door.Sparingly()))
        theirs = []
        for _ in range(3):
            stack.enter_context(socket.create_connection(listener.getsockname()))
            theirs.append(stack.enter_context(listener.accept()[0]))
        # The first was sent away, and nobody has closed it yet.
        assert [sock.fileno() >= 0 for sock in theirs] == [True, True, False]
        with pytest.raises(RemoteError, match="too long"):
            listener.let_in(theirs[0])
        listener.let_in(theirs[1])
        theirs[0].close()
        stack.enter_context(socket.create_connection(listener.getsockname()))
        assert stack.enter_context(listener.accept()[0]).fileno() >= 0


def test_a_hello_is_small_and_what_follows_need_not_be(capsys):
    with served(Runner(), token=TOKEN) as address:
        with connect(address, additional_headers={NONCE_HEADER: new_nonce()}, proxy=None) as rude:
            rude.send(bytes(remote_door.MAX_HELLO_BYTES + 1))
            with pytest.raises(ConnectionClosed):
                rude.recv(5.0)
            assert rude.close_code == 1009
        large = CameraView(np.zeros((200, 200, 3), np.uint8))
        with runner_at(address, token=TOKEN) as far:
            assert len(far.act(Observation({"front": large}, ""))) == 1
    assert "1009" in capsys.readouterr().out


def test_what_is_told_again_and_again_is_counted(capsys):
    now_s = 100.0
    told = remote_door.Sparingly(lambda: now_s)
    for number in range(5):
        told.tell(f"refused {number}")
    now_s = 109.9
    told.tell("refused 5")
    now_s = 110.0
    told.tell("failed", is_error=True)
    told.tell_rest()
    now_s = 120.0
    told.tell("refused 6")
    told.tell("refused 7")
    told.tell_rest()
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "refused 0",
        "refused 6",
        "refused or failed since the last such line: 1 more",
    ]
    assert said.err == "failed (and 5 more before)\n"


LONG = Chunk(np.zeros((50_000, 7), np.float32), 0.2, np.ones(50_000))


def ask_and_read_nothing(address):
    """Come in, then ask until nobody takes it; returns the socket."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(0.3)
    sock.connect(where(address))
    speaker = ClientProtocol(parse_uri(address))
    speaker.send_request(speaker.connect())
    sock.sendall(b"".join(speaker.data_to_send()))
    speaker.receive_data(sock.recv(4096))
    speaker.send_binary(wire.pack(remote_link._hello()))
    sock.sendall(b"".join(speaker.data_to_send()))
    sock.recv(4096)
    question = {"number": 1, "observation": messages.observation_to_map(SEEN), "decided": None}
    with contextlib.suppress(OSError):
        while True:
            speaker.send_binary(wire.pack(question))
            sock.sendall(b"".join(speaker.data_to_send()))
    return sock


def test_who_reads_nothing_of_what_it_is_sent_is_left(monkeypatch):
    monkeypatch.setattr(remote_door, "_DEAF_S", 1)
    monkeypatch.setattr(remote_door, "MAX_CONNECTIONS", 1)
    with served(Runner(lambda _: LONG)) as address, ask_and_read_nothing(address):
        deadline, is_in = time.monotonic() + 20.0, False
        while not is_in:
            assert time.monotonic() < deadline
            with contextlib.suppress(RemoteError), runner_at(address):
                is_in = True


def test_who_reads_slowly_does_not_keep_the_server_from_ending():
    is_over = threading.Event()

    def read_slowly(sock):
        with contextlib.suppress(OSError):
            while not is_over.wait(0.02):
                sock.recv(64)

    with contextlib.ExitStack() as stack:
        with served(Runner(lambda _: LONG)) as address:
            rude = stack.enter_context(ask_and_read_nothing(address))
            reader = threading.Thread(target=read_slowly, args=(rude,))
            reader.start()
            # Else a server that waits for it would never end.
            ending = threading.Timer(20.0, rude.close)
            ending.start()
        was_left = ending.is_alive()
        ending.cancel()
        is_over.set()
        reader.join()
    assert was_left


def test_a_server_that_listens_no_longer_ends_with_a_sentence(monkeypatch, capsys):
    class Deaf:
        address, sha256 = Address("127.0.0.1", 8765), "5a"

        def serve_forever(self):
            """Return at once, as websockets does after an error of `accept`."""

        def close(self):
            pass

    monkeypatch.setattr(server, "open_server", lambda args: Deaf())
    monkeypatch.setattr(server.signal, "signal", lambda *_: None)
    assert server.main(["ckpt"]) == 1
    assert "127.0.0.1:8765 listens no longer" in capsys.readouterr().err
