#!/usr/bin/env bash
# What `make test` and CI run, from an empty machine to the last test; stops at the first failure.
# --full: as `make test-full`, both cores on every server, and many seeds of the simulation.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/sections.sh
venv=.venv-test

tools/test_env.sh
tools/lint.sh "$venv"

section "Pure wheel"
"$venv/bin/python" tools/build_pure_wheel.py --out dist/pure --check

section "cargo test"
cargo test --quiet --workspace

# From the installed wheel: nothing of the source tree is on the path.
export HOTMESH_TEST_INSTALLED=1

# run_tests CORE [ARGUMENT]...
run_tests() {
    local core=$1
    shift
    section "pytest, HOTMESH_CORE=$core"
    HOTMESH_CORE=$core "$venv/bin/pytest" -n 2 --dist loadfile --durations 10 "$@" tests
}

# Servers once, with the Rust core; `make test-full` has both cores everywhere.
if [ "${1:-}" = --full ]; then
    export HOTMESH_TEST_SEEDS=${HOTMESH_TEST_SEEDS:-100}
fi
run_tests rust
if [ "${1:-}" = --full ]; then
    run_tests python
else
    run_tests python -k "not (postgres or redis or cluster or pgbouncer or pooler or nats)"
fi
