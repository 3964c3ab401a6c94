"""The tests that docs/data.md names exist, no bad input is forgotten, and its source file loads."""

import re
from pathlib import Path

import pytest

from training.recordings.source import load_source

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "data.md").read_text()
TABLE = TEXT.partition("## What bad input gets")[2].partition("\n## ")[0]
ROWS = [line.strip("| ").split(" | ") for line in TABLE.splitlines() if line.startswith("| ")][1:]
# Others may be added.
INPUTS = {
    "MCAP file cut off anywhere",
    "no metadata.yaml",
    "corrupt chunk",
    "corrupt JPEG",
    "wrong message type under a known topic",
    "JointState in another joint order",
    "JointState without effort or velocity",
    "JointState with NaN, or -pi everywhere",
    "two arms in one bag",
    "clock reset in mid-bag",
    "empty bag",
    "no camera",
    "0-length episode",
    "unreadable file",
    "disk full",
    "killed mid-way",
    "dataset folder of another contract or other options",
}


def test_every_bad_input_has_its_row():
    named = [row[0] for row in ROWS]
    assert set(named) >= INPUTS
    assert len(named) == len(set(named))


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_the_tests_that_a_row_names_exist(row, require_tests):
    require_tests(row)


def test_the_source_file_of_the_page_loads(tmp_path):
    example = re.search(r"```yaml\n(robot_model.*?)```", TEXT, re.DOTALL)
    assert example is not None
    path = tmp_path / "source.yaml"
    path.write_text(example[1])
    source = load_source(path)
    assert source.image_topic("wrist") == "/wrist_camera/image_raw"
    assert source.info_topic("wrist") == "/wrist_camera/camera_info"
    assert source.kind == "demo"
