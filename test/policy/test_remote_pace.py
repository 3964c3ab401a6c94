"""Who sends pings without end is left, at either end of a link."""

import contextlib

import pytest
from policy_servers import SEEN, Runner, pretended, runner_at, served
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from vla_ros.core.errors import RemoteError
from vla_ros.policy import remote_link, server
from vla_ros.policy import remote_wire as wire
from vla_ros.policy.remote_access import NONCE_HEADER, new_nonce

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_stranger_says_hardly_anything_and_a_robot_more(token, monkeypatch):
    monkeypatch.setattr(server, "_HELLO_S", 60.0)
    with served(Runner(), token=token) as address:
        headers = None if token is None else {NONCE_HEADER: new_nonce()}
        with connect(address, additional_headers=headers, proxy=None, compression=None) as rude:
            if token is None:
                rude.send(wire.pack(remote_link._hello()))
                assert wire.unpack(rude.recv(10.0))["kind"] == "welcome"
                for _ in range(100):
                    assert rude.ping().wait(10.0)
            with contextlib.suppress(ConnectionClosed):
                for _ in range(2000):
                    rude.ping()
            with pytest.raises(ConnectionClosed):
                rude.recv(10.0)


def test_a_server_that_sends_pings_without_end_is_left():
    def ping(request, connection):
        with contextlib.suppress(ConnectionClosed):
            for _ in range(request["number"] * 150):
                connection.ping()
        return wire.pack({"number": request["number"], "kind": "refused", "message": "not yet"})

    with pretended(ping) as address, runner_at(address) as far:
        with pytest.raises(RemoteError, match="not yet"):
            far.act(SEEN)
        with pytest.raises(RemoteError, match="the link broke"):
            far.act(SEEN)
