#!/usr/bin/env bash
# ensure_packages.sh [--always PACKAGE] BINARY:PACKAGE...
# Install the Debian packages whose binaries are missing, with sudo when not root.
set -euo pipefail
missing=()
if [ "${1:-}" = --always ]; then
    missing+=("$2")
    shift 2
fi

is_installed() {
    command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] ||
        compgen -G "/usr/lib/postgresql/*/bin/$1" >/dev/null
}

for pair in "$@"; do
    is_installed "${pair%%:*}" || missing+=("${pair##*:}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
    echo "Not installed, and there is no apt-get to do it: ${missing[*]}" >&2
    exit 1
fi
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
echo "Installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
