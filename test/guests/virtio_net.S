# virtio_net: a PVH guest that drives a virtio-net device, to verify what comes back from an echo, or to
# measure.
#
# Command line, numbers decimal:
#   size=BYTES    of a frame, 24 + 8 n, at most 1512; default 64
#   depth=N       frames under way, 1 to 16; default 1
#   events=1      uses the event index      indirect=1   puts descriptors into indirect tables
#   irq=1         sleeps until the device interrupts; otherwise it watches the used rings
#   gsi=N         the device's interrupt, for irq=1
#
#   verify=1      each of `depth` workers sends a frame, waits for its echo, compares, and sends its next.
#                 A frame that does not come back for `patience` ms (default 100) is sent again.
#                 Prints every 100 ms
#                   net 000001 replies=N lost=N errors=N
#                 and for errors  FRAME ERROR sequence=N expected=HEX found=HEX
#   otherwise     on each byte received on the serial line, does what was asked for and prints
#                   done requests=N ns=N errors=N
#     op=0          sends `requests` frames (default 1000), which nobody answers
#     op=1          asks for `requests` frames and receives them; those that are not there after 500 ms
#                   without any are given up and are not counted
#     op=2          has `requests` frames come back
#
# The other side looks at the Ethernet type: 0x88b5 goes back as it came; 0x88b6 asks for as many frames
# of type 0x88b7 as the 32 bits behind it say, of as many bytes as the next 32 bits; others are dropped.
# All numbers are little-endian.
#
# Prints first:  virtio_net version=N address=HEX

.include "pvh.inc"
.include "text.inc"
.include "clock.inc"
.include "serial.inc"
.include "virtio.inc"

.set VECTOR_DEVICE, 0x51
.set IOAPIC2, 0xfec10000
.set MAX_DEPTH, 16
.set RECEIVE_BUFFERS, 32
.set VIRTIO_NET_F_MAC, 1 << 5
.set VIRTIO_F_ANY_LAYOUT, 1 << 27

.set TYPE_ECHO, 0xb588           # as 16 bits are read
.set TYPE_REQUEST, 0xb688
.set TYPE_DROP, 0xb788

# A frame.
.set FRAME_TYPE, 12
.set FRAME_WORKER, 14
.set FRAME_SEQUENCE, 16
.set FRAME_CONTENT, 24

# A worker: r15 points to it.
.set WORKER_NUMBER, 0
.set WORKER_SEQUENCE, 8
.set WORKER_SENT, 16             # TSC
.set WORKER_HELD, 24             # the device has not returned the frame
.set WORKER_WAITING, 32          # for the echo
.set WORKER_DUE, 40              # it is to be sent as soon as it is returned
.set WORKER_TABLE, 64            # an indirect descriptor
.set WORKER_SHIFT, 7
.set BUFFER_SHIFT, 11

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
    movl $1, %eax
    call virtio_find
    testl %eax, %eax
    jz no_device
    movl %eax, registers
    movl %eax, %ebx
    movl $10, header
    movl $VIRTIO_NET_F_MAC | VIRTIO_F_ANY_LAYOUT, %ecx
    cmpl $1, VIRTIO_VERSION(%rbx)
    je 1f
    movl $12, header
1:  cmpl $0, events
    je 2f
    orl $VIRTIO_F_EVENT_INDEX, %ecx
2:  cmpl $0, indirect
    je 3f
    orl $VIRTIO_F_INDIRECT, %ecx
3:  call virtio_begin
    pushq %rax
    movl $receive_queue, %edx
    xorl %ecx, %ecx
    call virtio_queue
    popq %rax
    movl $transmit_queue, %edx
    movl $1, %ecx
    call virtio_queue
    call virtio_ready
    movl VIRTIO_CONFIG(%rbx), %eax
    movl %eax, address
    movl VIRTIO_CONFIG + 4(%rbx), %eax
    movw %ax, address + 4
    cmpl $0, irq
    je 4f
    call route_interrupt
    jmp 5f
4:  movl $receive_queue, %edx    # no interrupts
    movw $1, QUEUE_AVAILABLE(%rdx)
    movw $0x8000, QUEUE_USED_EVENT(%rdx)
    movl $transmit_queue, %edx
    movw $1, QUEUE_AVAILABLE(%rdx)
    movw $0x8000, QUEUE_USED_EVENT(%rdx)
5:  call print_ready
    xorl %ebp, %ebp              # buffers for what is received
