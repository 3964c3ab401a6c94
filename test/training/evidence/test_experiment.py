"""Plan and report of an experiment, without doing it; and all of it once, tiny."""

import importlib
import itertools
import json

import numpy as np
import pytest

from training import experiment
from training.evidence import stages
from training.evidence.cells import CELLS
from training.evidence.claims import claims_of
from training.evidence.outcomes import Outcomes
from training.evidence.plan import stages_of
from training.evidence.report import markdown, report_of, write_report
from training.evidence.rows import CONTROL, METHODS, SCALES, rows_of
from training.evidence.stages import ExperimentError, Ledger


def planned(tmp_path, *more):
    args = experiment.parse_arguments([*more, "--out", str(tmp_path)])
    return experiment.experiment_of(args)


def by_name(found):
    return {stage.name: stage for stage in stages_of(found)}


def option(stage, name, count=1):
    at = stage.command.index(name) + 1
    return stage.command[at : at + count]


@pytest.mark.parametrize("method", METHODS)
def test_all_rows_of_a_method_take_equal_steps_and_seeds(tmp_path, method):
    stages = by_name(planned(tmp_path, method))
    rows = [row for row in rows_of(method, SCALES["full"]) if not row.is_extra]
    for seed in ("0", "1", "2"):
        second = [stages[f"stage2/{row.name}-s{seed}"] for row in rows]
        assert {option(stage, "--seed") for stage in second} == {(seed,)}
        assert len({option(stage, "--steps") for stage in second}) == 1
        assert len({option(stage, "--recipe") for stage in second}) == 1
    firsts = [stage for name, stage in stages.items() if name.startswith("stage1/")]
    assert len(firsts) == 3 * len({row.first for row in rows} - {""})
    assert len({option(stage, "--steps") for stage in firsts}) == 1


def test_the_data_of_a_small_row_is_part_of_a_large_one(tmp_path):
    stages = by_name(planned(tmp_path, "tap"))
    data = str(tmp_path.resolve() / "data")
    assert option(stages["stage1/pair-1h-s0"], "--data", 2) == (f"{data}/play-0", "--out")
    assert option(stages["stage1/pair-s0"], "--data", 4) == tuple(
        f"{data}/play-{k}" for k in range(4)
    )
    assert stages["stage1/vision-s0"].needs == stages["stage1/pair-s0"].needs
    hours = [float(option(stages[f"generate/play-{k}"], "--hours")[0]) for k in range(4)]
    assert hours == [1, 2, 7, 20]
    assert option(stages["stage2/scratch-50-s0"], "--data", 2) == (f"{data}/demos-0", "--out")
    counts = [int(option(stages[f"generate/demos-{k}/carrot"], "--episodes")[0]) for k in range(3)]
    assert counts == [50, 50, 100]
    # Neither parts nor tasks may be of the same layouts.
    seeds = [option(s, "--seed") for name, s in stages.items() if name.startswith("generate/")]
    assert len(set(seeds)) == len(seeds) == 4 + 2 * 3


def test_rows_of_apt_differ_by_what_their_name_says(tmp_path):
    found = by_name(planned(tmp_path, "apt", "--seeds", "0"))
    assert option(found["stage2/single-s0"], "--init") == ("none",)
    assert option(found["stage2/two-full-s0"], "--vlm") == ("full",)
    first = str(tmp_path.resolve() / "ckpt" / "apt1-apt-s0")
    for row in ("two-frozen", "two-full", "token"):
        assert option(found[f"stage2/{row}-s0"], "--init") == (first,)
    assert option(found["stage1/groot-s0"], "--style") == ("groot",)
    assert "--style" not in found["stage2/groot-two-s0"].command  # it comes with Stage 1
    assert option(found["stage2/groot-single-s0"], "--style") == ("groot",)
    assert option(found["stage1/gate-s0"], "--fusion") == ("paper",)
    gate = str(tmp_path.resolve() / "ckpt" / "apt1-gate-s0")
    assert option(found["stage2/gate-s0"], "--init") == (gate,)
    demos = [s for name, s in found.items() if name.startswith("generate/demos")]
    assert len({option(s, "--seed") for s in demos}) == len(demos)
    assert {option(s, "--task")[0] for s in demos} == {
        ask.sentences[0] for ask in next(c for c in CELLS["apt"] if c.name == "seen").asks
    }


