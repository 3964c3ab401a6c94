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
}
RINGS = {  # folder -> (our packages it may import, other packages it may not)
    "vla_ros/core": ({"core"}, ROS | {"torch", "transformers", "cv2", "mujoco", "av", "rosbags"}),
    "vla_ros/sim": ({"core", "sim"}, ROS | {"torch", "transformers", "rosbags"}),
    "vla_ros/policy": ({"core", "policy"}, ROS | {"mujoco", "rosbags"}),
    "vla_ros/nodes": ({"core", "policy", "sim", "nodes"}, {"launch", "launch_ros"}),
    "training": ({"core", "policy", "sim", "training"}, ROS),
}
# In core, numpy and the standard library, but no clock and no I/O.
CORE_FORBIDDEN = {"time", "threading", "socket", "subprocess", "os", "pathlib", "io", "logging"}
# What the launch files share; no node imports it.
LAUNCH_HELPER = "launching.py"
TORCH = {"torch", "transformers", "safetensors"}
PACKAGES_WITH_CLASHES = ("rosbags", "launch", "config", "test", "scripts")


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


def our_package(module: str) -> str | None:
    """Return core, policy, sim, nodes or training for a module of ours, else None."""
    parts = module.split(".")
    if parts[0] == "training":
        return "training"
    return parts[1] if parts[0] == "vla_ros" and len(parts) > 1 else None


def faults(ring: str, source: str, name: str = "") -> list[str]:
    allowed, forbidden = RINGS[ring]
    if name == LAUNCH_HELPER:
        forbidden = forbidden - {"launch", "launch_ros"}
    if ring == "vla_ros/core":
        forbidden = forbidden | CORE_FORBIDDEN
    found = []
    for module in sorted(imports(source)):
        ours = our_package(module)
        wrong = ours not in allowed if ours else module.split(".")[0] in forbidden
        if wrong:
            found.append(f"imports {module}")
    return found


def sources(ring: str) -> list[Path]:
    return sorted((ROOT / ring).rglob("*.py"))


@pytest.mark.parametrize("ring", RINGS)
def test_ring_imports_only_what_its_arrows_allow(ring):
    found = {
        str(path.relative_to(ROOT)): wrong
        for path in sources(ring)
        if (wrong := faults(ring, path.read_text(), path.name))
    }
    assert found == {}
    assert sources(ring), "the ring has no files: has it moved?"


@pytest.mark.parametrize(
    ("ring", "source"),
    [
        ("vla_ros/core", "def f():\n    import time"),
        ("vla_ros/core", "from vla_ros.policy import tap"),
        ("vla_ros/core", "from vla_ros import sim"),
        ("vla_ros/policy", "def f():\n    from rclpy.node import Node"),
        ("vla_ros/sim", "import sensor_msgs.msg"),
        ("training", "from vla_ros.nodes.camera import main"),
        ("vla_ros/nodes", "if True:\n    import training.convert"),
        ("vla_ros/nodes", "from launch_ros.actions import Node"),
    ],
)
def test_the_check_sees_a_wrong_arrow_wherever_it_stands(ring, source):
    assert len(faults(ring, source)) >= 1


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
        ["git", "ls-files", "rosbags"], cwd=ROOT, capture_output=True, text=True
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
    modules = module_names("vla_ros/core", "vla_ros/policy", "training")
    assert loaded_after_importing(modules, ROS) == set()


@pytest.mark.ros
@pytest.mark.parametrize("node", ["camera", "explorer"])
def test_node_of_a_small_computer_imports_without_torch(node):
    assert loaded_after_importing([f"vla_ros.nodes.{node}"], TORCH) == set()
