# virtio_blk: a PVH guest that drives a virtio-blk device, to verify what it stores or to measure it.
#
# Command line, numbers decimal:
#   size=BYTES    of a request, a multiple of 512 up to 131072; default 4096
#   depth=N       requests at a time, 1 to 16; default 1
#   span=MIB      of the disk that is used; default 16
#   events=1      uses the event index      indirect=1   puts descriptors into indirect tables
#   irq=1         sleeps until the device interrupts; otherwise it watches the used ring
#   gsi=N         the device's interrupt, for irq=1
#
#   verify=1      each of `depth` workers writes a block, reads it back, compares, and goes on to its
#                 next; pass after pass, with other content in each. Prints every 100 ms
#                   blk 000001 writes=N reads=N errors=N
#                 and for errors  BLOCK ERROR sector=N expected=HEX found=HEX  or  status=N
#                 `pause=1`: waits for a byte before it begins
#   otherwise     on each byte received on the serial line, does what was asked for and prints
#                   done requests=N ns=N errors=N
#     op=0|1        reads or writes     requests=N   default 1000     random=1   anywhere in the span
#     reset=1       resets the device 100 ms after the first requests, and prints  device reset
#
# Prints first:  virtio_blk version=N sectors=N

.include "pvh.inc"
.include "text.inc"
.include "clock.inc"
.include "serial.inc"
.include "virtio.inc"

.set VECTOR_DEVICE, 0x51
.set IOAPIC2, 0xfec10000
.set MAX_DEPTH, 16
.set MAX_SIZE, 131072
.set DESCRIPTORS, 3              # of a request: header, data, status

# A worker: r15 points to it.
.set WORKER_NUMBER, 0
.set WORKER_HEADER, 16           # of the request: type, reserved, sector
.set WORKER_STATUS, 32
.set WORKER_BLOCK, 40
.set WORKER_PASS, 48
.set WORKER_READING, 56
.set WORKER_TABLE, 64            # indirect descriptors
.set WORKER_SHIFT, 7
# Its buffers: what was written, what was read.
.set BUFFERS, 0x1000000
.set BUFFER_SHIFT, 18

guest_main:
    xorl %edi, %edi
    call set_up_clock
    movl $VECTOR_DEVICE, %ecx
    movl $device_interrupt, %eax
    movl $0x8e00, %edx
    call set_gate
    movl $main, %eax
    jmp enter_ring3

main:
    call measure_tsc
    call set_up_serial
    call read_command_line
    movl $2, %eax
    call virtio_find
    testl %eax, %eax
    jz no_device
    movl %eax, registers
    movl %eax, %ebx
    movl $1 << 9, %ecx           # flush, so that the device may cache
    cmpl $0, events
    je 1f
    orl $VIRTIO_F_EVENT_INDEX, %ecx
1:  cmpl $0, indirect
    je 2f
    orl $VIRTIO_F_INDIRECT, %ecx
2:  call virtio_begin
    movl $queue, %edx
    xorl %ecx, %ecx
    call virtio_queue
    call virtio_ready
    cmpl $0, irq
    je 3f
    call route_interrupt
    jmp 4f
3:  movw $1, queue + QUEUE_AVAILABLE     # no interrupts
    movw $0x8000, queue + QUEUE_USED_EVENT
4:  call print_ready
    xorl %eax, %eax              # workers and their descriptors
5:  movl %eax, %r15d
    shll $WORKER_SHIFT, %r15d
    addl $workers, %r15d
    movl %eax, WORKER_NUMBER(%r15)
    movl %eax, WORKER_BLOCK(%r15)
    movl $1, WORKER_PASS(%r15)
    incl %eax
    cmpl depth, %eax
    jb 5b
    cmpl $0, verify
    jne verify_main

# Waits for a byte, measures, prints.
measure_main:
    call wait_for_byte
    movl $0, errors
    movl $0, started
    movl $0, finished
    call read_tsc
    movq %rax, begin
    movl depth, %ebp
1:  decl %ebp
    call nth_worker
    call measure_next
    testl %ebp, %ebp
    jnz 1b
    call notify
    cmpl $0, reset
    jne reset_device
2:  call complete
    jc 3f
    incl finished
    call measure_next
    jmp 2b
3:  call notify
    movl finished, %eax
    cmpl requests, %eax
    jae 4f
    call wait_for_device
    jmp 2b
