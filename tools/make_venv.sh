#!/usr/bin/env bash
# make_venv.sh PYTHON DIRECTORY: make a virtual environment with a current pip.
# Debian ships Python without the part that does this; it is installed when missing.
set -euo pipefail
python=$1 directory=$2
here=$(dirname "$0")

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    found=$("$python" --version 2>&1 || true)
    echo "Python 3.11 or newer is needed ($python is: $found); name one with make PYTHON=..." >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    "$here/ensure_packages.sh" --always python3-venv
fi
rm -rf "$directory"
"$python" -m venv "$directory"
"$directory/bin/python" -m pip install --quiet --upgrade 'pip>=25.1' # the first with --group
