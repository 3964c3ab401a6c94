"""TAP's stage scripts where torch's compiler has to be there: Qwen-VLs, several processes."""

import json
import os
import socket

import numpy as np
import pytest
import torch
from tiny_qwen import FAMILIES, write_folder

from training import stage1_tap, stage2_tap
from vla_ros.policy.checkpoint import load_checkpoint
from vla_ros.policy.qwen_vlm import QwenVlm


@pytest.mark.parametrize("family", FAMILIES)
def test_both_stages_of_tap_train_a_qwen_vl(family, dataset_path, tmp_path):
    write_folder(family, tmp_path / family)
    common = ["--data", str(dataset_path), "--recipe", "tiny"]
    one, two = tmp_path / "s1", tmp_path / "s2"
    arguments = [*common, "--out", str(one), "--backbone", str(tmp_path / family)]
    assert stage1_tap.main(arguments) == 0
    assert stage2_tap.main([*common, "--out", str(two), "--init", str(one)]) == 0
    checkpoint = load_checkpoint(two)
    assert isinstance(checkpoint.policy.vlm, QwenVlm)
    assert checkpoint.run["init"]["backbone"]["name"] == family
    for folder in (one, two):
        curve = json.loads((folder / "metrics.json").read_text())["train_curve"]
        assert np.isfinite([point["loss"] for point in curve]).all()


def test_two_processes_have_the_losses_of_one(dataset_path, tmp_path, fork):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def train(rank, world_size):
        torch.set_num_threads(1)
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ |= {"WORLD_SIZE": str(world_size), "RANK": str(rank), "LOCAL_RANK": str(rank)}
        out = tmp_path / str(world_size)
        common = ["--data", str(dataset_path), "--out", str(out), "--recipe", "tiny"]
        return stage1_tap.main([*common, "--steps", "4"])

    for world_size in (1, 2):
        started = [fork(lambda r=rank, w=world_size: train(r, w)) for rank in range(world_size)]
        ends = [process.end() for process in started]
        assert [code for code, _ in ends] == [0] * world_size, ends
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in "12")
    for curve in ("train_curve", "val_curve"):
        losses = [[point["loss"] for point in metrics[curve]] for metrics in (one, two)]
        np.testing.assert_allclose(*losses, rtol=2e-3)
