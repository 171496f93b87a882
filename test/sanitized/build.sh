#!/bin/sh
# Builds the programs of this folder, and the C library that they use, with ThreadSanitizer into
# build/sanitized/thread. What is newer than its sources stays.
set -eu
cd "$(dirname "$0")/../.."
out=build/sanitized/thread
# ThreadSanitizer does not follow fences; those of the library order a store before a load, which is no
# synchronisation that it would have to know of.
flags="-fsanitize=thread -Wno-tsan"
CFLAGS="-O1 $flags" sh ffi/build.sh "$out/libmolt.so"
for source in test/sanitized/*.c; do
  program=$out/$(basename "$source" .c)
  for prerequisite in "$source" test/sanitized/support/* test/sanitized/build.sh "$out/libmolt.so"; do
    if [ ! -e "$program" ] || [ "$prerequisite" -nt "$program" ]; then
      ${CC:-cc} -std=gnu11 -O1 -g -Wall -Wextra -Werror -pthread $flags -o "$program.$$" \
        "$source" test/sanitized/support/*.c -L"$out" -l:libmolt.so -Wl,-rpath,'$ORIGIN' -ldl
      mv "$program.$$" "$program"
      break
    fi
  done
done
