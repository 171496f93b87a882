#!/bin/sh
# Compiles molt into one file with the C library inside. Usage: scripts/compile.sh [OUTPUT]
# (default dist/molt). DENO names the deno to use, COMPILE_DENO another one for the last step. Without
# that, and where the deno's base binary cannot be fetched, compile_kit.sh brings a pair from npm.
#
# The modules are bundled first: a live update waits for the program's start, and hundreds of modules
# take several times as long to load as a few.
set -eu
cd "$(dirname "$0")/.."
output=${1:-dist/molt}
deno=${DENO:-deno}
sh ffi/build.sh
rm -rf build/bundle
mkdir -p build/bundle "$(dirname "$output")"
"$deno" bundle --quiet --platform deno --code-splitting --outdir build/bundle main.ts
cp build/libmolt.so build/bundle/
commit=$(git rev-parse --short=10 HEAD 2>/dev/null || echo unknown)
if [ -n "$(git status --porcelain 2>/dev/null)" ]; then commit=$commit+; fi
echo "$commit" > build/bundle/build-id
# The one permission: everything molt does to the host goes through its C library. See docs/binary.md.
# The bundle has all that it needs: with the project's configuration Deno would embed its packages once more,
# 8 MB that every start reads and the process keeps.
# No code cache: Deno keeps it in the temporary folder under the program's name, where anybody may put one.
# V8's heap: young objects get 1 MB instead of up to 16, and the program says when it suits to collect
# (src/process/garbage.ts).
compile() {
  "$1" compile --quiet --no-check --allow-ffi --no-config --no-npm --no-code-cache \
    --v8-flags=--max-semi-space-size=1,--expose-gc --include build/bundle --output "$output" build/bundle/main.js
}

if [ -n "${COMPILE_DENO-}" ]; then
  compile "$COMPILE_DENO"
  exit
fi
said=$(mktemp)
trap 'rm -f "$said"' EXIT
if compile "$deno" 2>"$said"; then exit; fi
if ! grep -q 'dl\.deno\.land\|denort' "$said"; then
  cat "$said" >&2
  exit 1
fi
echo "compile.sh: Deno's download site cannot be reached: compiling with Deno 2.4.2 from npm instead" >&2
kit=$(sh scripts/compile_kit.sh)
eval "$kit"
compile "$COMPILE_DENO"
