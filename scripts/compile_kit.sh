#!/bin/sh
# Makes `deno compile` possible where Deno's own download site cannot be reached: fetches from the npm
# registry a Deno and the base binary of the same version that compiled programs start with, and prints
# two shell lines to eval:
#
#   eval "$(scripts/compile_kit.sh)"      sets COMPILE_DENO and DENORT_BIN
#
# The base binary is the front part of a program that was compiled with that Deno and published on npm:
# everything up to the end of its ELF section headers. Where Deno's site can be reached none of this is
# needed. The folder is $COMPILE_KIT_DIR, by default molt/compile-kit in the user's cache folder.
set -eu
kit=${COMPILE_KIT_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/molt/compile-kit}
deno_package=@deno/linux-x64-glibc@2.4.2
program_package=@vltpkg/cli-linux-x64@0.0.0-18
if [ ! -x "$kit/deno" ] || [ ! -x "$kit/denort" ]; then
  mkdir -p "$kit"
  work=$(mktemp -d "$kit/work.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  for package in "$deno_package" "$program_package"; do
    (cd "$work" && npm pack --silent "$package" >/dev/null)
  done
  mkdir "$work/deno" "$work/program"
  tar -xzf "$work"/deno-*.tgz -C "$work/deno"
  tar -xzf "$work"/vltpkg-*.tgz -C "$work/program"
  program=$work/program/package/vlt
  # ELF header: section headers' offset at 0x28 (8 bytes), entry size and count at 0x3a (2 bytes each).
  field() { od -An -t "u$2" -j "$1" -N "$2" "$program" | tr -d ' '; }
  length=$(($(field 40 8) + $(field 58 2) * $(field 60 2)))
  head -c "$length" "$program" > "$work/denort"
  chmod +x "$work/denort" "$work/deno/package/deno"
  mv "$work/denort" "$kit/denort"
  mv "$work/deno/package/deno" "$kit/deno"
fi
echo "export COMPILE_DENO='$kit/deno' DENORT_BIN='$kit/denort'"
