# reset: a PVH guest that prints a dot, resets the machine by ACPI's reset register, and begins anew.
#
# After that it does nothing more by itself: a monitor that loses the reset has lost the guest.

# The reset register of the generic event device (src/devices/ged.ts).
.set GED_RESET_REGISTER, 0xfea00202
.set GED_RESET_VALUE, 0x42

.section .note.Xen, "a", @note
    .balign 4
    .long 4, 4, 18               # XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long pvh_entry

.text
.code32
.globl pvh_entry
pvh_entry:
    movw $0x3f8, %dx
    movb $'.', %al
    outb %al, %dx
    movl $GED_RESET_REGISTER, %ebx
    movb $GED_RESET_VALUE, (%ebx)
1:  hlt
    jmp 1b
