#!/bin/sh
# Runs test/binary: compiles molt for real, with the kit of compile_kit.sh, and runs the result alone.
set -eu
cd "$(dirname "$0")/.."
eval "$(sh scripts/compile_kit.sh)"
export DENO="${1:-deno}"
"$DENO" test -A --quiet test/binary