4:  call read_tsc
    subq begin, %rax
    call tsc_to_nanoseconds
    pushq %rax
    movl $line, %edi
    movl $text_done, %esi
    call put_string
    movl finished, %eax
    call put_decimal
    movl $text_ns, %esi
    call put_string
    popq %rax
    call put_decimal
    movl $text_errors, %esi
    call put_string
    movl errors, %eax
    call put_decimal
    call send_line
    jmp measure_main

# Leaves the device with its requests.
reset_device:
    imulq $100, tsc_khz, %rcx
    addq begin, %rcx
1:  pause
    call read_tsc
    cmpq %rcx, %rax
    jb 1b
    movl registers, %ebx
    movl $0, VIRTIO_STATUS(%rbx)
    movl $line, %edi
    movl $text_reset, %esi
    call put_string
    call send_line
    jmp measure_main

# Has the worker r15 do the next request, if there is one.
measure_next:
    movl started, %eax
    cmpl requests, %eax
    jae 9f
    incl started
    movl blocks, %ecx
    cmpl $0, random
    je 1f
    movl seed, %eax              # xorshift32
    movl %eax, %edx
    shll $13, %edx
    xorl %edx, %eax
    movl %eax, %edx
    shrl $17, %edx
    xorl %edx, %eax
    movl %eax, %edx
    shll $5, %edx
    xorl %edx, %eax
    movl %eax, seed
1:  xorl %edx, %edx
    divl %ecx
    movl %edx, WORKER_BLOCK(%r15)
    movl op, %eax
    xorl $1, %eax
    movl %eax, WORKER_READING(%r15)
    jmp submit
9:  ret

verify_main:
    cmpl $0, pause
    je 1f
    call wait_for_byte
1:  call read_tsc
    movq %rax, next_line
    movl depth, %ebp
2:  decl %ebp
    call nth_worker
    call fill
    call submit
    testl %ebp, %ebp
    jnz 2b
    call notify
3:  call complete
    jc 5f
    call verify_step
    jmp 3b
5:  call notify
    call read_tsc
    cmpq next_line, %rax
    jb 6f
    imulq $100, tsc_khz, %rcx
    addq %rcx, %rax
    movq %rax, next_line
    call print_progress
    jmp 3b
6:  call wait_for_device
    jmp 3b

# What the worker r15 does after a request.
verify_step:
    cmpl $0, WORKER_READING(%r15)
    jne 1f
    incq writes
    movl $1, WORKER_READING(%r15)
    jmp submit
1:  incq reads
    call compare
    movl $0, WORKER_READING(%r15)
    movl depth, %eax
    addl %eax, WORKER_BLOCK(%r15)
    movl WORKER_BLOCK(%r15), %eax
    cmpl blocks, %eax
    jb 2f
    movl WORKER_NUMBER(%r15), %eax
    movl %eax, WORKER_BLOCK(%r15)
    incl WORKER_PASS(%r15)
2:  call fill
    jmp submit

# The worker's block in this pass: pass << 48 | block << 20 | offset, word by word.
fill:
    call buffer
    movl size, %ecx
    shrl $3, %ecx
    movl WORKER_PASS(%r15), %eax
    shlq $48, %rax
    movl WORKER_BLOCK(%r15), %edx
    shlq $20, %rdx
    orq %rdx, %rax
1:  movq %rax, (%rdi)
    addq $8, %rax
    addq $8, %rdi
    decl %ecx
    jnz 1b
    call buffer
    movl size, %ecx              # what is read must come from the device
    shrl $3, %ecx
    addl $MAX_SIZE, %edi
    orq $-1, %rax
    rep stosq
    ret

compare:
    call buffer
    movl size, %ecx
    shrl $3, %ecx
1:  movq (%rdi), %rax
    movq MAX_SIZE(%rdi), %rdx
    cmpq %rax, %rdx
    jne 2f
    addq $8, %rdi
    decl %ecx
    jnz 1b
    ret
2:  incl errors
    pushq %rdx
    pushq %rax
    movl $line, %edi
    movl $text_block_error, %esi
    call put_string
    movq WORKER_HEADER + 8(%r15), %rax
    call put_decimal
    movl $text_expected, %esi
    call put_string
    popq %rax
    call put_hex
    movl $text_found, %esi
    call put_string
    popq %rax
    call put_hex
    jmp send_line