6:  movl %ebp, %eax
    call give_buffer
    incl %ebp
    cmpl $RECEIVE_BUFFERS, %ebp
    jb 6b
    movl $receive_queue, %edx
    call virtio_notify
    xorl %ebp, %ebp
7:  call nth_worker
    movl %ebp, WORKER_NUMBER(%r15)
    incl %ebp
    cmpl depth, %ebp
    jb 7b
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
    movq %rax, last
    cmpl $1, op
    je measure_receive
    movw $TYPE_ECHO, type
    cmpl $2, op
    je 1f
    movw $TYPE_DROP, type
1:  movl depth, %ebp
2:  decl %ebp
    call nth_worker
    call measure_next
    testl %ebp, %ebp
    jnz 2b
3:  call notify_transmit
4:  call take_returned
    jc 5f
    cmpl $0, op
    jne 4b
    incl finished                # sent is done
    call measure_next
    jmp 4b
5:  cmpl $0, op
    je 7f
6:  call take_echo
    jc 7f
    incl finished
    call measure_next
    jmp 6b
7:  call notify_transmit
    call notify_receive
    movl finished, %eax
    cmpl requests, %eax
    jae measured
    cmpl $2, op
    jne 8f
    call send_again
8:  call wait_for_device
    jmp 4b

measured:
    call read_tsc
measured_until:                  # rax = TSC
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

# Has the worker r15 send the next frame, if there is one.
measure_next:
    movl started, %eax
    cmpl requests, %eax
    jae 9f
    incl started
    jmp send_next
9:  ret

measure_receive:
    movl $workers, %r15d
    movw $TYPE_REQUEST, type
    call send_next
    call notify_transmit
1:  call take_returned
    jnc 1b
2:  call take_received
    jc 3f
    call give_buffer
    incl finished
    movl finished, %eax
    testl $7, %eax
    jnz 2b
    call notify_receive
    jmp 2b
3:  call notify_receive
    movl finished, %eax
    cmpl requests, %eax
    jae measured
    cmpl started, %eax           # of the last look
    je 4f
    movl %eax, started
    call read_tsc
    movq %rax, last
4:  call read_tsc
    subq last, %rax
    imulq $500, tsc_khz, %rcx
    cmpq %rcx, %rax
    ja 5f
    call wait_for_device
    jmp 1b
5:  movq last, %rax              # the time until the last one
    jmp measured_until

verify_main:
    movw $TYPE_ECHO, type
    call read_tsc
    movq %rax, next_line
    movl depth, %ebp
1:  decl %ebp
    call nth_worker
    call send_next
    testl %ebp, %ebp
    jnz 1b
2:  call notify_transmit
3:  call take_returned
    jnc 3b
4:  call take_echo
    jc 5f
    incq replies
    call send_next
    jmp 4b
5:  call notify_transmit
    call notify_receive
    call send_again
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

# Sends frames again whose echo did not come for `patience` ms. Changes ebp.
send_again:
    call read_tsc
    movq %rax, %r14
    movl depth, %ebp
1:  decl %ebp
    call nth_worker
    cmpl $0, WORKER_WAITING(%r15)
    je 2f
    cmpl $0, WORKER_HELD(%r15)
    jne 2f
    movq %r14, %rax
    subq WORKER_SENT(%r15), %rax
    jb 2f
    movq tsc_khz, %rcx
    imulq patience, %rcx
    cmpq %rcx, %rax
    jb 2f
    incq lost
    call send
2:  testl %ebp, %ebp
    jnz 1b
    jmp notify_transmit

# The worker's next frame: made, and sent as soon as the last one has been returned.
send_next:
    incq WORKER_SEQUENCE(%r15)
    movl $0, WORKER_WAITING(%r15)
    cmpl $0, WORKER_HELD(%r15)
    je 1f
    movl $1, WORKER_DUE(%r15)
    ret
1:  call fill
    jmp send

# rdi = the worker's frame.
frame:
    movl WORKER_NUMBER(%r15), %edi
    shll $BUFFER_SHIFT, %edi
    addl $transmit_buffers, %edi
    addl header, %edi
    ret

