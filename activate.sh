# shellcheck shell=bash
# Enter the project's environment: `source activate.sh`, in bash or zsh, from any folder.
# After it, `ros2 launch vla_ros play.launch.py` works as on any ROS machine.

_vla_activate() {
    local root=$1 venv=$1/.venv part libraries
    if [ ! -x "$venv/bin/python" ] || [ ! -f "$venv/.setup/ros" ]; then
        echo "activate.sh: $venv is not set up; run \`make setup\` in $root first." >&2
        return 1
    fi
    # shellcheck disable=SC1091
    . "$venv/bin/activate"
    _vla_prepend AMENT_PREFIX_PATH "$venv"
    if [ "$(cat "$venv/.setup/ros")" = wheels ]; then
        # What the wheels' own bootstrap would add at every start of Python by starting it twice.
        libraries=$venv/lib
        for part in "$venv"/lib/python3.*/site-packages/ros_*.libs; do
            libraries=$libraries:$part
        done
        _vla_prepend LD_LIBRARY_PATH "$libraries"
        export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1 ROS_DISTRO=jazzy ROS_VERSION=2
        # Stay on this machine unless told otherwise: what moves an arm should not listen to a whole network.
        export ROS_AUTOMATIC_DISCOVERY_RANGE=${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}
        # Read by Fast DDS 3 alone. Jazzy's 2.14 knows FASTRTPS_DEFAULT_PROFILES_FILE only; with our quick discovery it was seen
        # to hang where a node is destroyed while another is being found (DomainParticipant::set_listener).
        export FASTDDS_DEFAULT_PROFILES_FILE=${FASTDDS_DEFAULT_PROFILES_FILE:-$root/config/fastdds.xml}
    else
        _vla_prepend LD_LIBRARY_PATH "$venv/lib"
    fi
    # Mesa's software renderer draws small images fastest without worker threads.
    export LP_NUM_THREADS=${LP_NUM_THREADS:-0}
}

# Put a value in front of a colon-separated variable, once.
_vla_prepend() {
    local old
    eval "old=\${$1:-}"
    case ":$old:" in
        *":$2:"*) ;;
        *) export "$1=$2${old:+:$old}" ;;
    esac
}

if [ -n "${ZSH_VERSION:-}" ]; then
    eval '_vla_root=${${(%):-%x}:A:h}'
else
    _vla_root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
fi
_vla_activate "$_vla_root"
_vla_status=$?
unset _vla_root
unset -f _vla_activate _vla_prepend
# The last command's status is that of `source activate.sh`.
[ "$_vla_status" -eq 0 ]
