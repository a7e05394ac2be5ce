#!/usr/bin/env bash
# lint.sh VENV: linters and type checkers, with the tools and the hotmesh installed in VENV.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/sections.sh
venv=$1

section "ruff"
"$venv/bin/ruff" check .
"$venv/bin/ruff" format --check .

section "rustfmt"
cargo fmt --check

section "clippy"
PYO3_PYTHON=$PWD/$venv/bin/python cargo clippy --quiet --all-targets -- -D warnings

section "pyright"
"$venv/bin/pyright" --pythonpath "$venv/bin/python"

section "stubtest"
"$venv/bin/python" -m mypy.stubtest hotmesh._core