@pytest.mark.parametrize("method", METHODS)
def test_the_stage_scripts_take_what_every_row_asks_of_them(tmp_path, method):
    names = [row.name for row in rows_of(method, SCALES["full"])]
    found = by_name(planned(tmp_path, method, "--seeds", "0", "--rows", *names))
    for name, stage in found.items():
        if name.startswith(("stage1/", "stage2/")):
            script, *arguments = stage.command
            args = importlib.import_module(script).parse_arguments(arguments)
            assert args.out == stage.out


def test_reduced_trains_apt_for_longer_and_may_compile_it(tmp_path):
    scale = SCALES["reduced"]
    assert (scale.second_steps, scale.apt_second_steps) == (3000, 4000)
    for method, steps in (("tap", "3000"), ("apt", "4000")):
        given = (method, "--scale", "reduced")
        plain, fast = (
            by_name(planned(tmp_path, *given)),
            by_name(planned(tmp_path, *given, "--compile")),
        )
        assert list(plain) == list(fast)
        for name, stage in plain.items():
            if name.startswith("stage2/"):
                assert option(stage, "--steps") == (steps,)
            if name.startswith("generate/demos"):
                assert option(stage, "--misses") == option(stage, "--losses") == ("0.4",)
            # What compiles learns the same but for rounding: the same run.
            assert fast[name].command == stage.command
            compiles = method == "apt" and name.startswith("stage")
            assert fast[name].free == stage.free + ("--compile",) * compiles


def test_frozen_features_are_those_of_the_row_with_all_play(tmp_path):
    found = by_name(planned(tmp_path, "tap", "--seeds", "0"))
    whole, frozen = (found[f"stage2/{row}-s0"] for row in ("tap", "frozen"))
    assert frozen.needs == whole.needs
    assert [part for part in frozen.command if part not in whole.command] == [
        str(frozen.out),
        "--frozen",
    ]


def test_a_backbone_of_ones_own_is_an_input(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "run.json").write_text("{}")
    found = planned(tmp_path, "tap", "--backbone", str(tmp_path / "b"))
    stages = by_name(found)
    assert "backbone" not in stages
    assert stages["stage1/pair-1h-s0"].files == stages["stage2/scratch-s0"].files
    assert stages["stage2/scratch-s0"].files == (tmp_path / "b",)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["tap", "--rows", "two-full"], "has no row two-full"),
        (["apt", "--seeds", "1", "1"], "--seeds must be different"),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path, more, said):
    with pytest.raises(ExperimentError, match=said):
        planned(tmp_path, *more)


def test_the_plan_tells_all_and_does_nothing(tmp_path, capsys):
    arguments = ["tap", "--out", str(tmp_path / "x"), "--plan", "--speed", "stage1_tap=3600"]
    assert experiment.main(arguments) == 0
    told = capsys.readouterr().out
    # 6000 steps of an hour.
    assert "360000  stage1/pair-s2" in told
    assert "hours  row, over all seeds" in told
    assert not (tmp_path / "x").exists()
    assert experiment.main([*arguments[:3], "--speed", "walk=3"]) == 1


def records(rates, seed, trials):
    """Return trials with so many successes of each cell, the first ones of a random order."""
    rng = np.random.default_rng(seed)
    found = []
    for cell, rate in rates.items():
        order = rng.permutation(trials)
        for trial in range(trials):
            done = bool(order[trial] < rate * trials)
            tasks = [done, done] if cell in ("chained", "coached") else [done]
            found.append({"cell": cell, "trial": trial, "success": done, "partial": True})
            found[-1]["tasks_success"] = tasks
    return found


