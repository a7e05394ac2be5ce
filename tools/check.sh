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

section "README's install line"
tools/try_install.sh "${PYTHON:-python3}" # with the wheel of dist/ and the one of dist/pure there

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

# Servers once, with the Rust core, and tests of one core beside the same core;
# `make test-full` has both cores everywhere, and more of everything.
if [ "${1:-}" = --full ]; then
    export HOTMESH_TEST_SEEDS=${HOTMESH_TEST_SEEDS:-100} HOTMESH_TEST_PROFILE=full
    export HOTMESH_FAULT_WORKFLOWS=40
    run_tests rust -m "not soak"
    run_tests python -m "not soak"
else
    run_tests rust -k "not (core and python)"
    servers="postgres or redis or cluster or pgbouncer or pooler or nats"
    run_tests python --ignore tests/tidy --ignore tests/simulation/test_mutants.py \
        -k "not ($servers) and not (core and rust)"
fi
