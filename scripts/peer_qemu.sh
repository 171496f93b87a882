#!/bin/sh
# QEMU 11.1 to test against: Debian unstable's, in a folder of its own, run there with its own loader
# and libraries. Nothing else on the machine changes; paths, sockets and /dev/kvm work as usual.
#
#   peer_qemu.sh install       fetches it unless it is there (30 s; as root)
#   peer_qemu.sh [ARG ...]     runs qemu-system-x86_64 ARG ...
#
# PEER_QEMU_DIR   the folder; by default peer-qemu under $XDG_CACHE_HOME or ~/.cache
# PEER_QEMU       another qemu-system-x86_64 to be used instead
set -eu
folder=${PEER_QEMU_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/peer-qemu}
program=$folder/usr/bin/qemu-system-x86_64

fail() {
  echo "peer_qemu.sh: $*" >&2
  exit 1
}

install_packages() {
  [ -x "$program" ] && return
  [ "$(id -u)" = 0 ] || fail "cannot install into $folder: mmdebstrap needs root"
  command -v mmdebstrap >/dev/null || {
    apt-get update -qq
    apt-get install -qq --no-install-recommends mmdebstrap >/dev/null
  }
  # Complete or not there at all, also when somebody else installs at the same time.
  mkdir -p "$(dirname "$folder")"
  work=$(mktemp -d "$folder.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mmdebstrap --quiet --variant=minbase --include=qemu-system-x86,qemu-utils,seabios \
    --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Check-Valid-Until "false"' \
    sid "$work/root"
  [ -x "$program" ] && return
  rm -rf "$folder"
  mv "$work/root" "$folder"
}

if [ "${1-}" = install ]; then
  [ -n "${PEER_QEMU-}" ] || install_packages
  exit
fi
[ -z "${PEER_QEMU-}" ] || exec "$PEER_QEMU" "$@"
[ -x "$program" ] || fail "$program is missing: run 'sh scripts/peer_qemu.sh install' as root"
libraries=$folder/usr/lib/x86_64-linux-gnu
export QEMU_MODULE_DIR="$libraries/qemu"
exec "$folder/lib64/ld-linux-x86-64.so.2" \
  --library-path "$libraries:$libraries/pulseaudio:$folder/lib/x86_64-linux-gnu" \
  --argv0 qemu-system-x86_64 "$program" \
  -L "$folder/usr/share/qemu" -L "$folder/usr/share/seabios" "$@"
