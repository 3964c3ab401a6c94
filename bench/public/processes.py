"""Processes that a benchmark's command starts; they end when it ends, by a signal, too."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def sigterm_exits() -> Iterator[None]:
    """Have SIGTERM raise SystemExit, so that what is being done ends what it started."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_code(name: str, do: Callable[[], int]) -> int:
    """Return what `do` does, or 1 where something could not be done: a sentence on stderr.

    What `do` has started ends with it, also by SIGTERM and by Ctrl-C, which is 130.

    Args:
        name: of the command, for the sentence.
        do: what the command line says.
    """
    with sigterm_exits():
        try:
            return do()
        except (subprocess.CalledProcessError, RuntimeError, ValueError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(f"{name}: stopped", file=sys.stderr)
            return 130


def told_lines(
    python: Path, environment: dict[str, str], module: str, job: dict
) -> Generator[dict, None, None]:
    """Run `module` under another environment's Python and yield what it says, line by line.

    Close the generator (`contextlib.closing`) where not all of it is read: that ends the process.

    Args:
        python, environment: of the other environment, as `environments` returns them.
        module: that takes a job as JSON and writes a line of JSON for each thing it has to say.
        job: what it is to do.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = [str(python), "-m", module, json.dumps(job)]
    with subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                # Benchmarks and their packages print, too.
                if line.startswith("{"):
                    yield json.loads(line)
        except BaseException:
            process.terminate()
            # After Ctrl-C, Popen itself would not wait.
            process.wait()
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command[:3])


@contextmanager
def served(checkpoint: Path, chunk_steps: int = 8) -> Iterator[str]:
    """Serve a checkpoint in a process of its own; yields the address.

    Raises:
        RuntimeError: it is not served; it said why.
    """
    module = "vla_ros.policy.vla_eval_server"
    command = [sys.executable, "-m", module, str(checkpoint), "--port", "0"]
    command += ["--steps", str(chunk_steps)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            if " is served on " not in first:
                raise RuntimeError(f"{checkpoint} is not served")
            yield first.rsplit(" ", 1)[-1].strip()
        finally:
            process.terminate()
            process.communicate()
