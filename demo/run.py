"""The whole loop on this machine: play, demonstrate, convert, train both stages, act.

    make demo                                  # sets up what is missing, then runs this
    python demo/run.py --rollouts 20           # in a shell where activate.sh was sourced

Every step goes through the same commands that a person would type; the commands are printed and
their full output is in demo/logs/. The simulated arm runs faster than real time. A small budget
may well fail the task: the table at the end says what was measured, nothing else.
"""

import argparse
import json
import os
import shutil
import signal
import sys
from pathlib import Path

from report import (
    film_strip,
    format_table,
    plot_losses,
    write_summary,
    write_video,
)

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from steps import DemoError, run_launch, run_script  # noqa: E402

from training.evidence.statistics import wilson  # noqa: E402
from training.recordings.bags import Bag, finished_bags  # noqa: E402  (the repository's root is on the path only now)

TASK = "put the carrot on the plate"
CAMERA = ["camera_width:=128", "camera_height:=128", "camera_rate:=10"]
# On the table for demonstrations and roll-outs; play has five toys.
SCENE = "objects:=[carrot, plate]"
SEGMENT_S = 60
# The teacher needs about 7 s; a policy that has not done it in three times that will not.
ROLLOUT_S = 20
# A folder with this file in it was made by the demo, which may then replace what is there.
MARKER = ".vla_ros_demo"
# Who acts at the end, and how the closing table calls it.
ACTED = {"policy": "policy of this demo", "shipped": "policy that ships"}
STAGE_TITLES = {
    "stage1": "TAP Stage 1: inverse dynamics on play",
    "stage2": "TAP Stage 2: demonstrations with language",
}