def outcomes_of(method, by_row, trials=40, seeds=(0, 1, 2)):
    cells = [cell.name for cell in CELLS[method]]
    return Outcomes(
        {
            (row, seed): records(dict.fromkeys(cells, rate), seed + 10 * k, trials)
            for k, (row, rate) in enumerate(by_row.items())
            for seed in seeds
        },
        seeds,
        trials,
    )


@pytest.mark.parametrize(
    ("tap", "scratch", "verdict"),
    [(0.6, 0.3, "holds"), (0.4, 0.35, "does not hold"), (0.3, 0.6, "does not hold")],
)
def test_a_claim_holds_where_difference_and_interval_say_so(tmp_path, tap, scratch, verdict):
    found = planned(tmp_path, "tap", "--trials", "40")
    claims = claims_of(found, outcomes_of("tap", {"tap": tap, "scratch": scratch}))
    assert claims[0]["measured"]["mean"] == pytest.approx(tap - scratch)
    assert claims[0]["verdict"] == verdict
    assert claims[-1]["verdict"] == "not run"  # the row of the control is not there


def test_a_mean_that_one_seed_alone_has_made_is_no_claim(tmp_path):
    found = planned(tmp_path, "tap", "--trials", "40")
    cells = [cell.name for cell in CELLS["tap"]]
    made = {
        (row, seed): records(dict.fromkeys(cells, rate), seed, 40)
        for row, rates in (("tap", (0.95, 0.25, 0.25)), ("scratch", (0.2, 0.2, 0.2)))
        for seed, rate in enumerate(rates)
    }
    first = claims_of(found, Outcomes(made, (0, 1, 2), 40))[0]
    assert first["measured"]["mean"] > 0.2
    assert first["measured"]["low"] < 0
    assert first["verdict"] == "does not hold"


def test_losing_two_points_on_seen_instructions_is_no_loss_of_more_than_three(tmp_path):
    found = planned(tmp_path, "apt", "--trials", "100")
    claims = claims_of(found, outcomes_of("apt", {"two-frozen": 0.88, "single": 0.9}, 100))
    verdicts = {claim["claim"].rsplit(" on ", 1)[-1]: claim["verdict"] for claim in claims}
    assert verdicts["seen"] == "holds"
    assert verdicts["unseen combinations"] == "does not hold"


def test_a_report_tells_what_is_not_there(tmp_path):
    found = planned(tmp_path, "tap", "--trials", "40", "--rows", "scratch", "tap")
    ledger = Ledger(tmp_path / "stages", stages_of(found))
    report = report_of(found, ledger, outcomes_of("tap", {"tap": 0.5, "scratch": 0.25}))
    rows = {row["name"]: row for row in report["rows"]}
    cell = rows["tap"]["cells"]["carrot/standard"]
    assert cell["entire"]["mean"] == 0.5
    assert cell["entire"]["by_seed"] == [0.5] * 3
    assert cell["difference"]["mean"] == 0.25
    assert len(cell["difference"]["mcnemar_p_by_seed"]) == 3
    assert cell["paper"] == 40
    assert rows["tap-1h"]["cells"]["carrot/standard"]["entire"] is None
    text = markdown(report)
    assert "| TAP, 1 h of play | not run |" in text
    assert "*40*" in text
    tiny = planned(tmp_path, "tap", "--scale", "tiny", "--rows", "scratch", "tap")
    whole = report_of(tiny, ledger, outcomes_of("tap", {"tap": 1.0, "scratch": 0.0}))
    assert "**tiny: plumbing only" in markdown(whole)
    assert {claim["verdict"] for claim in whole["claims"]} == {"none: plumbing only"}


def test_a_row_lacks_nothing_only_with_all_trials_of_all_seeds():
    some = outcomes_of("tap", {"scratch": 0.5}, 10, (0, 1))
    assert some.table("scratch", "carrot/standard", "success").shape == (2, 10)
    assert Outcomes({}, (0,), 10).table("scratch", "carrot/standard", "success") is None
    two = {("scratch", seed): records({"carrot/standard": 0.5}, 0, 10) for seed in (0, 1)}
    assert Outcomes(two, (0, 1, 2), 10).table("scratch", "carrot/standard", "success") is None
    assert Outcomes(two, (0, 1), 11).table("scratch", "carrot/standard", "success") is None