fill:
    call frame
    movl $-1, (%rdi)
    movw $-1, 4(%rdi)
    movl address, %eax
    movl %eax, 6(%rdi)
    movw address + 4, %ax
    movw %ax, 10(%rdi)
    movw type, %ax
    movw %ax, FRAME_TYPE(%rdi)
    cmpw $TYPE_REQUEST, %ax
    je 3f
    movl WORKER_NUMBER(%r15), %eax
    movw %ax, FRAME_WORKER(%rdi)
    movq WORKER_SEQUENCE(%r15), %rax
    movq %rax, FRAME_SEQUENCE(%rdi)
    call content
1:  testl %ecx, %ecx
    jz 2f
    movq %rax, FRAME_CONTENT(%rdi)
    addq $0x10001, %rax
    addq $8, %rdi
    decl %ecx
    jmp 1b
2:  ret
3:  movl requests, %eax
    movl %eax, FRAME_WORKER(%rdi)
    movl size, %eax
    movl %eax, FRAME_WORKER + 4(%rdi)
    ret

# rax = the first word of the worker's frame, ecx = the number of words.
content:
    movq WORKER_SEQUENCE(%r15), %rax
    shlq $32, %rax
    movl WORKER_NUMBER(%r15), %ecx
    shll $8, %ecx
    orq %rcx, %rax
    movl size, %ecx
    subl $FRAME_CONTENT, %ecx
    shrl $3, %ecx
    ret

# Puts the worker's frame into the queue.
send:
    movl $1, WORKER_HELD(%r15)
    movl $1, WORKER_WAITING(%r15)
    call read_tsc
    movq %rax, WORKER_SENT(%r15)
    call frame
    movl %edi, %esi
    subl header, %esi
    movl size, %ecx
    addl header, %ecx
    movl WORKER_NUMBER(%r15), %eax
    movl $transmit_queue, %edx
    xorl %edi, %edi
    xorl %r8d, %r8d
    cmpl $0, indirect
    je 1f
    pushq %rax
    leal WORKER_TABLE(%r15), %edx
    xorl %eax, %eax
    call virtio_describe
    popq %rax
    movl %edx, %esi
    movl $transmit_queue, %edx
    movl $16, %ecx
    movl $DESCRIPTOR_INDIRECT, %edi
1:  call virtio_describe
    jmp virtio_offer

# A frame that the device has sent: r15 = its worker; carry if there is none.
take_returned:
    movl $transmit_queue, %edx
    call virtio_take
    jc 9f
    movl %eax, %r15d
    shll $WORKER_SHIFT, %r15d
    addl $workers, %r15d
    movl $0, WORKER_HELD(%r15)
    cmpl $0, WORKER_DUE(%r15)
    je 8f
    movl $0, WORKER_DUE(%r15)
    call fill
    call send
8:  clc
9:  ret

# A frame that was received: eax = its buffer's number, rdi = the frame, ecx = its length; carry if there
# is none.
take_received:
    movl $receive_queue, %edx
    call virtio_take
    jc 9f
    subl header, %ecx
    movl %eax, %edi
    shll $BUFFER_SHIFT, %edi
    addl $receive_buffers, %edi
    addl header, %edi
    clc
9:  ret

# The next echo that a worker waits for, compared: r15 = the worker; carry if there is none. Others are
# dropped. Its buffer goes back.
take_echo:
    call take_received
    jc 9f
    cmpw $TYPE_ECHO, FRAME_TYPE(%rdi)
    jne 7f
    movzwl FRAME_WORKER(%rdi), %r15d
    cmpl depth, %r15d
    jae 7f
    shll $WORKER_SHIFT, %r15d
    addl $workers, %r15d
    cmpl $0, WORKER_WAITING(%r15)
    je 7f
    movq FRAME_SEQUENCE(%rdi), %rdx
    cmpq WORKER_SEQUENCE(%r15), %rdx
    jne 7f
    pushq %rax
    call compare
    popq %rax
    call give_buffer
    clc
    ret
7:  call give_buffer
    jmp take_echo
9:  ret

# Compares the frame at rdi, of ecx bytes, with what worker r15 has sent.
compare:
    movl size, %edx
    cmpl $60, %edx               # short ones may come back padded
    jae 1f
    movl $60, %edx
1:  cmpl %edx, %ecx
    je 2f
    cmpl size, %ecx
    je 2f
    movl size, %eax
    movl %ecx, %edx
    jmp 4f
2:  call content
3:  testl %ecx, %ecx
    jz 9f
    movq FRAME_CONTENT(%rdi), %rdx
    cmpq %rax, %rdx
    jne 4f
    addq $0x10001, %rax
    addq $8, %rdi
    decl %ecx
    jmp 3b
