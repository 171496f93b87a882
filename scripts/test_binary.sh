#!/bin/sh
# Runs test/binary: compiles molt for real, with the kit of compile_kit.sh, and runs the result alone.
set -eu
cd "$(dirname "$0")/.."
eval "$(sh scripts/compile_kit.sh)"
deno=${1:-deno}
"$deno" test -A --quiet test/binary
