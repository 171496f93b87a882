# linux64: a kernel in bzImage format that prints what the 64-bit boot protocol passed, for tests of
# loaders. Source: Linux' Documentation/arch/x86/boot.rst. No options, no input.
#
#   linux64 at=H cs=H ds=H cr0=H cr3=H efer=H     at: where the kernel was loaded, all hexadecimal
#   loader type=H flags=H version=H               fields of the setup header
#   cmdline TEXT                                  (the first 4000 bytes)
#   ramdisk start=H length=H first=H last=H       its first and last 8 bytes, if it has as many
#   e820 start=H length=H type=N                  one line per entry
#   rsdp=H
#   done
#
# It has no real-mode or 32-bit entry: a loader that uses these finds a HLT. Everything runs on the
# loader's own page tables and segments.

.set PREFERRED_ADDRESS, 0x1000000
.set BOOT_SECTORS, 1

.section .setup, "ax"
.code16
setup:
    cli
    hlt
.org setup + 0x1f1
    .byte BOOT_SECTORS           # setup_sects
    .word 0                      # root_flags
    .long (kernel_end - kernel + 15) / 16
    .word 0                      # ram_size
    .word 0xffff                 # vid_mode
    .word 0                      # root_dev
    .word 0xaa55                 # boot_flag
    .byte 0xeb, header_end - 1f  # jump over the header
1:  .ascii "HdrS"
    .word 0x020f                 # version
    .long 0                      # realmode_swtch
    .word 0                      # start_sys_seg
    .word 0                      # kernel_version
    .byte 0                      # type_of_loader
    .byte 0x01                   # loadflags: LOADED_HIGH
    .word 0                      # setup_move_size
    .long 0x100000               # code32_start
    .long 0                      # ramdisk_image
    .long 0                      # ramdisk_size
    .long 0                      # bootsect_kludge
    .word 0                      # heap_end_ptr
    .byte 0                      # ext_loader_ver
    .byte 0                      # ext_loader_type
    .long 0                      # cmd_line_ptr
    .long 0x7fffffff             # initrd_addr_max
    .long 0x200000               # kernel_alignment
    .byte 1                      # relocatable_kernel
    .byte 21                     # min_alignment
    .word 0x0003                 # xloadflags: 64-bit entry, may be loaded above 4 GiB
    .long 4095                   # cmdline_size
    .long 0                      # hardware_subarch
    .quad 0                      # hardware_subarch_data
    .long 0                      # payload_offset
    .long 0                      # payload_length
    .quad 0                      # setup_data
    .quad PREFERRED_ADDRESS
    .long 0x200000               # init_size: code, data and stack
    .long 0                      # handover_offset
    .long 0                      # kernel_info_offset
header_end:
    hlt
.org setup + (BOOT_SECTORS + 1) * 512

.include "machine.inc"
.set PARAMS_RSDP, 0x70
.set PARAMS_E820_COUNT, 0x1e8
.set PARAMS_LOADER, 0x210
.set PARAMS_FLAGS, 0x211
.set PARAMS_VERSION, 0x206
.set PARAMS_RAMDISK, 0x218
.set PARAMS_RAMDISK_SIZE, 0x21c
.set PARAMS_COMMAND_LINE, 0x228
.set PARAMS_E820, 0x2d0

.macro put text, value
    leaq 1f(%rip), %rsi
    call put_string
    movq \value, %rax
    call put_hex
    .pushsection .text, 1        # after the code
1:  .asciz "\text"
    .popsection
.endm

.text
.code64
kernel:
    hlt                          # the 32-bit entry
    jmp kernel
.org kernel + 0x200
    leaq kernel + 0x180000(%rip), %rsp
    movq %rsi, %rbp
    leaq line(%rip), %rdi
    leaq kernel(%rip), %rbx
    put "linux64 at=", %rbx
    movl %cs, %ebx
    put " cs=", %rbx
    movl %ds, %ebx
    put " ds=", %rbx
    put " cr0=", %cr0
    put " cr3=", %cr3
    movl $MSR_EFER, %ecx
    rdmsr
    movl %eax, %ebx
    put " efer=", %rbx
    call send_line

    movzbl PARAMS_LOADER(%rbp), %ebx
    put "loader type=", %rbx
    movzbl PARAMS_FLAGS(%rbp), %ebx
    put " flags=", %rbx
    movzwl PARAMS_VERSION(%rbp), %ebx
    put " version=", %rbx
    call send_line

    leaq text_command_line(%rip), %rsi
    call put_string
    movl PARAMS_COMMAND_LINE(%rbp), %esi
    testl %esi, %esi
    jz 2f
    movl $4000, %ecx
1:  lodsb
    testb %al, %al
    jz 2f
    stosb
    decl %ecx
    jnz 1b
2:  call send_line

    movl PARAMS_RAMDISK(%rbp), %ebx
    put "ramdisk start=", %rbx
    movl PARAMS_RAMDISK_SIZE(%rbp), %r12d
    put " length=", %r12
    cmpl $8, %r12d
    jb 3f
    put " first=", (%rbx)
    put " last=", "-8(%rbx,%r12)"
3:  call send_line

    movzbl PARAMS_E820_COUNT(%rbp), %r12d
    leaq PARAMS_E820(%rbp), %rbx
4:  testl %r12d, %r12d
    jz 5f
    put "e820 start=", (%rbx)
    put " length=", 8(%rbx)
    leaq text_type(%rip), %rsi
    call put_string
    movl 16(%rbx), %eax
    call put_decimal
    call send_line
    addq $20, %rbx
    decl %r12d
    jmp 4b

5:  put "rsdp=", PARAMS_RSDP(%rbp)
    call send_line
    leaq text_done(%rip), %rsi
    call put_string
    call send_line
6:  hlt
    jmp 6b

# Sends `line`, which ends at rdi, and a newline; then rdi points to the empty line.
send_line:
    movb $'\n', (%rdi)
    incq %rdi
    leaq line(%rip), %rsi
1:  movl $LINE_STATUS, %edx
    inb %dx, %al
    testb $LINE_STATUS_THR_EMPTY, %al
    jz 1b
    lodsb
    movl $COM1, %edx
    outb %al, %dx
    cmpq %rdi, %rsi
    jb 1b
    leaq line(%rip), %rdi
    ret

.include "text.inc"

.text 1
text_command_line: .asciz "cmdline "
text_type: .asciz " type="
text_done: .asciz "done"
.balign 16
kernel_end:
.set line, kernel_end            # beyond the image, within init_size
