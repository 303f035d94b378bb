#!/usr/bin/env bash
# Builds the kernels of FlowNet2's operations, for the CPU and (where nvcc is there) for CUDA; no GPU need be in sight.
# Everything works without them, in plain PyTorch. With --cpu CUDA is left out.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(cd "$here/../../../.." && pwd)

# The Python whose packages this one lies among, if it is installed; the active environment's; the repository's own; the
# system's: the first that has torch.
candidates=("${VIRTUAL_ENV:+$VIRTUAL_ENV/bin/python}" "${CONDA_PREFIX:+$CONDA_PREFIX/bin/python}"
    "$root/.venv/bin/python" python3 python)
remedy="activate the environment that has it"
case $root in
    */lib/python*/*-packages) candidates=("${root%/lib/python*}/bin/python3" "${candidates[@]}") ;;
    *) remedy+=", or run 'make install' in $root" ;;
esac
for python in "${candidates[@]}"; do
    if "${python:-false}" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)' \
        2> /dev/null; then
        cd "$root"
        exec "$python" -m timecyclegan.models.networks.flownet2_pytorch.ops.build "$@"
    fi
done
echo "error: no Python with torch: $remedy" >&2
exit 2
