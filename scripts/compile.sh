#!/bin/sh
# Compiles molt into one file with the C library inside. Usage: scripts/compile.sh [OUTPUT]
# (default dist/molt). COMPILE_DENO names another deno to compile with; see compile_kit.sh.
set -eu
cd "$(dirname "$0")/.."
output=${1:-dist/molt}
sh ffi/build.sh
mkdir -p "$(dirname "$output")"
commit=$(git rev-parse --short=10 HEAD 2>/dev/null || echo unknown)
if [ -n "$(git status --porcelain 2>/dev/null)" ]; then commit=$commit+; fi
echo "$commit" > build/build-id
# The one permission: everything molt does to the host goes through its C library. See docs/binary.md.
"${COMPILE_DENO:-deno}" compile --quiet --no-check --allow-ffi --include build/libmolt.so \
  --include build/build-id \
  --output "$output" main.ts
