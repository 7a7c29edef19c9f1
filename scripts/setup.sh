#!/bin/sh
# Choose a Python for the project's environment and hand over to setup.py. Called by `make setup`.
#
# PYTHON=/path/to/python overrides the choice. An environment that exists and works is kept.
cd "$(dirname "$0")/.." || exit 1

is_recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
can_make_environments() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

recent=
for candidate in ${PYTHON:-.venv/bin/python python3 python3.11 python3.12 python3.13 python3.14}; do
    is_recent "$candidate" || continue
    recent=$candidate
    can_make_environments "$candidate" && exec "$candidate" scripts/setup.py
done

if [ -n "$recent" ]; then
    version=$("$recent" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "$recent has no module venv or ensurepip. On Debian and Ubuntu: sudo apt install python$version-venv" >&2
else
    echo "Python 3.11 or newer was not found${PYTHON:+ as PYTHON=$PYTHON}." \
        "On Debian 12 and Ubuntu 24.04: sudo apt install python3 python3-venv" >&2
fi
exit 1
