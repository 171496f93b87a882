#!/bin/sh
# build.sh [FILE]: builds the C library into FILE, by default build/libmolt.so, if a source is newer. CC and
# CFLAGS may be set as usual; a library with other flags belongs into a file of its own.
set -eu
cd "$(dirname "$0")/.."
# nodelete: idle threads of the library outlive whoever loaded it.
out=${1:-build/libmolt.so}
mkdir -p "$(dirname "$out")"
for source in ffi/*.c ffi/*.h ffi/build.sh; do
  if [ ! -e "$out" ] || [ "$source" -nt "$out" ]; then
    ${CC:-cc} -std=c11 -O2 -g -Wall -Wextra -Wconversion -Wsign-conversion -Werror \
      -fPIC -fvisibility=hidden -pthread ${CFLAGS:-} -shared -Wl,-z,nodelete -o "$out.$$" ffi/*.c
    mv "$out.$$" "$out"
    break
  fi
done