# rdi = the worker's buffers.
buffer:
    movl WORKER_NUMBER(%r15), %edi
    shll $BUFFER_SHIFT, %edi
    addl $BUFFERS, %edi
    ret

# Puts the worker's request into the queue: WORKER_BLOCK is written, or read if WORKER_READING.
submit:
    movl WORKER_READING(%r15), %eax
    xorl $1, %eax
    movl %eax, WORKER_HEADER(%r15)
    movl size, %eax
    shrl $9, %eax
    movl WORKER_BLOCK(%r15), %ecx
    imulq %rcx, %rax
    movq %rax, WORKER_HEADER + 8(%r15)
    movb $0xff, WORKER_STATUS(%r15)
    movl WORKER_NUMBER(%r15), %eax
    imull $DESCRIPTORS, %eax
    movl $queue, %edx
    cmpl $0, indirect
    je 1f
    pushq %rax
    leal WORKER_TABLE(%r15), %edx
    xorl %eax, %eax
1:  leal WORKER_HEADER(%r15), %esi
    movl $16, %ecx
    movl $DESCRIPTOR_NEXT, %edi
    leal 1(%rax), %r8d
    call virtio_describe
    incl %eax
    call buffer
    movl %edi, %esi
    movl $DESCRIPTOR_NEXT, %edi
    cmpl $0, WORKER_READING(%r15)
    je 2f
    addl $MAX_SIZE, %esi
    orl $DESCRIPTOR_WRITE, %edi
2:  movl size, %ecx
    leal 1(%rax), %r8d
    call virtio_describe
    incl %eax
    leal WORKER_STATUS(%r15), %esi
    movl $1, %ecx
    movl $DESCRIPTOR_WRITE, %edi
    xorl %r8d, %r8d
    call virtio_describe
    subl $2, %eax
    cmpl $0, indirect
    je 3f
    popq %rax
    movl %edx, %esi
    movl $queue, %edx
    movl $16 * DESCRIPTORS, %ecx
    movl $DESCRIPTOR_INDIRECT, %edi
    call virtio_describe
3:  jmp virtio_offer

notify:
    movl $queue, %edx
    jmp virtio_notify

# r15 = the worker whose request is done; carry if there is none.
complete:
    movl $queue, %edx
    call virtio_take
    jc 9f
    xorl %edx, %edx
    movl $DESCRIPTORS, %ecx
    divl %ecx
    movl %eax, %r15d
    shll $WORKER_SHIFT, %r15d
    addl $workers, %r15d
    cmpb $0, WORKER_STATUS(%r15)
    je 8f
    incl errors
    cmpl $0, verify
    je 8f
    movl $line, %edi
    movl $text_status, %esi
    call put_string
    movzbl WORKER_STATUS(%r15), %eax
    call put_decimal
    call send_line
8:  clc
9:  ret

# r15 = worker ebp.
nth_worker:
    movl %ebp, %r15d
    shll $WORKER_SHIFT, %r15d
    addl $workers, %r15d
    ret

# Until the device has returned something, or for 1 ms.
wait_for_device:
    cmpl $0, irq
    je 1f
    movw queue + QUEUE_SEEN, %ax
    movw %ax, queue + QUEUE_USED_EVENT
    mfence
    movl $wait_in_ring0, %r11d
    int $VECTOR_SERVICE
    ret
1:  pause
    ret

# A service: sleeps unless the device has returned something meanwhile.
wait_in_ring0:
    movw queue + QUEUE_SEEN, %ax
    cmpw %ax, queue + QUEUE_USED_INDEX
    jne 1f
    movl $LAPIC_TIMER_INITIAL, %eax
    movl $100000000, (%rax)
    sti
    hlt
    cli
1:  iretq

device_interrupt:
    pushq %rax
    pushq %rbx
    movl registers, %ebx
    movl VIRTIO_INTERRUPT_STATUS(%rbx), %eax
    movl %eax, VIRTIO_INTERRUPT_ACK(%rbx)
    movl $LAPIC_EOI, %eax
    movl $0, (%rax)
    popq %rbx
    popq %rax
    iretq

