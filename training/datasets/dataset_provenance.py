"""Where a dataset comes from, for meta/info.json: the same for bags and for datasets of others."""

import importlib.metadata
from contextlib import suppress
from functools import cache

import cv2

from training.datasets.shard import Shard, dropped_counts
from training.datasets.shard_folder import Refusal
from training.provenance import code_version

# What shapes the bytes of a shard besides this package: another version may scale or encode a
# picture otherwise.
_LIBRARIES = ("av", "numpy", "pyarrow", "simplejpeg")


@cache
def made_by(code: str) -> dict[str, str]:
    """Return what makes shards in this process: `code`, the checkout's version, and libraries'."""
    versions = {"code_version": code, "opencv": cv2.__version__}
    for name in _LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):  # an extra that is not installed
            versions[name] = importlib.metadata.version(name)
    return versions


def provenance_of(shards: list[Shard], refusals: list[Refusal], options: dict) -> dict:
    """Return plain JSON on a dataset of these shards.

    "made_by" lists what made the shards, which may have been done by versions of long ago, and
    each row of "bags" tells its place in that list; "code_version" is of this run, which put them
    together.
    """
    makers = [dict(pairs) for pairs in sorted({tuple(s.facts.made_by.items()) for s in shards})]
    rows = []
    for shard in shards:
        facts = shard.facts
        first = facts.episodes[0] if facts.episodes else None
        rows.append(
            {
                "bag": facts.label,
                "sha256": facts.source_sha256,
                "kind": first.kind if first else None,
                "task": first.task if first else None,
                "frames": facts.num_frames,
                "lost": facts.lost,
                "dropped": dropped_counts([shard]),
                "dropped_runs": [
                    f"{run.count} {run.reason}, {run.first_ns} to {run.last_ns} ns"
                    for run in facts.dropped
                ],
                "made_by": makers.index(facts.made_by),
            }
        )
    return {
        "bags": rows,
        "skipped_bags": [
            {"bag": refusal.label, "sha256": refusal.sha256, "reason": refusal.reason}
            for refusal in refusals
        ],
        "dropped": dropped_counts(shards),
        "options": options,
        "code_version": code_version(),
        "made_by": makers,
    }
