"""What the scripts share that write what they found to a file that nodes read."""

import argparse
import sys
from collections.abc import Callable

from vla_ros.core.errors import CalibrationError, VlaError


def run_calibration(
    name: str, args: argparse.Namespace, calibrate: Callable[[argparse.Namespace], str]
) -> int:
    """Calibrate and return the exit code; an error is one sentence on stderr and code 1.

    Args:
        name: of the script, for the sentence.
        args: its settings; `out` is the file, which must not be there yet.
        calibrate: writes it and returns a summary; may raise VlaError.
    """
    try:
        if args.out.exists():
            raise CalibrationError(f"{args.out} exists; move it away or choose another --out")
        args.out.parent.mkdir(parents=True, exist_ok=True)
        print(calibrate(args))
    except (VlaError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    print(f"written to {args.out}")
    return 0
