# ticks: a PVH guest that counts the interrupts of the board's timers, to verify that they live on
# over updates. It halts in between.
#
# Command line, all numbers decimal; a timer with 0 is not used:
#   pit=HZ        channel 0, 19 to 10000; default 100
#   lapic=HZ      the LAPIC timer, periodic; default 100
#   rtc=RATE      periodic interrupt of the RTC by its rate select, 3 to 15: 65536 >> RATE Hz;
#                 default 10 (64 Hz)
#   ioapic=1      PIT and RTC through the I/O APIC's pins 2 and 8; default: through the PIC
#   period=MS     between lines, default 1000
#
# Output:
#   ticks ready pit=100 lapic=100 rtc=10 ioapic=0 tsc_khz=N
#   ticks 000001 pit=N lapic=N rtc=N clock=NS tsc=HEX time=YYMMDDhhmmss
#       interrupts since start; clock: kvmclock or `none`; time: the RTC's registers, of the moment
#       of the line (`none` with rtc=0)
#   UNEXPECTED INTERRUPT vector=N     once each for a vector that nobody armed

.include "pvh.inc"
.include "text.inc"
.include "clock.inc"
.include "serial.inc"

.set VECTOR_PIT, 0x20
.set VECTOR_RTC, 0x28

.macro write_port port, value
    movb $\value, %al
    outb %al, $\port
.endm

guest_main:
    xorl %edi, %edi
    call set_up_clock
    # The PIC: interrupts 0x20 to 0x2f, edges, only what is used let through.
    write_port 0x20, 0x11
    write_port 0x21, 0x20
    write_port 0x21, 0x04
    write_port 0x21, 0x01
    write_port 0xa0, 0x11
    write_port 0xa1, 0x28
    write_port 0xa1, 0x02
    write_port 0xa1, 0x01
    write_port 0x21, 0xff
    write_port 0xa1, 0xff
    movl $0x8e00, %edx
    movl $0x20, %ecx
1:  movl %ecx, %eax              # the sixteen of the PIC: unexpected unless set below
    subl $0x20, %eax
    shll $4, %eax
    addl $unexpected_stubs, %eax
    call set_gate
    incl %ecx
    cmpl $0x30, %ecx
    jb 1b
    movl $VECTOR_PIT, %ecx
    movl $pit_interrupt, %eax
    call set_gate
    movl $VECTOR_RTC, %ecx
    movl $rtc_interrupt, %eax
    call set_gate
    movl $main, %eax
    xorl %edi, %edi
    jmp enter_ring3

.balign 16
unexpected_stubs:
.set vector, 0x20
.rept 16
    .balign 16
    movb $vector, unexpected
    jmp end_of_interrupt
    .set vector, vector + 1
.endr

pit_interrupt:
    incq pit_ticks
end_of_interrupt:                # of a vector of the PIC, whoever delivered it
    pushq %rax
    cmpl $0, ioapic
    jne 1f
    movb $0x20, %al
    outb %al, $0xa0
    outb %al, $0x20
    popq %rax
    iretq
1:  movl $LAPIC_EOI, %eax
    movl $0, (%rax)
    popq %rax
    iretq

rtc_interrupt:
    incq rtc_ticks
    pushq %rax
    movb $0x0c, %al              # reading register C lets the next one come
    outb %al, $0x70
    inb $0x71, %al
    popq %rax
    jmp end_of_interrupt

# Ring 0, by `service`: the RTC shares its index port with the interrupt handler, so interrupts stay
# off. Writes al to register ah; or reads register ah to al.
service_rtc_write:
    xchgb %al, %ah
    outb %al, $0x70
    xchgb %al, %ah
    outb %al, $0x71
    iretq
service_rtc_read:
    movb %ah, %al
    outb %al, $0x70
    inb $0x71, %al
    iretq
service_halt_once:
    sti
    hlt
    cli
    iretq

while_waiting:
    ret

main:
    call set_up_serial
    call measure_tsc
    call read_command_line
    call print_ready
    cmpl $0, ioapic
    jne 1f
    movl $LAPIC + 0x350, %eax    # LINT0 takes the PIC's interrupts
    movl $0x700, (%rax)
1:  movl pit, %ecx
    testl %ecx, %ecx
    jz 2f
    call start_pit
2:  cmpl $0, rtc
    je 3f
    call start_rtc
3:  movl lapic, %ecx
    testl %ecx, %ecx
    jz 4f
    movl $1000000000, %eax
    xorl %edx, %edx
    divl %ecx
    movl $LAPIC, %ebx
    movl $0xb, LAPIC_TIMER_DIVIDE - LAPIC(%rbx)
    movl $0x20000 | VECTOR_TIMER, LAPIC_LVT_TIMER - LAPIC(%rbx)
    movl %eax, LAPIC_TIMER_INITIAL - LAPIC(%rbx)
4:  call read_tsc
    movq %rax, next_line
5:  movl period, %eax
    imulq tsc_khz, %rax
    addq %rax, next_line
6:  service service_halt_once
    call print_unexpected
    call read_tsc
    cmpq next_line, %rax
    jb 6b
    call print_ticks
    jmp 5b

