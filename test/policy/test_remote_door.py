"""Who comes in at a policy's server, and how many."""

import contextlib
import socket
import threading
import time

import pytest
from policy_servers import SEEN, Runner, runner_at, served
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.uri import parse_uri

from vla_ros.core.errors import RemoteError
from vla_ros.policy import remote_door, remote_link, server
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


def test_no_more_come_in_than_may_and_the_next_one_when_one_has_left(monkeypatch, capsys):
    monkeypatch.setattr(remote_door, "MAX_CONNECTIONS", 2)
    with served(Runner()) as address, contextlib.ExitStack() as stack:
        where = "127.0.0.1", int(address.rpartition(":")[2])
        first = stack.enter_context(runner_at(address))
        silent = stack.enter_context(socket.create_connection(where))
        for _ in range(2):
            with socket.create_connection(where) as one_more:
                one_more.settimeout(5.0)
                assert one_more.recv(1) == b""
        assert capsys.readouterr().out.count("refused 127.0.0.1: 2 are connected") == 1
        assert len(first.act(SEEN)) == 1
        silent.close()
        deadline, has_acted = time.monotonic() + 10.0, False
        while not has_acted:  # until the server has seen that
            assert time.monotonic() < deadline
            with contextlib.suppress(RemoteError), runner_at(address) as second:
                has_acted = len(second.act(SEEN)) == 1


def ping_and_read_nothing(address):
    """Open a connection, then send pings until nobody takes them; returns its socket."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(0.3)
    sock.connect(("127.0.0.1", int(address.rpartition(":")[2])))
    speaker = ClientProtocol(parse_uri(address))
    speaker.send_request(speaker.connect())
    sock.sendall(b"".join(speaker.data_to_send()))
    speaker.receive_data(sock.recv(4096))
    for _ in range(100):
        speaker.send_ping(bytes(125))
    pings = b"".join(speaker.data_to_send())
    with contextlib.suppress(OSError):
        while True:
            sock.sendall(pings)
    return sock


def test_who_reads_nothing_of_what_it_is_sent_is_left(monkeypatch):
    monkeypatch.setattr(remote_door, "_DEAF_S", 1)
    with contextlib.ExitStack() as stack:
        # Else a server that waits for it would never end.
        ending = threading.Timer(10.0, lambda: rude.close())
        with served(Runner()) as address:
            rude = stack.enter_context(ping_and_read_nothing(address))
            ending.start()
        was_left = ending.is_alive()
        ending.cancel()
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
