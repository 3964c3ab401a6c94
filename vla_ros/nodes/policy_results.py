"""What became of a policy's episodes."""

import json
from pathlib import Path

import numpy as np

from vla_ros.core.errors import EpisodeError


class PolicyResults:
    """Collects the outcomes of episodes, and writes them as JSON after each.

    Args:
        task: the instruction at the start; each outcome says its own.
        policy: what tells it from others, `checkpoint` among it.
        path: of the file; empty: nothing is written.
    """

    def __init__(self, task: str, policy: dict, path: str):
        self._task, self._policy, self._path = task, policy, path
        self._outcomes: list[dict] = []

    def add(self, outcome: dict) -> None:
        """Note an episode: `success`, `inference_ms` and whatever else there is to say.

        Raises:
            EpisodeError: the file cannot be written.
        """
        self._outcomes.append(outcome)
        if self._path:
            write_results(Path(self._path), self.to_dict())

    def to_dict(self) -> dict:
        """Return all that is known as plain JSON types."""
        durations = [value for outcome in self._outcomes for value in outcome["inference_ms"]]
        judged = [o["success"] for o in self._outcomes if o["success"] is not None]
        p50, p95 = np.percentile(durations, [50, 95]) if durations else (None, None)
        return {
            "task": self._task,
            **self._policy,
            # Of those that were judged. Nobody judges a real arm: no number then.
            "judged": len(judged),
            "successes": sum(judged) if judged else None,
            "inference_ms_p50": p50,
            "inference_ms_p95": p95,
            "episodes": self._outcomes,
        }


def require_writable(path: str) -> None:
    """Check that results can be written to a path; empty: nothing is to be.

    Raises:
        EpisodeError: they cannot. Better now than after an episode.
    """
    if not path:
        return
    part = Path(f"{path}.part")
    try:
        part.touch()
        part.unlink()
    except OSError as error:
        raise _unwritable(Path(path), error) from None


def write_results(path: Path, results: dict) -> None:
    """Write the results as JSON, whole or not at all.

    Raises:
        EpisodeError: the file cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        part.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> EpisodeError:
    return EpisodeError(
        f"results cannot be written to {path} ({error.strerror}); choose another results file"
    )