# ecx = Hz.
start_pit:
    movl $1193182, %eax
    xorl %edx, %edx
    divl %ecx
    movl %eax, %ebx
    movl $0x43, %edx
    movb $0x34, %al              # channel 0, both bytes, rate generator
    service service_out
    movl $0x40, %edx
    movl %ebx, %eax
    service service_out
    movb %bh, %al
    service service_out
    movl $2, %ecx
    movl $VECTOR_PIT, %ebx
    cmpl $0, ioapic
    jne route_pin
    movl $0x21, %edx
    service service_in
    andb $0xfe, %al
    service service_out
    ret

start_rtc:
    movl rtc, %eax
    orl $0x0a20, %eax            # register A: oscillator on, rate
    service service_rtc_write
    movl $0x0b42, %eax           # register B: 24 hours, BCD, periodic interrupt
    service service_rtc_write
    movl $0x0c00, %eax
    service service_rtc_read
    movl $8, %ecx
    movl $VECTOR_RTC, %ebx
    cmpl $0, ioapic
    jne route_pin
    movl $0x21, %edx
    service service_in
    andb $0xfb, %al              # the second PIC hangs on line 2
    service service_out
    movl $0xa1, %edx
    service service_in
    andb $0xfe, %al
    service service_out
    ret

# Lets pin ecx of the I/O APIC raise vector ebx on CPU 0: an edge, active high.
route_pin:
    movl $IOAPIC, %edx
    leal 0x11(,%rcx,2), %eax
    movl %eax, (%rdx)
    movl $0, IOAPIC_WINDOW - IOAPIC(%rdx)
    decl %eax
    movl %eax, (%rdx)
    movl %ebx, IOAPIC_WINDOW - IOAPIC(%rdx)
    ret

print_ticks:
    movl $line, %edi
    movl $text_ticks, %esi
    call put_string
    incq lines
    movq lines, %rax
    movl $6, %ecx
    call put_decimal_digits
    movl $ready_pit + 11, %esi   # " pit="
    call put_string
    movq pit_ticks, %rax
    call put_decimal
    movl $ready_lapic, %esi
    call put_string
    movq timer_interrupts, %rax
    call put_decimal
    movl $ready_rtc, %esi
    call put_string
    movq rtc_ticks, %rax
    call put_decimal
    movl $text_clock, %esi
    call put_string
    cmpl $0, have_kvmclock
    je 1f
    xorl %r8d, %r8d
    call read_kvmclock
    call put_decimal
    jmp 2f
1:  movl $text_none, %esi
    call put_string
2:  movl $text_tsc, %esi
    call put_string
    call read_tsc
    call put_hex
    movl $text_time, %esi
    call put_string
    cmpl $0, rtc
    jne 3f
    movl $text_none, %esi
    call put_string
    jmp send_line
3:  movl $rtc_registers, %ebx
4:  movb (%rbx), %ah
    testb %ah, %ah
    js send_line
    service service_rtc_read
    movzbl %al, %eax
    movl $2, %ecx
    call put_hex_digits
    incl %ebx
    jmp 4b

print_unexpected:
    movzbl unexpected, %ebx
    testl %ebx, %ebx
    jz 1f
    movb $0, unexpected
    btsl %ebx, reported
    jc 1f
    movl $line, %edi
    movl $text_unexpected, %esi
    call put_string
    movl %ebx, %eax
    call put_decimal
    jmp send_line
1:  ret

print_ready:
    movl $line, %edi
.irp option, pit, lapic, rtc, ioapic
    movl $ready_\option, %esi
    call put_string
    movl \option, %eax
    call put_decimal
.endr
    movl $ready_tsc_khz, %esi
    call put_string
    movq tsc_khz, %rax
    call put_decimal
    jmp send_line

read_command_line:
    movl start_info, %eax
    movq START_INFO_COMMAND_LINE(%rax), %rbp
    testq %rbp, %rbp
    jz 1f
.irp option, pit, lapic, rtc, ioapic, period
    movl \option, %eax
    movq %rbp, %rdx
    movl $option_\option, %esi
    call find_number
    movl %eax, \option
.endr
1:  ret

.data
option_pit: .asciz "pit="
option_lapic: .asciz "lapic="
option_rtc: .asciz "rtc="
option_ioapic: .asciz "ioapic="
option_period: .asciz "period="
ready_pit: .asciz "ticks ready pit="
ready_lapic: .asciz " lapic="
ready_rtc: .asciz " rtc="
ready_ioapic: .asciz " ioapic="
ready_tsc_khz: .asciz " tsc_khz="
text_ticks: .asciz "ticks "
text_clock: .asciz " clock="
text_none: .asciz "none"
text_tsc: .asciz " tsc="
text_time: .asciz " time="
text_unexpected: .asciz "UNEXPECTED INTERRUPT vector="
rtc_registers: .byte 9, 8, 7, 4, 2, 0, 0xff      # year, month, day, hours, minutes, seconds

.balign 8
pit: .long 100
lapic: .long 100
rtc: .long 10
ioapic: .long 0
period: .long 1000
reported: .quad 0
lines: .quad 0
next_line: .quad 0
pit_ticks: .quad 0
rtc_ticks: .quad 0
unexpected: .byte 0