def parse_arguments() -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "demo", help="folder for all results")
    parser.add_argument("--play-minutes", type=int, default=10, help="simulated minutes of play")
    parser.add_argument("--demos", type=int, default=60, help="demonstrations to record")
    parser.add_argument("--stage1-steps", type=int, default=900, help="training steps of Stage 1")
    parser.add_argument("--stage2-steps", type=int, default=800, help="training steps of Stage 2")
    parser.add_argument(
        "--backbone", default="none", help="of training.pretrain_vlm; none: random weights"
    )
    parser.add_argument(
        "--head", choices=("mlp", "fast"), default="mlp", help="regression, or action tokens"
    )
    parser.add_argument("--rollouts", type=int, default=10, help="fresh scenes for the policy")
    parser.add_argument("--speed", type=float, default=6.0, help="simulated seconds a second")
    parser.add_argument("--policy-speed", type=float, default=3.0, help="the same for roll-outs")
    parser.add_argument("--seed", type=int, default=0, help="seed of scenes, motion and training")
    args = parser.parse_args()
    for name in ("play_minutes", "demos", "stage1_steps", "stage2_steps", "rollouts"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be 1 or more")
    return args


def record(args: argparse.Namespace, bags: Path, logs: Path) -> dict:
    """Run play and demonstrations through the ROS graph and return what each took."""
    common = [f"speed:={args.speed:g}", f"seed:={args.seed}", *CAMERA]
    play = run_launch(
        "play",
        ["ros2", "launch", "vla_ros", "play.launch.py", f"segments:={args.play_minutes}",
         f"segment_s:={SEGMENT_S}", f"out:={bags / 'play'}", *common],
        logs / "play.log", bags / "play", args.play_minutes,
    )  # fmt: skip
    demos = run_launch(
        "demonstrations",
        ["ros2", "launch", "vla_ros", "demos.launch.py", f"task:={TASK}",
         f"episodes:={args.demos}", f"out:={bags / 'demos'}", SCENE, *common],
        logs / "demos.log", bags / "demos", args.demos,
    )  # fmt: skip
    return {"play": play, "demos": demos}


def learn(args: argparse.Namespace, out: Path, logs: Path) -> dict:
    """Convert the bags, train both stages, and return wall times and metrics."""
    bags, data, checkpoints = out / "bags", out / "data", out / "checkpoints"
    wall = {}
    for kind in ("play", "demos"):
        wall[f"convert_{kind}"] = run_script(
            f"conversion of {kind}",
            ["python", "-m", "training.convert", str(bags / kind), "--out", str(data / kind)],
            logs / f"convert_{kind}.log",
        )
    wall["stage1"] = run_script(
        "Stage 1",
        ["python", "-m", "training.stage1_tap", "--data", str(data / "play"),
         "--out", str(checkpoints / "stage1"), "--steps", str(args.stage1_steps),
         "--backbone", args.backbone, "--head", args.head, "--seed", str(args.seed)],
        logs / "stage1.log",
    )  # fmt: skip
    wall["stage2"] = run_script(
        "Stage 2",
        ["python", "-m", "training.stage2_tap", "--data", str(data / "demos"),
         "--init", str(checkpoints / "stage1"), "--out", str(checkpoints / "stage2"),
         "--steps", str(args.stage2_steps), "--seed", str(args.seed)],
        logs / "stage2.log",
    )  # fmt: skip
    metrics = {
        stage: json.loads((checkpoints / stage / "metrics.json").read_text())
        for stage in STAGE_TITLES
    }
    info = {
        kind: json.loads((data / kind / "meta" / "info.json").read_text())
        for kind in ("play", "demos")
    }
    return {"wall": wall, "metrics": metrics, "info": info}


def act(args: argparse.Namespace, out: Path, logs: Path, name: str, given: list[str]) -> dict:
    """Run the policy node on fresh scenes and return its results and what the launch took.

    `given` are arguments of the launch; the bags go to a folder `name`.
    """
    results = out / f"{name}.json"
    # Scenes that neither play nor the demonstrations used: another range of layout seeds.
    fresh_seed = args.seed + 100_000
    launch = run_launch(
        name,
        ["ros2", "launch", "vla_ros", "policy.launch.py", f"task:={TASK}", *given,
         f"episodes:={args.rollouts}", f"episode_s:={ROLLOUT_S}",
         f"results:={results}", f"out:={out / 'bags' / name}",
         f"speed:={args.policy_speed:g}", f"seed:={fresh_seed}"],
        logs / f"{name}.log", out / "bags" / name, args.rollouts,
    )  # fmt: skip
    return {"launch": launch, "results": json.loads(results.read_text())}


def rollout_films(bags: Path, episodes: list[dict]) -> list[dict]:
    """Return each roll-out's frames (T, H, W, 3) and its label, read from its recorded bag."""
    # An episode that was kept from moving has a bag and counts as no result.
    told = {episode["episode_id"]: episode for episode in episodes}
    films = []
    for path in finished_bags(bags):
        if path.name not in told:
            continue
        episode = told[path.name]
        with Bag(path) as bag:
            frames = [image for _, image in bag.images("front")]
        outcome = {True: "success", None: "not judged"}.get(episode["success"])
        outcome = outcome or ("partial" if episode["partial"] else "failed")
        films.append({"frames": frames, "label": f"{path.name}: {outcome}"})
    return films


def outcome(acted: dict, log: Path) -> dict:
    """Return what a policy did in its scenes; DemoError where none was judged."""
    # What a stop or an outage ended is nobody's failure, and no trial.
    episodes = [e for e in acted["results"]["episodes"] if e["success"] is not None]
    if not episodes:
        raise DemoError(f"no roll-out was judged; the reasons are in {log}")
    successes = sum(e["success"] for e in episodes)
    return acted["launch"] | {
        "trials": len(episodes),
        "successes": successes,
        "partial": sum(bool(e["partial"]) for e in episodes),
        "success_interval_95": wilson(successes, len(episodes))[1:],
        "inference_ms_p50": acted["results"]["inference_ms_p50"],
    }


def summarise(args: argparse.Namespace, recorded: dict, learned: dict, acted: dict) -> dict:
    """Return every measured figure of the run as plain JSON types; `acted` by name."""
    stages = {
        name: {
            key: stage[key]
            for key in ("steps", "step_ms", "num_parameters", "val_loss", "val_constant_loss")
        }
        for name, stage in learned["metrics"].items()
    }
    return {
        "task": TASK,
        "seed": args.seed,
        "backbone": args.backbone,
        "head": args.head,
        "play": recorded["play"]
        | {
            "episodes": learned["info"]["play"]["total_episodes"],
            "frames": learned["info"]["play"]["total_frames"],
            "simulated_s": args.play_minutes * SEGMENT_S,
        },
        "demos": recorded["demos"]
        | {
            "episodes": learned["info"]["demos"]["total_episodes"],
            "frames": learned["info"]["demos"]["total_frames"],
        },
        "stages": stages,
        **{name: outcome(one, args.out / "logs" / f"{name}.log") for name, one in acted.items()},
        "wall_s": {
            "play": recorded["play"]["wall_s"],
            "demos": recorded["demos"]["wall_s"],
            **learned["wall"],
            **{name: one["launch"]["wall_s"] for name, one in acted.items()},
        },
    }


def table_rows(summary: dict) -> list[tuple[str, str]]:
    """Return the closing table's rows of (what, value)."""
    play, demos = summary["play"], summary["demos"]
    factor = play["simulated_s"] / play["wall_s"]
    rows = [
        ("play", f"{play['episodes']} episodes, {play['frames']} frames at 5 Hz, "
                 f"{factor:.1f}x real time"),
        ("memory of the play graph", f"{play['memory_start_mb']} MB at the start, "
                                     f"{play['memory_end_mb']} MB at the end"),
        ("demonstrations", f"{demos['episodes']} episodes, {demos['frames']} frames"),
    ]  # fmt: skip
    for name, stage in summary["stages"].items():
        rows.append(
            (STAGE_TITLES[name].split(":")[0],
             f"held-out error {stage['val_loss']:.4f}, constant prediction "
             f"{stage['val_constant_loss']:.4f} ({stage['steps']} steps of "
             f"{stage['step_ms']:.0f} ms, {stage['num_parameters'] / 1e6:.1f} M parameters)")
        )  # fmt: skip
    for name, words in ACTED.items():
        did = summary[name]
        low, high = did["success_interval_95"]
        rows.append(
            (words,
             f"{did['successes']} of {did['trials']} fresh scenes solved (95 % interval "
             f"{low:.0%} to {high:.0%}), {did['partial']} grasped the object; "
             f"{did['inference_ms_p50']:.0f} ms an action (median)")
        )  # fmt: skip
    rows += [
        ("wall time", ", ".join(f"{k} {v:.0f} s" for k, v in summary["wall_s"].items())),
        ("all steps", f"{sum(summary['wall_s'].values()) / 60:.1f} min"),
    ]  # fmt: skip
    return rows


def clear(out: Path) -> None:
    """Make `out`, or empty it of what an earlier demo wrote there.

    Raises:
        DemoError: it holds recordings or results that no demo wrote.
    """
    out.mkdir(parents=True, exist_ok=True)
    stale = [
        out / name for name in ("bags", "data", "checkpoints", "logs") if (out / name).exists()
    ]
    if stale and not (out / MARKER).exists():
        raise DemoError(
            f"{out} holds {', '.join(path.name for path in stale)} that no demo wrote; choose "
            "another --out"
        )
    (out / MARKER).touch()
    for path in stale:
        shutil.rmtree(path)


def run(args: argparse.Namespace) -> None:
    """Run the loop and write its results into `args.out`."""
    out: Path = args.out.resolve()
    clear(out)
    logs = out / "logs"
    logs.mkdir()
    recorded = record(args, out / "bags", logs)
    learned = learn(args, out, logs)
    # That which ships is launched with no argument of its own: in the scene that is there by
    # default, through the camera that is there by default.
    given = {"policy": [f"checkpoint:={out / 'checkpoints' / 'stage2'}", SCENE, *CAMERA]}
    acted = {name: act(args, out, logs, name, given.get(name, [])) for name in ACTED}
    summary = summarise(args, recorded, learned, acted)
    films = [
        film
        for name, one in acted.items()
        for film in rollout_films(out / "bags" / name, one["results"]["episodes"])
    ]
    write_summary(summary, out / "summary.json")
    plot_losses({STAGE_TITLES[k]: v for k, v in learned["metrics"].items()}, out / "loss.png")
    film_strip(films, out / "film_strip.png")
    write_video(films, out / "rollouts.mp4")
    print("\n" + format_table(table_rows(summary)))
    if not summary["policy"]["successes"]:
        print(
            f"\nThe policy did not solve the task in any of {summary['policy']['trials']} scenes: "
            "this budget is too small for it; raise --demos, --play-minutes and the steps."
        )
    names = ("summary.json", "loss.png", "film_strip.png", "rollouts.mp4")
    print(f"\nwritten to {out}: {', '.join(names)}")


def main() -> int:
    """Run the demo; 0 when every step ran, 1 with one sentence otherwise."""
    args = parse_arguments()
    # This machine only, and a domain that no other graph here is likely to use.
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    # Ended from outside, the demo ends its processes as on Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"ROS_DOMAIN_ID={os.environ['ROS_DOMAIN_ID']}  (set it in a second shell to look on)")
    if shutil.which("ros2") is None:
        print("demo: ros2 is not on the PATH; run `make demo`, or source activate.sh first",
              file=sys.stderr)  # fmt: skip
        return 1
    try:
        run(args)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
