#!/usr/bin/env bash
# Make what the tests run in: servers' binaries, the release wheel in dist/, and a clean virtual
# environment (.venv-test) with that wheel and the test tools.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/sections.sh
python=${PYTHON:-python3}
venv=.venv-test

section "Packages"
tools/ensure_packages.sh cargo:cargo cc:gcc \
    postgres:postgresql pgbouncer:pgbouncer redis-server:redis-server nats-server:nats-server \
    openssl:openssl
for component in clippy rustfmt; do
    cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 || rustup component add "$component"
done

section "Release wheel"
tools/make_venv.sh "$python" "$venv"
rm -rf dist
"$venv/bin/python" -m pip wheel --quiet --no-deps --wheel-dir dist .
wheel=$(ls dist/hotmesh-*.whl)
case $wheel in
*-cp311-abi3-*) echo "$wheel" ;;
*)
    echo "Not an abi3 wheel for CPython 3.11 and newer: $wheel" >&2
    exit 1
    ;;
esac

section "Clean environment"
"$venv/bin/python" -m pip install --quiet "$wheel[all]" --group dev
"$venv/bin/python" -m pip list --format freeze | grep -iE '^(hotmesh|pytest|asyncpg|redis|nats-py)='
