#!/bin/sh
# machine.sh NAME [OPTION ...]: the machine of the examples in docs/, which can be updated in every way. Its
# guest, one of the tests', prints a heartbeat and how much of its memory is as it should be.
#
# Its QMP socket is vm/NAME.qmp, its pid file vm/NAME.pid; what the guest prints is added to vm/console.
# OPTIONs are added to the machine's own.
#
#   MOLT  the program; default: dist/molt, which `deno task compile` makes
#   RAM   where the guest's memory is, without id and size; default: a memfd
set -eu
cd "$(dirname "$0")/.."
name=$1
shift
mkdir -p vm
exec "${MOLT:-dist/molt}" -M microvm,memory-backend=ram0,aux-ram-share=on -accel kvm -cpu host \
  -smp 2 -m 64M -object "${RAM:-memory-backend-memfd},share=on,id=ram0,size=64M" \
  -kernel build/guests/heartbeat.elf -append 'memory=16 rate=20' -nodefaults -display none \
  -chardev file,id=console,path=vm/console,append=on -serial chardev:console \
  -qmp "unix:vm/$name.qmp,server=on,wait=off" -pidfile "vm/$name.pid" "$@"