# Programs the I/O APIC's pin of the device: level-triggered with ACPI's interrupts, edge-triggered
# with those of ISA.
route_interrupt:
    movl $LAPIC, %ebx
    movl $0xb, LAPIC_TIMER_DIVIDE - LAPIC(%rbx)
    movl $VECTOR_TIMER, LAPIC_LVT_TIMER - LAPIC(%rbx)
    movl gsi, %eax
    movl $IOAPIC, %ebx
    movl $VECTOR_DEVICE, %ecx
    cmpl $16, %eax
    jb 1f
    orl $0x8000, %ecx
    cmpl $24, %eax
    jb 1f
    movl $IOAPIC2, %ebx
    subl $24, %eax
1:  leal 0x11(,%rax,2), %edx
    movl %edx, (%rbx)
    movl $0, 0x10(%rbx)
    decl %edx
    movl %edx, (%rbx)
    movl %ecx, 0x10(%rbx)
    ret

wait_for_byte:
    movl $LINE_STATUS, %edx
    service service_in
    testb $LINE_STATUS_DATA_READY, %al
    jnz 1f
    movl $LAPIC, %ebx
    movl $0xb, LAPIC_TIMER_DIVIDE - LAPIC(%rbx)
    movl $VECTOR_TIMER, LAPIC_LVT_TIMER - LAPIC(%rbx)
    movl $1000000, %eax
    service service_sleep
    jmp wait_for_byte
1:  movl $COM1, %edx
    service service_in
    ret

while_waiting:                   # of serial.inc
    ret

print_progress:
    movl $line, %edi
    movl $text_blk, %esi
    call put_string
    incq lines
    movq lines, %rax
    movl $6, %ecx
    call put_decimal_digits
    movl $text_writes, %esi
    call put_string
    movq writes, %rax
    call put_decimal
    movl $text_reads, %esi
    call put_string
    movq reads, %rax
    call put_decimal
    movl $text_errors, %esi
    call put_string
    movl errors, %eax
    call put_decimal
    jmp send_line

print_ready:
    movl $line, %edi
    movl $text_ready, %esi
    call put_string
    movl VIRTIO_VERSION(%rbx), %eax
    call put_decimal
    movl $text_sectors, %esi
    call put_string
    movl VIRTIO_CONFIG(%rbx), %eax
    call put_decimal
    jmp send_line

no_device:
    movl $line, %edi
    movl $text_none, %esi
    call put_string
    call send_line
    service service_halt

read_command_line:
    movl start_info, %eax
    movq START_INFO_COMMAND_LINE(%rax), %rbp
    testq %rbp, %rbp
    jz 1f
.irp option, size, depth, span, events, indirect, irq, gsi, verify, pause, op, requests, random, reset
    movl \option, %eax
    movq %rbp, %rdx
    movl $option_\option, %esi
    call find_number
    movl %eax, \option
.endr
1:  movl span, %eax
    shll $20, %eax
    xorl %edx, %edx
    divl size
    movl %eax, blocks
    ret

.data
text_ready: .asciz "virtio_blk version="
text_sectors: .asciz " sectors="
text_none: .asciz "virtio_blk: no device"
text_done: .asciz "done requests="
text_ns: .asciz " ns="
text_reset: .asciz "device reset"
text_errors: .asciz " errors="
text_blk: .asciz "blk "
text_writes: .asciz " writes="
text_reads: .asciz " reads="
text_block_error: .asciz "BLOCK ERROR sector="
text_expected: .asciz " expected="
text_found: .asciz " found="
text_status: .asciz "BLOCK ERROR status="
.irp option, size, depth, span, events, indirect, irq, gsi, verify, pause, op, requests, random, reset
option_\option: .asciz "\option="
.endr
.balign 8
size: .quad 4096
depth: .quad 1
span: .quad 16
events: .quad 0
indirect: .quad 0
irq: .quad 0
gsi: .quad 0
verify: .quad 0
pause: .quad 0
op: .quad 0
requests: .quad 1000
random: .quad 0
reset: .quad 0
seed: .long 2463534242
blocks: .long 0
registers: .long 0
errors: .long 0
started: .long 0
finished: .long 0
.balign 8
begin: .quad 0
next_line: .quad 0
lines: .quad 0
writes: .quad 0
reads: .quad 0

.bss
.balign 4096
queue: .space QUEUE_BYTES
workers: .space MAX_DEPTH << WORKER_SHIFT
