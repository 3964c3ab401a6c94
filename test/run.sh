#!/usr/bin/env bash
# Every test, in an activated shell. Those of nodes run one by one: on a starved machine a late
# message looks like a fault. The others run beside them on what that leaves of the cores
# (test/conftest.py) and report after them.
set -u
cd "$(dirname "$0")/.." || exit
report=$(mktemp) || exit

python -m pytest -m "not ros" --numprocesses=auto --maxprocesses=4 --dist=loadgroup \
    --durations=5 >"$report" 2>&1 &
others=$!
# Started in the background, it does not hear of Ctrl-C.
trap 'kill "$others"; rm -f "$report"' EXIT
trap 'exit 130' INT TERM

# Once more for one that fails, as colcon's --retest-until-pass does in ROS's own builds, and the report says so: a
# machine whose cores are others' for some seconds fails one of these tests now and then, a bug both times.
again=(--reruns 1 -rR)

# A process of its own: at the end of a long one, an arm in it once and again never became active, for
# a reason that nobody has found yet.
alone=test/nodes/test_policy_bad_input.py
python -m pytest -m ros "${again[@]}" --durations=10 --ignore="$alone"
nodes=$?
python -m pytest -m ros "${again[@]}" "$alone" || nodes=$?
wait "$others"
status=$?
trap 'rm -f "$report"' EXIT
cat "$report"
[ "$nodes" -eq 0 ] && exit "$status"
exit "$nodes"