def finish(found, name, content):
    """Mark a stage as done that has written `content`."""
    ledger = Ledger(found.out / "stages", stages_of(found))
    stage = next(stage for stage in ledger.stages if stage.name == name)
    stage.out.parent.mkdir(parents=True, exist_ok=True)
    stage.out.write_text(content)
    ledger._mark(stage, 1.0, True)


def test_a_report_has_rows_of_other_calls_and_nothing_of_before_a_change(tmp_path):
    cells = {cell.name: 0.5 for cell in CELLS["tap"]}
    options = ("tap", "--trials", "4", "--seeds", "0")
    for row, name in (("scratch", "rollouts/scratch-s0"), ("tap-1h", "rollouts/tap-1h-s0")):
        found = planned(tmp_path, *options, "--rows", row)
        finish(found, name, json.dumps({"trials": records(cells, 0, 4)}))
    assert "2 of 11 rows measured" in write_report(planned(tmp_path, *options, "--rows", "vision"))
    report = json.loads((tmp_path / "results" / "tap.json").read_text())
    assert len(report["commands"]) == 2
    # Of more trials than were done, and after training anew, they are none.
    other = planned(tmp_path, "tap", "--trials", "5", "--seeds", "0")
    assert "0 of 11 rows measured" in write_report(other)


def test_every_control_is_a_row():
    for method, scale in itertools.product(METHODS, SCALES.values()):
        names = {row.name for row in rows_of(method, scale)}
        assert {CONTROL[name] for name in names if name in CONTROL} <= names, (method, scale.name)


def test_a_scale_has_the_rows_of_its_amounts_and_says_the_hours(tmp_path):
    words = {row.name: row.words for row in rows_of("tap", SCALES["reduced"])}
    assert list(words) == [
        *("scratch", "tap-1h", "tap", "vision", "frozen", "scratch-50", "tap-50"),
    ]
    assert words["tap-1h"] == "TAP, 1 h of play"
    assert words["tap"] == "TAP, 3 h of play"
    assert words["tap-50"] == "TAP, 3 h of play, 50 demonstrations"
    stages = by_name(planned(tmp_path, "tap", "--scale", "reduced"))
    assert len(option(stages["stage1/pair-s0"], "--data", 2)) == 2
    with pytest.raises(ExperimentError, match="no row tap-10h at scale reduced"):
        planned(tmp_path, "tap", "--scale", "reduced", "--rows", "tap-10h")


@pytest.mark.slow
def test_tiny_goes_from_nothing_to_the_table_and_is_not_done_twice(tmp_path, monkeypatch, capsys):
    """Every stage's own script, in this process: an interpreter each would take a minute more."""
    done = []

    def do(command, log):
        done.append(command[2])
        return importlib.import_module(command[2]).main(command[3:])

    monkeypatch.setattr(stages, "_run_logged", do)
    command = ["tap", "--out", str(tmp_path), "--scale", "tiny", "--trials", "1", "--seeds", "0"]
    command += ["--workers", "1", "--rows", "tap"]
    assert experiment.main(command) == 0, capsys.readouterr().err
    assert "1 of 4 rows measured" in capsys.readouterr().out
    results = tmp_path / "results"
    report = json.loads((results / "tap.json").read_text())
    measured = next(row for row in report["rows"] if row["name"] == "tap")
    assert measured["cells"]["carrot/standard"]["entire"] is not None
    assert measured["wall_h"].keys() == {"stage 1", "stage 2", "roll-outs"}
    assert "plumbing only" in (results / "tap.md").read_text()
    assert (results / "tap.png").exists()
    assert len(list((results / "films").rglob("*.png"))) == len(CELLS["tap"])
    assert len(list((results / "attention").glob("*.png"))) == 1
    assert "training.convert" in done
    done.clear()
    assert experiment.main(command) == 0
    assert done == []
