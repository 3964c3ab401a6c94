"""Memory that a step frees stays with the process for the next step.

glibc hands large blocks back to the system as soon as they are free, and takes them anew, page by
page, within the same step. On a CPU that was a fifth of the small recipe's time, and as much of
what the doctor needs for a bag.
"""

import ctypes

# Of malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# The most that glibc takes; larger blocks come and go one by one.
_LARGEST_BLOCK = 32 << 20
_MOST_KEPT = 1 << 30


def keep_freed_memory() -> bool:
    """Keep up to 1 GiB at the heap's end and blocks of up to 32 MiB; False where this is no glibc.

    Nothing that is in use changes. More processes on a machine keep so much each.
    """
    tell = getattr(ctypes.CDLL(None), "mallopt", None)
    if tell is None:
        return False
    return bool(tell(_MMAP_THRESHOLD, _LARGEST_BLOCK) and tell(_TRIM_THRESHOLD, _MOST_KEPT))
