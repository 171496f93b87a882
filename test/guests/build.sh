#!/bin/sh
# Assembles the test guests into build/guests/ with the system's as, ld and objcopy. Only what
# changed is built again. Each source says at its top what it does.
set -eu
cd "$(dirname "$0")"
out=../../build/guests
mkdir -p "$out"

# newer TARGET FILE...: whether TARGET exists and is newer than every FILE.
newer() {
  target=$1
  shift
  [ -e "$target" ] || return 1
  for prerequisite in "$@"; do
    [ "$target" -nt "$prerequisite" ] || return 1
  done
}

for source in *.S; do
  name=${source%.S}
  case $name in
    boot_sector) target=$out/$name.img ;;
    linux64) target=$out/$name.bzimage ;;
    *) target=$out/$name.elf ;;
  esac
  newer "$target" "$source" ./*.inc ./*.ld build.sh && continue
  # Under names of its own until it is complete, so that a build at the same time does no harm.
  work=$(mktemp -d "$out/$name.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  as --64 --fatal-warnings -I . -o "$work/object" "$source"
  case $target in
    *.elf) ld -T pvh.ld --build-id=none -z noexecstack -o "$work/image" "$work/object" ;;
    *)
      ld -T flat.ld --build-id=none -z noexecstack -o "$work/linked" "$work/object"
      objcopy -O binary "$work/linked" "$work/image"
      ;;
  esac
  mv "$work/image" "$target"
  rm -rf "$work"
done
