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

python -m pytest -m ros --durations=10
nodes=$?
wait "$others"
status=$?
trap 'rm -f "$report"' EXIT
cat "$report"
[ "$nodes" -eq 0 ] && exit "$status"
exit "$nodes"
