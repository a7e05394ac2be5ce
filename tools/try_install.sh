#!/usr/bin/env bash
# try_install.sh PYTHON: run the README's line that installs what `make build` has left in dist/, in a
# clean environment and without cargo.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
line=$(grep -o '`pip install dist/[^`]*`' README.md | tr -d '`')
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
tools/make_venv.sh "$python" "$folder/venv"
# Unquoted: the shell looks for the wheels, as a person's does.
PATH=$folder/venv/bin:/usr/bin:/bin CARGO=/bin/false "$folder/venv/bin/python" -m $line --quiet
"$folder/venv/bin/hotmesh" core-info
