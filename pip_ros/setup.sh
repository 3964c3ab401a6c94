#!/bin/sh
# Find a Python for the project and let it prepare the machine: `make setup` calls this.
# VLA_PYTHON names the interpreter to take instead of the one found here.
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1

# An activated .venv of this checkout must not be taken for the system's Python.
PATH=$(printf %s "$PATH" | tr ':' '\n' | grep -vxF "$root/.venv/bin" | paste -sd: -)
export PATH

works() { "$1" -I -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null; }

python=${VLA_PYTHON:-}
if [ -z "$python" ]; then
    # A sourced ROS brings rclpy for the system's Python alone. Then what .venv was made from, then by preference.
    if [ -n "${ROS_DISTRO:-}" ] && python3 -c 'import rclpy, launch' 2>/dev/null; then
        python=python3
    elif works "$root/.venv/bin/python"; then
        python=$root/.venv/bin/python
    else
        for name in python3.11 python3.12 python3.10 python3; do
            if works "$name"; then python=$name; break; fi
        done
    fi
    if [ -z "$python" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "setup: no Python 3.10 to 3.12 found; installing Debian's python3"
        { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3; } \
            >/dev/null 2>&1
        if works python3; then python=python3; fi
    fi
fi
if [ -z "$python" ]; then
    echo "setup: no Python 3.10, 3.11 or 3.12 here; install one with its -venv and -dev packages, for instance" \
        "apt-get install python3 python3-venv python3-dev, or name it with VLA_PYTHON=/path/to/python3.11." >&2
    exit 1
fi
if ! works "$python"; then
    echo "setup: $python is not Python 3.10, 3.11 or 3.12; name one that is with VLA_PYTHON=/path/to/python3.11." >&2
    exit 1
fi
# -E and -s keep PYTHONPATH and the user's packages away.
exec "$python" -EsB "$root/pip_ros/setup_env.py"
