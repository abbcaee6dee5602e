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
# torch is named, and by its version: asked for the newest, pip may fetch gigabytes of CUDA.
torch=${2:-$(sed -n 's/^torch==//p' constraints.txt)}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
pip="$work/venv/bin/python -m pip --disable-pip-version-check"
$pip install --upgrade pip
$pip install --no-compile "torch==$torch" --editable '.[test]'
for file in scripts/without_dependencies/*.txt; do
    $pip install --no-compile --no-deps --ignore-requires-python --no-warn-conflicts --requirement "$file"
done

{
    echo "# Exact versions, for every platform: pip takes from this list what it needs. Written by \`make lock\`."
    # 2.13.0+cpu is how one platform's build calls itself: pin 2.13.0.
    # With pip itself, which installs the rest, but without what else it thinks of as its own.
    $pip freeze --all --exclude-editable | sed 's/+[^ ;]*$//' | grep -v -E '^(setuptools|wheel)=='
} > "$work/constraints.txt"
mv "$work/constraints.txt" constraints.txt
