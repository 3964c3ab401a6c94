import platform
import subprocess
import sys

import pytest

# Blocks of 24 MiB side by side, freed together: what a step does with its activations.
COUNT = """
import resource
{first}
def step():
    blocks = [bytearray(24 << 20) for _ in range(4)]
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
KEEP = "from training.learning.memory import keep_freed_memory\nassert keep_freed_memory()"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator alone is told")
def test_what_a_step_has_freed_the_next_one_need_not_ask_the_system_for():
    faults = [
        int(subprocess.check_output([sys.executable, "-c", COUNT.format(first=first)]))
        for first in ("", KEEP)
    ]
    # In pages of up to 64 KiB, 96 MiB are 1,536.
    assert faults[0] > 1_000
    assert faults[1] < 100
