"""SIMPLER's four WidowX tasks: how a checkpoint does in ManiSkill's copies of them.

    python -m bench.public.simpler environment
    python -m bench.public.simpler score --checkpoint ckpt/tap2 --out simpler.json

The first use makes an environment of its own (`environments.SIMPLER`). The tasks are drawn of files
that no package holds: where they are missing, `score` says how to get them, and skips. It wants
Vulkan. docs/benchmarks.md says more.
"""

import argparse
import json
import os
import sys
from contextlib import closing
from pathlib import Path

from bench.public.environments import simpler
from bench.public.processes import exit_code, served, told_lines
from bench.public.scores import summary, table
from bench.public.simpler_peer_scene import TASKS

RUNNER = "bench.public.simpler_run"
# By ManiSkill's name of what it fetches (`utils/assets/data.py`), a file that comes with it: the
# folder alone is made before there is anything to put in it.
ASSETS = {
    "bridge_v2_real2sim": "tasks/bridge_v2_real2sim_dataset/custom/info_bridge_custom_v0.json",
    "widowx250s": "robots/widowx/wx250s.urdf",
}


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="bench.public.simpler",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("what", choices=("environment", "score"))
    add("--tasks", nargs="+", choices=tuple(TASKS), default=list(TASKS), help="all")
    add(
        "--episodes",
        type=int,
        default=24,
        help="start states of each task; all but the eggplant have 24",
    )
    add("--steps", type=int, default=0, help="of an episode; the benchmark's own number")
    add("--out", type=Path, help="JSON file of results")
    add("--checkpoint", type=Path, help="to score; a server is started for it")
    add("--url", help="of a server that runs, ws://HOST:PORT")
    return parser.parse_args(argv)


def skipped() -> str:
    """Return why nothing can be scored here and the way out, in a sentence; "": it can."""
    folder = Path(os.environ.get("MS_ASSET_DIR", Path.home() / ".maniskill")) / "data"
    missing = [asset for asset, file in ASSETS.items() if not (folder / file).exists()]
    if not missing:
        return ""
    files = ", ".join(ASSETS[asset] for asset in missing)
    fetch = "python -m bench.public.simpler environment"
    fetches = " and ".join(
        f"`$({fetch}) -m mani_skill.utils.download_asset -y {asset}`" for asset in missing
    )
    return (
        f"skipped, since {folder} (MS_ASSET_DIR/data) lacks {files}, which no package ships: "
        f"fetch them with {fetches}"
    )


def episodes(args: argparse.Namespace, url: str) -> dict:
    """Run the episodes that the command line asks for; return rows and their summary."""
    job = {"tasks": args.tasks, "episodes": args.episodes, "most": args.steps}
    rows = []
    with closing(told_lines(*simpler(), RUNNER, {**job, "url": url})) as told:
        for row in told:
            rows.append(row)
            print(
                f"{row['task']}, start {row['start']}: "
                f"{'done' if row['success'] else 'not done'} after {row['steps']} steps, "
                f"{row['seconds']:.0f} s: {row['instruction']}",
                flush=True,
            )
            if row["refused"]:
                print(f"  no action: {row['refused']}", flush=True)
    return {"job": job, "suites": summary(rows), "episodes": rows}


def main(argv: list[str] | None = None) -> int:
    """Do what the command line says; exit code 1 where something could not be done."""
    args = parse_arguments(argv)
    return exit_code("bench.public.simpler", lambda: _do(args))


def _do(args: argparse.Namespace) -> int:
    if args.what == "environment":
        print(simpler()[0])
        return 0
    if not (args.url or args.checkpoint):
        raise ValueError("score needs --checkpoint or --url")
    for name in args.tasks:
        if not 1 <= args.episodes <= TASKS[name].starts:
            raise ValueError(
                f"--episodes must be 1 to {TASKS[name].starts}, the start states of {name}, got "
                f"{args.episodes}: more would be the same ones again"
            )
    if why := skipped():
        print(f"bench.public.simpler: {why}")
        return 0
    if args.url:
        found = episodes(args, args.url)
    else:
        with served(args.checkpoint) as url:
            found = episodes(args, url)
        found["checkpoint"] = args.checkpoint.name
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found["suites"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
