#!/usr/bin/env bash
# All that only a GPU can show, in under 8 minutes: the tests that need one, and what speed and memory are there.
#
#     bash benchmarks/on_gpu.sh RESULTS [WHEELS]
#
# Leaves performance.md (the tables, also printed at the end), results.jsonl (every figure) and log.txt in the folder
# RESULTS. Needs a Python with torch and what requirements.txt names; packages that are missing are installed, for this
# call alone, from the wheels in the folder WHEELS. No network, no git. In the environment:
#
#     PYTHON   the interpreter (python3)
#     LIMIT    seconds for all of it (460)
#     DEVICE   cuda; cpu rehearses every part on the smallest sizes, on any machine
set -uo pipefail
results=${1:?give a folder for the results} wheels=${2:-} python=${PYTHON:-python3}
mkdir -p "$results" || exit
results=$(cd "$results" && pwd) || exit
if [ -n "$wheels" ]; then
    site=$(mktemp -d) || exit
    trap 'rm -rf "$site"' EXIT
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$wheels"/*.whl ||
        echo "some of $wheels could not be installed: going on without" >&2
    export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
# Deterministic matrix products need the first; kernels of replayed graphs are lost to a profiler without the others.
export CUBLAS_WORKSPACE_CONFIG=:4096:8 DISABLE_CUPTI_LAZY_REINIT=1 TEARDOWN_CUPTI=0
"$python" benchmarks/on_gpu.py "$results" --device "${DEVICE:-cuda}" --limit "${LIMIT:-460}"
