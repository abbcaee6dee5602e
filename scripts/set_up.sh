#!/bin/sh
# Make .venv ready: create it where there is none, then install the pinned versions.
# make calls this when pyproject.toml or constraints.txt changed since the last time, or when another PYTHON is named.
#
#     scripts/set_up.sh [python]
set -eu
cd "$(dirname "$0")/.."

named=${1:-}
oldest=$(sed -n 's/^requires-python = ">=\([0-9.]*\)"$/\1/p' pyproject.toml)

fail() {
    echo >&2
    printf '%s\n' "$@" >&2
    exit 1
}

version() { # nothing if there is no such Python, or only a stand-in that does not run
    "$1" -c 'import platform; print(platform.python_version())' 2>/dev/null || true
}

new_enough() {
    "$1" -c "import sys; sys.exit(sys.version_info < tuple(map(int, '$oldest'.split('.'))))" 2>/dev/null
}

if [ -n "$named" ] || ! new_enough .venv/bin/python; then
    python=
    for candidate in ${named:-python3 python3.13 python3.12 python3.11}; do
        if new_enough "$candidate"; then
            python=$candidate
            break
        fi
    done
    if [ -z "$python" ]; then
        came=$(version "${named:-python3}")
        fail "Python $oldest or newer is needed; ${named:-python3} is ${came:-not there}." \
            "Install one and name it: make lab PYTHON=python3.12"
    fi
    if [ "$(version "$python")" != "$(version .venv/bin/python)" ]; then
        "$python" -c 'import ensurepip, venv' 2>/dev/null || fail \
            "$python ($(version "$python")) cannot make a virtual environment: its venv module is not installed." \
            "On Debian and Ubuntu: sudo apt install python3-venv"
        echo "Creating .venv with $python ($(version "$python"))."
        "$python" -m venv --clear .venv
    fi
fi

pip() { .venv/bin/python -m pip --disable-pip-version-check "$@" ${CI:+--quiet}; }
# torch comes first and by its version: left to choose, pip may fetch the newest with gigabytes of CUDA.
pip install "torch==$(sed -n 's/^torch==//p' constraints.txt)" --constraint constraints.txt
pip install --editable '.[test]' --constraint constraints.txt
pip install --no-deps --ignore-requires-python --no-warn-conflicts --requirement scripts/without_dependencies.txt \
    --constraint constraints.txt
# A calm JupyterLab, offline too: no question about news, no look for updates. It is written into .venv, nowhere else.
.venv/bin/python -m jupyter labextension disable --log-level=ERROR --level=sys_prefix @jupyterlab/apputils-extension:announcements
# Widgets are saved with their notebook: opened again without a kernel, a player still plays.
mkdir -p .venv/share/jupyter/lab/settings
echo '{"@jupyter-widgets/jupyterlab-manager:plugin": {"saveState": true}}' > .venv/share/jupyter/lab/settings/overrides.json
