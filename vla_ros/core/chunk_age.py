"""Which chunks come from an observation that still counts."""

from vla_ros.core.errors import StaleDataError
from vla_ros.core.resample import NS_PER_S


def chunk_age_s(
    stamp_ns: int, now_ns: int, began_ns: int, newest_ns: int | None, most_s: float
) -> float:
    """Return how old a chunk's observation is [s].

    Args:
        stamp_ns: when it was made [ns].
        now_ns: time of the same clock.
        began_ns: when the motion last began anew.
        newest_ns: stamp of the chunk that is followed; None: there is none.
        most_s: how old it may be [s].

    Raises:
        StaleDataError: it is of before the arm began anew, not newer than what is followed, too
            old, or of the future.
    """
    age_s = (now_ns - stamp_ns) / NS_PER_S
    if stamp_ns < began_ns:
        raise StaleDataError(
            f"a chunk's observation is of {(began_ns - stamp_ns) / NS_PER_S:.2f} s "
            "before the arm began anew, and it may have been moved since; it is dropped: look "
            "again"
        )
    if newest_ns is not None and stamp_ns <= newest_ns:
        raise StaleDataError(
            "a chunk's observation is not newer than that of the chunk that is followed; it "
            "is dropped: ask for one chunk at a time"
        )
    if not 0.0 <= age_s <= most_s:
        raise StaleDataError(
            f"a chunk's observation is {age_s:.2f} s old, outside [0, "
            f"{most_s:g}] s; it is dropped: use one clock and a quicker "
            "policy, or raise max_age_s"
        )
    return age_s
