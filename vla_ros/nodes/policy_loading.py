"""From a checkpoint folder to a runner that fits this arm and its cameras."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ament_index_python.packages import get_package_share_directory

from vla_ros.core.contract import Contract, apt_contract, tap_contract
from vla_ros.core.errors import CheckpointError, ContractError
from vla_ros.core.handover import Strategy
from vla_ros.nodes.arm_client import COMMAND_PERIOD_S
from vla_ros.nodes.params import ParameterError
from vla_ros.nodes.policy_parameters import PolicyParameters
from vla_ros.policy.checkpoint_folder import require_folder
from vla_ros.policy.checkpoint_hash import checkpoint_sha256
from vla_ros.policy.network_process import NetworkProcess
from vla_ros.policy.remote import RemoteRunner
from vla_ros.policy.remote_access import is_address, read_token
from vla_ros.policy.remote_wire import package_version

if TYPE_CHECKING:
    from vla_ros.policy.runner import PolicyRunner

    AnyRunner = PolicyRunner | RemoteRunner | NetworkProcess

# Checkpoints that come with the package; a folder of such a name is ./tap.
SHIPPED = ("tap", "apt")


def with_shipped(given: PolicyParameters) -> PolicyParameters:
    """Return parameters whose checkpoint is a folder where they name one that is shipped.

    Raises:
        CheckpointError: this installation has none of that name.
    """
    if given.checkpoint not in SHIPPED:
        return given
    folder = Path(get_package_share_directory("vla_ros")) / "checkpoints" / given.checkpoint
    if not folder.is_dir():
        raise CheckpointError(
            f"this installation of vla_ros has no {folder}; install the whole package, or give "
            "the folder of a checkpoint, checkpoint:=DIR"
        )
    return replace(given, checkpoint=str(folder))


def load_runner(given: PolicyParameters) -> "AnyRunner":
    """Return the runner of a checkpoint, a folder or a server's address, that fits arm and camera.

    Raises:
        RemoteError: no such server, or it is none for us.
        CheckpointError: missing or damaged.
        ContractError: made for another arm, camera or action space.
    """
    if not given.checkpoint:
        raise ParameterError(
            "parameter checkpoint of node policy is empty: give the folder that "
            "training.stage2_tap or training.stage2_apt wrote, checkpoint:=DIR, or tap or apt, "
            "which come with the package"
        )
    if is_address(given.checkpoint):
        return _connect(given)
    require_folder(Path(given.checkpoint))
    runner = _load(given)
    try:
        _require_match(given.camera, runner.contract, f"checkpoint {given.checkpoint}")
    except ContractError:
        leave(runner)
        raise
    return runner


def _load(given: PolicyParameters) -> "PolicyRunner | NetworkProcess":
    # An overlay needs the network's inside.
    if given.own_process and not given.overlays:
        return NetworkProcess(given.checkpoint, given.device, given.threads)
    # Importing torch takes seconds: whoever forgot a parameter is told before.
    import torch

    from vla_ros.policy.runner import PolicyRunner

    torch.set_num_threads(given.threads)
    return PolicyRunner.load(given.checkpoint, device=given.device)


def _connect(given: PolicyParameters) -> RemoteRunner:
    address = given.checkpoint
    runner = RemoteRunner(address, token=read_token(), timeout_s=given.remote_timeout_s)
    try:
        _require_match(given.camera, runner.contract, f"policy server {address}")
    except ContractError:
        runner.close()
        raise
    return runner


def is_elsewhere(runner: object) -> bool:
    """Return whether a runner's network computes in another process, here or on a server."""
    return isinstance(runner, RemoteRunner | NetworkProcess)


def leave(runner: object) -> None:
    """Close the connection or end the process of a runner that has one; who waits there ends."""
    if isinstance(runner, RemoteRunner | NetworkProcess):
        runner.close()


def who_acts(given: PolicyParameters, runner: "AnyRunner", strategy: Strategy) -> dict[str, str]:
    """Return, for results and bags, what tells one policy from another behind the same name.

    Raises:
        CheckpointError: its files cannot be read, or it is not the one that is expected.
    """
    ours = package_version()
    said: dict[str, str] = {"checkpoint": given.checkpoint, "strategy": strategy, "vla_ros": ours}
    if isinstance(runner, RemoteRunner):
        sha256, said["server_vla_ros"] = runner.sha256, runner.server_version
    elif isinstance(runner, NetworkProcess):
        sha256 = runner.sha256
    else:
        sha256 = checkpoint_sha256(Path(given.checkpoint))
    wanted = given.checkpoint_sha256.strip().lower()
    if wanted and wanted != sha256:
        raise CheckpointError(
            f"checkpoint {given.checkpoint} has SHA-256 {sha256}, and parameter checkpoint_sha256 "
            f"of node policy says {wanted}; give that checkpoint, or leave the parameter empty"
        )
    return {**said, "checkpoint_sha256": sha256}


def say_who_acts(logger: Any, policy: dict[str, str]) -> None:
    """Log what `who_acts` returned, and warn where a server is of another version than this."""
    logger.info("acts: " + ", ".join(f"{key} {value}" for key, value in policy.items()))
    theirs = policy.get("server_vla_ros", policy["vla_ros"])
    if theirs != policy["vla_ros"]:
        logger.warning(
            f"the policy server has vla_ros {theirs}, and this node {policy['vla_ros']}: install "
            "the same on both machines"
        )


def _require_match(camera: str, found: Contract, where: str) -> None:
    """Check that a policy, found at `where`, is one for this node.

    Image size, rate, horizon and further cameras are the checkpoint's to choose; arm, first camera
    and action space are not.

    Raises:
        ContractError: it is for another arm, camera or action space; or it acts less often than
            every minute, or more often than commands are sent.
    """
    most_hz = 1.0 / COMMAND_PERIOD_S
    if not 1 / 60 <= found.rate_hz <= most_hz:
        raise ContractError(
            f"{where} acts {found.rate_hz:g} times a second, and this node can follow 1/60 to "
            f"{most_hz:g}; train it at another rate"
        )
    if found.camera != camera:
        raise ContractError(
            f"{where} looks through camera {found.camera} first, and parameter camera of node "
            f"policy is {camera}; name the camera that shows the same view {found.camera}, or give "
            "another checkpoint"
        )
    size, rate_hz = found.image.shape[0], found.rate_hz
    if found.action_space == "ee_chunk":
        expected = apt_contract(found.cameras, size, rate_hz, found.action.shape[0])
    else:
        expected = tap_contract(found.cameras, size, rate_hz)
    expected.require_match(found, where)


def strategy_of(wanted: str, runner: "AnyRunner") -> Strategy:
    """Return the hand-over's strategy for a runner.

    Raises:
        ParameterError: the runner cannot go on from what is decided, as "rtc" needs.
    """
    if wanted == "rtc" and not runner.goes_on:
        raise ParameterError(
            "strategy rtc of node policy needs APT's diffusion expert; choose blend, or auto"
        )
    found: dict[str, Strategy] = {"blend": "blend", "ensemble": "ensemble", "rtc": "rtc"}
    return found.get(wanted, "rtc" if runner.goes_on else "blend")
