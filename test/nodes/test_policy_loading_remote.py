"""The policy node's checkpoint may be a server's address."""

import threading
import types

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("interbotix_xs_msgs")
pytestmark = pytest.mark.ros

from tiny_policies import tap  # noqa: E402

from vla_ros.core.errors import CheckpointError, ContractError, RemoteError  # noqa: E402
from vla_ros.nodes.policy_loading import (  # noqa: E402
    load_runner,
    require_sha256,
    say_who_acts,
    who_acts,
)
from vla_ros.policy.remote_access import Address  # noqa: E402
from vla_ros.policy.remote_wire import package_version  # noqa: E402
from vla_ros.policy.runner import runner_of  # noqa: E402
from vla_ros.policy.server import PolicyServer  # noqa: E402

TOKEN = "0123456789abcdef"


def test_a_server_is_connected_to_with_the_token_and_its_contract_is_held_against_the_arms(
    monkeypatch,
):
    server = PolicyServer(runner_of(tap()), "aa", Address("127.0.0.1", 0), TOKEN)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        monkeypatch.delenv("VLA_POLICY_TOKEN_FILE", raising=False)
        monkeypatch.setenv("VLA_POLICY_TOKEN", TOKEN)
        runner = load_runner(str(server.address), "front", "cpu", 1)
        assert runner.cameras == ("front",)
        policy = who_acts(str(server.address), runner, "blend")
        assert policy == {
            **{"checkpoint": str(server.address), "checkpoint_sha256": "aa", "strategy": "blend"},
            **{"vla_ros": package_version(), "server_vla_ros": package_version()},
        }
        said = []
        logger = types.SimpleNamespace(info=said.append, warning=said.append)
        say_who_acts(logger, {**policy, "server_vla_ros": "0.0"})
        assert "checkpoint_sha256 aa" in said[0]
        assert said[1].startswith("the policy server has vla_ros 0.0, and this node ")
        say_who_acts(logger, policy)
        assert len(said) == 3
        runner.close()
        require_sha256("", policy)
        require_sha256("AA", policy)
        with pytest.raises(CheckpointError, match=r"ws://.* has SHA-256 aa, and .* says ab; give"):
            require_sha256("ab", policy)
        with pytest.raises(ContractError, match="policy server ws://.* does not match .*wrist"):
            load_runner(str(server.address), "wrist", "cpu", 1)
        monkeypatch.delenv("VLA_POLICY_TOKEN")
        with pytest.raises(RemoteError, match="wants a token"):
            load_runner(str(server.address), "front", "cpu", 1)
    finally:
        server.close()
        thread.join()
    with pytest.raises(RemoteError, match="give ws://HOST:PORT"):
        load_runner("tcp://127.0.0.1:1", "front", "cpu", 1)
