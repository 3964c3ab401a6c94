"""LIBERO-PRO: demonstrations, and how a checkpoint does where places, tasks or words change.

    python -m bench.public.libero expert --base libero_object --episodes 2
    python -m bench.public.libero demos  --base libero_object --count 20 --out data/libero_object
    python -m bench.public.libero score  --base libero_object --episodes 10 --checkpoint ckpt/tap2

The first use makes an environment of its own (`environments.LIBERO`). docs/benchmarks.md tells the
way from demonstrations to a score. The policy is told the sentence of the task's own file.
"""

import argparse
import json
import sys
from contextlib import closing
from pathlib import Path

from bench.public.environments import libero
from bench.public.libero_peer_world import BASE_SUITES, PERTURBATIONS
from bench.public.processes import exit_code, served, told_lines
from bench.public.scores import summary, table

RUNNER = "bench.public.libero_run"


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="bench.public.libero",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("what", choices=("environment", "expert", "demos", "score"))
    add("--base", choices=tuple(BASE_SUITES), default="libero_object", help="suite (%(default)s)")
    add("--tasks", type=int, nargs="+", default=list(range(10)), help="their numbers; all")
    add("--episodes", type=int, default=10, help="start states of each task (%(default)s)")
    names = [p.strip("_") or "none" for p in PERTURBATIONS]
    add("--perturbations", nargs="+", choices=names, help="all for score, none for expert")
    add("--steps", type=int, default=0, help="most of an episode; the benchmark's own limit")
    add("--count", type=int, default=10, help="demonstrations of each task (%(default)s)")
    add("--out", type=Path, help="folder of demos to make, or JSON file of results")
    add("--checkpoint", type=Path, help="to score; a server is started for it")
    add("--url", help="of a server that runs, ws://HOST:PORT")
    add("--chunk-steps", type=int, default=8, help="steps of a chunk that are done (%(default)s)")
    return parser.parse_args(argv)


def episodes(args: argparse.Namespace, url: str, default: list[str]) -> dict:
    """Run the episodes that the command line asks for; return rows and their summary."""
    names = args.perturbations or default
    job = {
        "base": args.base,
        "perturbations": ["" if name == "none" else f"_{name}" for name in names],
        "tasks": args.tasks,
        "layouts": args.episodes,
        "most": args.steps,
        "url": url,
    }
    rows = []
    with closing(told_lines(*libero(), RUNNER, job)) as told:
        for row in told:
            rows.append(row)
            print(
                f"{row['suite']} {row['task']}, start {row['layout']}: "
                f"{'done' if row['success'] else 'not done'} in {row['steps']} steps, "
                f"{row['seconds']:.0f} s: {row['instruction']}",
                flush=True,
            )
            if row["refused"]:
                print(f"  no action: {row['refused']}", flush=True)
    return {"job": {**job, "url": bool(url)}, "suites": summary(rows), "episodes": rows}


def main(argv: list[str] | None = None) -> int:
    """Do what the command line says; exit code 1 where something could not be done."""
    args = parse_arguments(argv)
    return exit_code("bench.public.libero", lambda: _do(args))


def _do(args: argparse.Namespace) -> int:
    if args.what == "environment":
        print(libero()[0])
        return 0
    if args.what == "demos":
        if args.out is None or args.out.exists():
            raise ValueError("--out must name a new folder for the demonstrations")
        out = str(args.out.resolve())
        job = {"out": out, "base": args.base, "tasks": args.tasks, "count": args.count}
        with closing(told_lines(*libero(), RUNNER, job)) as told:
            for counts in told:
                print(json.dumps(counts, indent=1))
        return 0
    if args.what == "expert":
        found = episodes(args, "", ["none"])
    elif args.url:
        found = episodes(args, args.url, [p.strip("_") or "none" for p in PERTURBATIONS])
    elif args.checkpoint:
        with served(args.checkpoint, args.chunk_steps) as url:
            found = episodes(args, url, [p.strip("_") or "none" for p in PERTURBATIONS])
        found["checkpoint"] = args.checkpoint.name
    else:
        raise ValueError("score needs --checkpoint or --url")
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found["suites"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
