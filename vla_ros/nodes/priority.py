"""Who sends commands comes before all else that wants the processor, where the system allows."""

import contextlib
import os
from pathlib import Path


def raise_priority(priority: int, is_alone: bool) -> str:
    """Put this thread under SCHED_RR, and none that it starts.

    Linux gives a thread that wakes the processor once another one's slice is over, which takes some
    milliseconds; one of real time gets it at once.

    Args:
        priority: 1 to 99; 0: nothing is done.
        is_alone: whether no network computes in this process. Then all of its threads get the
            priority: commands wait for the locks of those that messages come and go by.

    Returns:
        Why it could not be done; empty where it was.
    """
    if not priority:
        return ""
    try:
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(priority))
        for path in Path("/proc/self/task").iterdir() if is_alone else ():
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.sched_setscheduler(int(path.name), policy, os.sched_param(priority))
    except (OSError, AttributeError) as error:
        return f"the system does not allow it: {error}"
    return ""
