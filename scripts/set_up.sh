#!/bin/sh
# Find a Python that is new enough, and hand over to scripts/set_up.py, which makes .venv ready with it.
# make calls this when something is to be installed, when that changed since the last time, or when another PYTHON is named.
#
#     scripts/set_up.sh purpose [python]
set -eu
cd "$(dirname "$0")/.."

purpose=$1
named=${2:-}
oldest=$(sed -n 's/^requires-python = ">=\([0-9.]*\)"$/\1/p' pyproject.toml)

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
        echo >&2
        echo "Python $oldest or newer is needed; ${named:-python3} is ${came:-not there}." >&2
        echo "Install one and name it: make lab PYTHON=python3.12" >&2
        exit 1
    fi
    if [ "$(version "$python")" != "$(version .venv/bin/python)" ]; then
        exec "$python" scripts/set_up.py "$purpose" --fresh
    fi
fi
exec .venv/bin/python scripts/set_up.py "$purpose"
