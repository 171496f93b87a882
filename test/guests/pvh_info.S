# pvh_info: prints what the PVH boot protocol passed, for tests of loaders. No command line options,
# no input. Numbers are hexadecimal unless noted.
#
#   pvh magic=H version=N flags=N modules=N memory_map=N rsdp=H
#   cmdline TEXT                             (the first 4000 bytes)
#   module start=H length=H sum=H            sum of its bytes
#   memory start=H length=H type=N           one line per entry; N decimal
#   rsdp signature=TEXT revision=N           if there is one
#   done

.include "pvh.inc"
.include "text.inc"
.include "serial.inc"

.macro put text, value, function=put_hex
    movl $1f, %esi
    call put_string
    movq \value, %rax
    call \function
    .pushsection .data
1:  .asciz "\text"
    .popsection
.endm

guest_main:
    xorl %edi, %edi
    movl $main, %eax
    jmp enter_ring3

while_waiting:
    ret

main:
    call set_up_serial
    movl start_info, %ebp
    movl $line, %edi
    movl (%rbp), %ebx
    put "pvh magic=", %rbx
    movl 4(%rbp), %ebx
    put " version=", %rbx, put_decimal
    movl 8(%rbp), %ebx
    put " flags=", %rbx, put_decimal
    movl START_INFO_MODULE_COUNT(%rbp), %r12d
    put " modules=", %r12, put_decimal
    movl START_INFO_MEMORY_MAP_COUNT(%rbp), %r13d
    put " memory_map=", %r13, put_decimal
    put " rsdp=", START_INFO_RSDP(%rbp)
    call send_line

    movl $line, %edi
    movl $text_command_line, %esi
    call put_string
    movq START_INFO_COMMAND_LINE(%rbp), %rsi
    testq %rsi, %rsi
    jz 2f
    movl $4000, %ecx
1:  lodsb
    testb %al, %al
    jz 2f
    stosb
    decl %ecx
    jnz 1b
2:  call send_line

    movq START_INFO_MODULES(%rbp), %rbx
3:  testl %r12d, %r12d
    jz 6f
    movl $line, %edi
    put "module start=", (%rbx)
    put " length=", 8(%rbx)
    movq (%rbx), %rsi
    movq 8(%rbx), %rcx
    xorl %r14d, %r14d
4:  testq %rcx, %rcx
    jz 5f
    movzbl (%rsi), %eax
    addq %rax, %r14
    incq %rsi
    decq %rcx
    jmp 4b
5:  put " sum=", %r14
    call send_line
    addq $32, %rbx
    decl %r12d
    jmp 3b

6:  movq START_INFO_MEMORY_MAP(%rbp), %rbx
7:  testl %r13d, %r13d
    jz 8f
    movl $line, %edi
    put "memory start=", (%rbx)
    put " length=", 8(%rbx)
    movl 16(%rbx), %r14d
    put " type=", %r14, put_decimal
    call send_line
    addq $24, %rbx
    decl %r13d
    jmp 7b

8:  movq START_INFO_RSDP(%rbp), %rbx
    testq %rbx, %rbx
    jz 9f
    movl $line, %edi
    movl $text_rsdp, %esi
    call put_string
    movq (%rbx), %rax
    stosq
    movzbl 15(%rbx), %r14d
    put " revision=", %r14, put_decimal
    call send_line

9:  movl $line, %edi
    movl $text_done, %esi
    call put_string
    call send_line
    service service_halt

.data
text_command_line: .asciz "cmdline "
text_rsdp: .asciz "rsdp signature="
text_done: .asciz "done"
