#!/bin/sh
# Write constraints.txt anew: the exact versions of everything that a fresh environment gets today.
#
#     make lock                        the newest of everything, torch as it is pinned now
#     make lock TORCH=2.14.0           a new torch
#     make lock PYTHON=python3.11      run it with the oldest Python that is supported: what installs there installs
#                                      on the newer ones too, seldom the other way round
set -eu
cd "$(dirname "$0")/.."

python=${1:-python3}
# torch comes first and by its version: asked for the newest, pip may fetch gigabytes of CUDA.
torch=${2:-$(sed -n 's/^torch==//p' constraints.txt)}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
pip="$work/venv/bin/python -m pip --disable-pip-version-check"
$pip install "torch==$torch"
$pip install --editable '.[test]'
$pip install --no-deps --ignore-requires-python --no-warn-conflicts --requirement scripts/without_dependencies.txt

{
    echo "# Exact versions, for every platform: pip takes from this list what it needs. Written by \`make lock\`."
    # 2.13.0+cpu is how one platform's build calls itself: pin 2.13.0.
    $pip freeze --exclude-editable | sed 's/+[^ ;]*$//'
} > "$work/constraints.txt"
mv "$work/constraints.txt" constraints.txt
