# Headings for the output of long scripts, with the seconds since the outermost began; sourced.
export STARTED_S=${STARTED_S:-$(date +%s)}
section() { printf '\n=== %s (%d s) ===\n' "$1" $(($(date +%s) - STARTED_S)); }
