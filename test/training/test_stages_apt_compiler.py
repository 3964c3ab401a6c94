"""APT's stage scripts where torch's compiler has to be there: Qwen-VLs, several processes."""

import json
import os
import socket

import numpy as np
import pytest
import torch
from tiny_qwen import FAMILIES, write_folder

from training import stage1_apt, stage2_apt
from vla_ros.policy.checkpoint import load_checkpoint
from vla_ros.policy.qwen_vlm import QwenVlm


@pytest.mark.parametrize(
    ("family", "tuning"), [(FAMILIES[0], "full"), (FAMILIES[1], "frozen"), (FAMILIES[1], "lora")]
)
def test_both_stages_of_apt_train_on_a_qwen_vl(family, tuning, calibrated, tmp_path):
    if tuning == "lora":
        pytest.importorskip("peft")
    write_folder(family, tmp_path / family)
    common = ["--data", str(calibrated), "--recipe", "tiny"]
    one, two = tmp_path / "s1", tmp_path / "s2"
    arguments = [*common, "--out", str(one), "--backbone", str(tmp_path / family)]
    assert stage1_apt.main(arguments) == 0
    grown = [*common, "--out", str(two), "--init", str(one), "--vlm", tuning]
    assert stage2_apt.main(grown) == 0
    before, after = load_checkpoint(one), load_checkpoint(two)
    assert isinstance(after.policy.vlm, QwenVlm)
    assert (before.source.options["tuning"], after.source.options["tuning"]) == ("frozen", tuning)
    first = before.policy.vlm.state_dict()
    learned = {
        name
        for name, value in after.policy.vlm.state_dict().items()
        if name not in first or not torch.equal(value, first[name])
    }
    assert bool(learned) == (tuning != "frozen")
    if tuning == "lora":
        assert all("lora_" in name or "base_layer" in name for name in learned)


# The tracer looks at gradients of what a tuned backbone gives.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_a_translated_step_learns_what_the_plain_one_does(calibrated, tmp_path, monkeypatch):
    translated, graphs = [], []

    def ran_as_is(graph, _):
        graphs.append(graph)
        return graph.forward

    def traced(self, **options):
        # As --compile has it, but for a minute of the C++ compiler.
        translated.append(options)
        self._compiled_call_impl = torch.compile(self._call_impl, backend=ran_as_is, **options)

    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    common = ["--data", str(calibrated), "--recipe", "tiny", "--steps", "3"]
    second = ["--init", str(tmp_path / "plain1"), "--vlm", "full"]
    for number, stage, more in ((1, stage1_apt, []), (2, stage2_apt, second)):
        graphs.clear()
        assert stage.main([*common, *more, "--out", str(tmp_path / f"plain{number}")]) == 0
        assert not graphs
        fast = tmp_path / f"fast{number}"
        assert stage.main([*common, *more, "--out", str(fast), "--compile"]) == 0
        assert graphs
        assert translated == [{"dynamic": False}] * number
        learned = load_checkpoint(tmp_path / f"plain{number}").policy.state_dict()
        found = load_checkpoint(fast).policy.state_dict()
        assert list(learned) == list(found)
        for name, value in learned.items():
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5)


def test_without_a_compiler_it_is_a_sentence(calibrated, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CXX", "no-such-compiler")
    arguments = ["--data", str(calibrated), "--recipe", "tiny", "--out", str(tmp_path / "out")]
    assert stage1_apt.main([*arguments, "--compile"]) == 1
    assert "no-such-compiler, which is not on the PATH; install" in capsys.readouterr().err


def test_two_processes_have_the_losses_of_one(calibrated, tmp_path, fork):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def train(rank, world_size):
        torch.set_num_threads(1)
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ |= {"WORLD_SIZE": str(world_size), "RANK": str(rank), "LOCAL_RANK": str(rank)}
        out = tmp_path / str(world_size)
        return stage1_apt.main(
            ["--data", str(calibrated), "--out", str(out), "--recipe", "tiny", "--steps", "3"]
        )

    for world_size in (1, 2):
        started = [fork(lambda r=rank, w=world_size: train(r, w)) for rank in range(world_size)]
        ends = [process.end() for process in started]
        assert [code for code, _ in ends] == [0] * world_size, ends
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in "12")
    for curve in ("train_curve", "val_curve"):
        losses = [[point["loss"] for point in metrics[curve]] for metrics in (one, two)]
        np.testing.assert_allclose(*losses, rtol=2e-4)
