"""The policy node's checkpoint may be a server's address."""

import threading
import types
from dataclasses import replace

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("interbotix_xs_msgs")
pytestmark = pytest.mark.ros

from tiny_policies import tap  # noqa: E402

from vla_ros.core.errors import CheckpointError, ContractError, RemoteError  # noqa: E402
from vla_ros.nodes.policy_loading import (  # noqa: E402
    load_runner,
    say_who_acts,
    who_acts,
    with_shipped,
)
from vla_ros.nodes.policy_parameters import PolicyParameters  # noqa: E402
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
        given = PolicyParameters(checkpoint=str(server.address))
        runner = load_runner(replace(given, camera="front"))
        assert runner.cameras == ("front",)
        policy = who_acts(given, runner, "blend")
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
        assert who_acts(replace(given, checkpoint_sha256="AA"), runner, "blend") == policy
        with pytest.raises(CheckpointError, match=r"ws://.* has SHA-256 aa, and .* says ab; give"):
            who_acts(replace(given, checkpoint_sha256="ab"), runner, "blend")
        with pytest.raises(ContractError, match="server ws://.* camera front first, .* wrist"):
            load_runner(replace(given, camera="wrist"))
        monkeypatch.delenv("VLA_POLICY_TOKEN")
        with pytest.raises(RemoteError, match="wants a token"):
            load_runner(replace(given, camera="front"))
    finally:
        server.close()
        thread.join()
    with pytest.raises(RemoteError, match="give ws://HOST:PORT"):
        load_runner(PolicyParameters(checkpoint="tcp://127.0.0.1:1"))


def test_a_shipped_checkpoint_goes_by_its_name_wherever_the_package_is(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "vla_ros.nodes.policy_loading.get_package_share_directory", lambda _: str(tmp_path)
    )
    given = PolicyParameters(checkpoint="tap")
    with pytest.raises(CheckpointError, match=r"has no .*checkpoints/tap; install the whole"):
        with_shipped(given)
    folder = tmp_path / "checkpoints" / "tap"
    folder.mkdir(parents=True)
    assert with_shipped(given) == replace(given, checkpoint=str(folder))
    # A folder of that name, and everything else, is what it says.
    for text in ("./tap", "runs/tap", "ws://localhost:1", ""):
        assert with_shipped(replace(given, checkpoint=text)).checkpoint == text
