#!/bin/sh
# Builds the C library into build/libmolt.so. CC and CFLAGS may be set as usual.
set -eu
cd "$(dirname "$0")/.."
mkdir -p build
# nodelete: idle threads of the library's outlive whoever loaded it.
out=build/libmolt.so
for source in ffi/*.c ffi/*.h ffi/build.sh; do
  if [ ! -e "$out" ] || [ "$source" -nt "$out" ]; then
    ${CC:-cc} -std=c11 -O2 -g -Wall -Wextra -Wconversion -Wsign-conversion -Werror \
      -fPIC -fvisibility=hidden -pthread ${CFLAGS:-} -shared -Wl,-z,nodelete -o "$out.$$" ffi/*.c
    mv "$out.$$" "$out"
    break
  fi
done
