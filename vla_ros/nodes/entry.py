"""The first thing a node's executable does: make Ctrl-C clean from the start on.

Importing MuJoCo or torch takes seconds in which a launch may already be stopped.
"""

import importlib
import os
import signal


def stop_signals() -> list[signal.Signals]:
    """Return the signals that end a node: SIGHUP, of a closed terminal, unless nohup is wished."""
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    return signals


def start(name: str) -> int:
    """Import node `name` and run it; returns its exit code, 0 when stopped while it starts."""
    # Until the node spins nothing needs saving, and an exception raised in the middle of a C
    # module's import comes out as another one. `lifetime` then puts its own handlers.
    for number in stop_signals():
        signal.signal(number, lambda *_: os._exit(0))
    return importlib.import_module(f"vla_ros.nodes.{name}").main()
