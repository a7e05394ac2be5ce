#!/usr/bin/env bash
# What `make test` and CI run, from an empty machine to the last test; stops at the first failure.
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
for core in rust python; do
    section "pytest, HOTMESH_CORE=$core"
    # What fails beside other tests on a busy machine must at least pass alone, and is named.
    HOTMESH_CORE=$core "$venv/bin/pytest" -n 2 --dist loadfile tests || {
        section "Again, alone: what failed"
        HOTMESH_CORE=$core "$venv/bin/pytest" --last-failed --last-failed-no-failures none tests
    }
done
