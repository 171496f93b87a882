# boot_sector: a disk's first sector that keeps dirtying 99 MiB. It behaves on the serial line and in
# memory as the x86 guest of QEMU's migration tests does, and so serves the same tests.
#
# Started by a BIOS or a monitor at 0x7c00 in real mode. Prints A, sets the first byte of every page
# from 1 MiB up to 100 MiB to zero, then for ever increments each of them, in order, and prints B
# after every pass. No newlines, no input, interrupts off.
#
# All of it is real and 32-bit protected mode.

.set SECTOR, 0x7c00
.set SERIAL, 0x3f8
.set FIRST, 0x100000
.set END, 0x6400000

.text
.code16
start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl SECTOR + gdt_pointer - start
    inb $0x92, %al               # fast A20 gate, for boards that have one; bit 0 would reset
    orb $2, %al
    andb $0xfe, %al
    outb %al, $0x92
    movl $1, %eax
    movl %eax, %cr0
    ljmpl $8, $SECTOR + protected - start

.code32
protected:
    movl $16, %eax
    movl %eax, %ds
    movw $SERIAL, %dx
    movb $'A', %al
    outb %al, %dx
    movl $FIRST, %eax
1:  movb $0, (%eax)
    addl $4096, %eax
    cmpl $END, %eax
    jb 1b
pass:
    movl $FIRST, %eax
2:  incb (%eax)
    addl $4096, %eax
    cmpl $END, %eax
    jb 2b
    movb $'B', %al
    outb %al, %dx
    jmp pass

.balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff     # code, 32-bit, 4 GiB
    .quad 0x00cf93000000ffff     # data
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long SECTOR + gdt - start

.org start + 510
    .byte 0x55, 0xaa
