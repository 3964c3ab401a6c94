"""Keys of the terminal that a node was started from, one at a time, where there is one.

Not from standard input: launch keeps that for itself. Nothing is read, nor changed, while another
job has the terminal, and what was changed is put back at the end.
"""

import os
import termios

_TERMINAL = "/dev/tty"
# Keys without Enter and without echo; Ctrl-C still interrupts.
_LOCAL_OFF = termios.ICANON | termios.ECHO


class Keys:
    """The keys pressed since the last look.

    Args:
        path: the terminal.
    """

    def __init__(self, path: str = _TERMINAL):
        self._before: list | None = None
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            self._file = -1

    def read(self) -> str:
        """Return them; "" where there is no terminal, or another job has it."""
        if not self._has_terminal():
            return ""
        try:
            if self._before is None:
                self._before = termios.tcgetattr(self._file)
                changed = [*self._before]
                changed[3] &= ~_LOCAL_OFF
                termios.tcsetattr(self._file, termios.TCSANOW, changed)
                # What was typed before is no answer to what this node says.
                termios.tcflush(self._file, termios.TCIFLUSH)
            return os.read(self._file, 100).decode("ascii", "ignore")
        except BlockingIOError:
            return ""
        except (OSError, termios.error):
            self.close()
            return ""

    @property
    def are_read(self) -> bool:
        """Whether there is a terminal that keys come from."""
        return self._before is not None

    def close(self) -> None:
        """Put the terminal back as it was."""
        if self._before is not None and self._has_terminal():
            termios.tcsetattr(self._file, termios.TCSANOW, self._before)
        self._before = None
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _has_terminal(self) -> bool:
        try:
            return self._file >= 0 and os.tcgetpgrp(self._file) == os.getpgrp()
        except OSError:
            return False
