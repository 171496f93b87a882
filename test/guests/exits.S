# exits: a PVH guest that does accesses which KVM cannot finish, for measuring what one costs.
#
# Command line: count=N    accesses of each kind in a round (default 20000)
# Prints, round after round, the processor's cycles for a kind's accesses:
#   exits port-read N        line status of COM1
#   exits port-write N       scratch register of COM1
#   exits mmio-read N        first register of the first virtio-mmio transport (MagicValue)
#   exits mmio-write N       its DeviceFeaturesSel
#   exits string-read N      line status of COM1 by REP INSB, 16 at a time; one exit each

.include "pvh.inc"
.include "text.inc"

.set SCRATCH, COM1 + 7
.set TRANSPORT, 0xfeb00000
.set DEVICE_FEATURES_SEL, TRANSPORT + 0x14
.set REPEATED, 16

# Measures r12 times the instructions of `access`, which keep r12 to r15, and prints the line.
.macro measure text, access:vararg
    movl $\text, %r14d
    movl %r12d, %r13d
    call read_tsc
    movq %rax, %r15
1:  \access
    decl %r13d
    jnz 1b
    call read_tsc
    subq %r15, %rax
    call print
.endm

guest_main:
    movl $20000, %r12d
    movl start_info, %eax
    movq START_INFO_COMMAND_LINE(%rax), %rdx
    testq %rdx, %rdx
    jz round
    movl $text_count, %esi
    movl %r12d, %eax
    call find_number
    movl %eax, %r12d
round:
    movl $LINE_STATUS, %edx
    measure text_port_read, inb %dx, %al
    movl $SCRATCH, %edx
    measure text_port_write, outb %al, %dx
    movl $TRANSPORT, %ebx
    measure text_mmio_read, movl (%rbx), %eax
    movl $DEVICE_FEATURES_SEL, %ebx
    xorl %eax, %eax
    measure text_mmio_write, movl %eax, (%rbx)
    measure text_string_read, call read_string
    jmp round

read_string:
    movl $LINE_STATUS, %edx
    movl $buffer, %edi
    movl $REPEATED, %ecx
    rep insb
    ret

# rax = the time stamp counter. Changes nothing else but rdx, which accesses set themselves.
read_tsc:
    pushq %rdx
    lfence
    rdtsc
    shlq $32, %rdx
    orq %rdx, %rax
    popq %rdx
    ret

# Prints the text at r14 and rax.
print:
    pushq %rax
    movl $line, %edi
    movl %r14d, %esi
    call put_string
    popq %rax
    call put_decimal
    movb $'\n', (%rdi)
    movb $0, 1(%rdi)
    movl $line, %esi
1:  lodsb
    testb %al, %al
    jz 3f
    movb %al, %bl
    movl $LINE_STATUS, %edx
2:  inb %dx, %al
    testb $LINE_STATUS_THR_EMPTY, %al
    jz 2b
    movb %bl, %al
    movl $COM1, %edx
    outb %al, %dx
    jmp 1b
3:  ret

.data
text_count: .asciz "count="
text_port_read: .asciz "exits port-read "
text_port_write: .asciz "exits port-write "
text_mmio_read: .asciz "exits mmio-read "
text_mmio_write: .asciz "exits mmio-write "
text_string_read: .asciz "exits string-read "
.bss
line: .space 80
buffer: .space REPEATED
