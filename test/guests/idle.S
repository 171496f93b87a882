# idle: a PVH guest that does nothing, for measuring a monitor at rest and for testing interrupts.
#
# Command line: timer=MS   wakes up every MS milliseconds by the LAPIC timer (default: never)
# Prints once:  idle ready
# Then it halts with interrupts on. Every byte received on the serial line raises IRQ 4, through
# pin 4 of the I/O APIC, and is sent back.

.include "pvh.inc"
.include "text.inc"

guest_main:
    movl $text_ready, %esi
    call send_string
    # Interrupts of the serial line: received data only.
    movl $VECTOR_SERIAL, %ecx
    movl $serial_interrupt, %eax
    movl $0x8e00, %edx
    call set_gate
    movl $IOAPIC, %eax
    movl $0x10 + 2 * 4 + 1, (%rax)
    movl $0, IOAPIC_WINDOW - IOAPIC(%rax)
    movl $0x10 + 2 * 4, (%rax)
    movl $VECTOR_SERIAL, IOAPIC_WINDOW - IOAPIC(%rax)
    movl $COM1 + 4, %edx
    movb $0x0b, %al              # DTR, RTS, OUT2: the last one connects the interrupt
    outb %al, %dx
    movl $COM1 + 1, %edx
    movb $1, %al
    outb %al, %dx
    # The timer, if asked for: periodic, bus clock (1 GHz) divided by 1.
    movl start_info, %eax
    movq START_INFO_COMMAND_LINE(%rax), %rdx
    testq %rdx, %rdx
    jz 1f
    movl $text_timer, %esi
    xorl %eax, %eax
    call find_number
    testl %eax, %eax
    jz 1f
    imull $1000000, %eax
    movl $LAPIC, %ebx
    movl $0xb, LAPIC_TIMER_DIVIDE - LAPIC(%rbx)
    movl $0x20000 | VECTOR_TIMER, LAPIC_LVT_TIMER - LAPIC(%rbx)
    movl %eax, LAPIC_TIMER_INITIAL - LAPIC(%rbx)
1:  sti
    hlt
    jmp 1b

# Sends what was received until there is no more.
serial_interrupt:
    pushq %rax
    pushq %rbx
    pushq %rdx
1:  movl $LINE_STATUS, %edx
    inb %dx, %al
    testb $LINE_STATUS_DATA_READY, %al
    jz 2f
    movl $COM1, %edx
    inb %dx, %al
    call send_byte
    jmp 1b
2:  movl $LAPIC_EOI, %eax
    movl $0, (%rax)
    popq %rdx
    popq %rbx
    popq %rax
    iretq

# al, once the transmitter can take it.
send_byte:
    movb %al, %bl
    movl $LINE_STATUS, %edx
1:  inb %dx, %al
    testb $LINE_STATUS_THR_EMPTY, %al
    jz 1b
    movb %bl, %al
    movl $COM1, %edx
    outb %al, %dx
    ret

# rsi = NUL-terminated text.
send_string:
1:  lodsb
    testb %al, %al
    jz 2f
    call send_byte
    jmp 1b
2:  ret

.data
text_ready: .asciz "idle ready\n"
text_timer: .asciz "timer="
