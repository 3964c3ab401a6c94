"""The demo's steps as processes: launches with a progress bar over their bags, and scripts."""

import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from tqdm import tqdm

from training.recordings.bags import finished_bags

ROOT = Path(__file__).resolve().parent.parent
POLL_S = 0.5
# When the first memory sample of a launch is taken, from its start: imports are done by then.
SETTLED_S = 12.0


class DemoError(Exception):
    """A step of the demo ended badly; the message is one sentence."""


def graph_memory_mb(pid: int) -> float:
    """Return the proportional memory [MB] of a process and all its descendants (Linux)."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    total_kb, queue = 0, [pid]
    while queue:
        current = queue.pop()
        queue += children.get(current, [])
        try:
            rollup = Path(f"/proc/{current}/smaps_rollup").read_text()
        except OSError:
            continue
        total_kb += next(int(x.split()[1]) for x in rollup.splitlines() if x.startswith("Pss:"))
    return total_kb / 1024


def run_launch(title: str, command: list[str], log: Path, bags: Path, total: int) -> dict:
    """Run one launch with a progress bar over the bags it finishes.

    Returns:
        wall_s, and memory_start_mb and memory_end_mb of the whole graph.

    Raises:
        DemoError: the launch ended with another code than 0.
    """
    print(f"$ {shlex.join(command)}")
    start = time.monotonic()
    memory: list[float] = []
    with log.open("w") as output, tqdm(total=total, desc=title, unit="episode") as bar:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
        try:
            while process.poll() is None:
                time.sleep(POLL_S)
                bar.update(min(total, len(finished_bags(bags))) - bar.n)
                if time.monotonic() - start > SETTLED_S and process.poll() is None:
                    memory.append(graph_memory_mb(process.pid))
        except BaseException:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
        bar.update(min(total, len(finished_bags(bags))) - bar.n)
    if process.returncode:
        raise step_failed(title, process.returncode, log)
    return {
        "wall_s": round(time.monotonic() - start, 1),
        # The last sample may fall into the shutdown, when processes are already gone.
        "memory_start_mb": round(memory[0]) if memory else None,
        "memory_end_mb": round(memory[-3]) if len(memory) > 3 else None,
    }


def step_failed(title: str, code: int, log: Path) -> DemoError:
    """Return the error of a step that ended with `code`, quoting the end of its log."""
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
    return DemoError(f"{title} ended with exit code {code}; its output is in {log}:\n{tail}")


def run_script(title: str, command: list[str], log: Path) -> float:
    """Run an offline step, its progress bar on the terminal, and return its wall time [s].

    Raises:
        DemoError: it ended with another code than 0.
    """
    print(f"$ {shlex.join(command)}")
    start = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *command[1:]], stdout=output, stderr=subprocess.PIPE, cwd=ROOT
        )
        try:
            # Progress bars are written to stderr without line ends: pass bytes on as they come.
            while chunk := process.stderr.read1(4096):
                sys.stderr.buffer.write(chunk)
                sys.stderr.buffer.flush()
                output.write(chunk.decode(errors="replace"))
        except BaseException:
            process.terminate()
            raise
        finally:
            process.wait()
    if process.returncode:
        raise step_failed(title, process.returncode, log)
    return round(time.monotonic() - start, 1)