4:  incl errors
    pushq %rdx
    pushq %rax
    movl $line, %edi
    movl $text_frame_error, %esi
    call put_string
    movq WORKER_SEQUENCE(%r15), %rax
    call put_decimal
    movl $text_expected, %esi
    call put_string
    popq %rax
    call put_hex
    movl $text_found, %esi
    call put_string
    popq %rax
    call put_hex
    call send_line
9:  ret

# Gives the device buffer eax to receive into.
give_buffer:
    movl %eax, %esi
    shll $BUFFER_SHIFT, %esi
    addl $receive_buffers, %esi
    movl $1 << BUFFER_SHIFT, %ecx
    movl $DESCRIPTOR_WRITE, %edi
    xorl %r8d, %r8d
    movl $receive_queue, %edx
    call virtio_describe
    jmp virtio_offer

# Notifies the device of what was added, if anything was.
notify_transmit:
    movl $transmit_queue, %edx
    jmp notify
notify_receive:
    movl $receive_queue, %edx
notify:
    movw QUEUE_AVAILABLE_INDEX(%rdx), %ax
    cmpw QUEUE_NOTIFIED(%rdx), %ax
    jne virtio_notify
    ret

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
    movw receive_queue + QUEUE_SEEN, %ax
    movw %ax, receive_queue + QUEUE_USED_EVENT
    movw transmit_queue + QUEUE_SEEN, %ax
    movw %ax, transmit_queue + QUEUE_USED_EVENT
    mfence
    movl $wait_in_ring0, %r11d
    int $VECTOR_SERVICE
    ret
1:  pause
    ret

# A service: sleeps unless the device has returned something meanwhile.
wait_in_ring0:
    movw receive_queue + QUEUE_SEEN, %ax
    cmpw %ax, receive_queue + QUEUE_USED_INDEX
    jne 1f
    movw transmit_queue + QUEUE_SEEN, %ax
    cmpw %ax, transmit_queue + QUEUE_USED_INDEX
    jne 1f
    movl $LAPIC_TIMER_INITIAL, %eax
    movl $1000000, (%rax)
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
    movl $text_net, %esi
    call put_string
    incq lines
    movq lines, %rax
    movl $6, %ecx
    call put_decimal_digits
    movl $text_replies, %esi
    call put_string
    movq replies, %rax
    call put_decimal
    movl $text_lost, %esi
    call put_string
    movq lost, %rax
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
    movl registers, %ebx
    movl VIRTIO_VERSION(%rbx), %eax
    call put_decimal
    movl $text_address, %esi
    call put_string
    movq address, %rax
    call put_hex
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
.irp option, size, depth, events, indirect, irq, gsi, verify, patience, op, requests
    movl \option, %eax
    movq %rbp, %rdx
    movl $option_\option, %esi
    call find_number
    movl %eax, \option
.endr
1:  ret

.data
text_ready: .asciz "virtio_net version="
text_address: .asciz " address="
text_none: .asciz "virtio_net: no device"
text_done: .asciz "done requests="
text_ns: .asciz " ns="
text_errors: .asciz " errors="
text_net: .asciz "net "
text_replies: .asciz " replies="
text_lost: .asciz " lost="
text_frame_error: .asciz "FRAME ERROR sequence="
text_expected: .asciz " expected="
text_found: .asciz " found="
.irp option, size, depth, events, indirect, irq, gsi, verify, patience, op, requests
option_\option: .asciz "\option="
.endr
.balign 8
size: .quad 64
depth: .quad 1
events: .quad 0
indirect: .quad 0
irq: .quad 0
gsi: .quad 0
verify: .quad 0
patience: .quad 100
op: .quad 0
requests: .quad 1000
registers: .long 0
header: .long 0
errors: .long 0
started: .long 0
finished: .long 0
type: .long 0
.balign 8
address: .quad 0
begin: .quad 0
last: .quad 0
next_line: .quad 0
lines: .quad 0
replies: .quad 0
lost: .quad 0

.bss
.balign 4096
receive_queue: .space QUEUE_BYTES
transmit_queue: .space QUEUE_BYTES
workers: .space MAX_DEPTH << WORKER_SHIFT
receive_buffers: .space RECEIVE_BUFFERS << BUFFER_SHIFT
transmit_buffers: .space MAX_DEPTH << BUFFER_SHIFT
