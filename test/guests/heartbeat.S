# heartbeat: a PVH guest that dirties and verifies its memory on every CPU and says so, with its own
# clocks. What updates and migrations are tested with. The heavy work is in ring 3.
#
# Command line, all numbers decimal:
#   cpus=N        1 to 8; default: what fw_cfg says
#   memory=MIB    how much memory is worked on, from 16 MiB up, shared by the CPUs; default 64;
#                 clipped to the RAM there is
#   rate=MBPS     at most so many MB/s (10^6 bytes) are rewritten, by all CPUs together; default: no
#                 limit. A CPU that is ahead halts for 1 ms at a time,
#   spin=1        or spins, for gaps that are exact
#   period=MS     between beats, default 100
#   fill=1        fills the memory with pseudo-random bytes first (it is not compressible then)
#
# Memory: CPU i owns the i-th slice. In endless passes it verifies every page and rewrites it with
# the next generation: the 64-bit words at offsets 0, 584, ... 4088 (one in each 512 bytes) hold
# generation << 32 | address of the word.
#
# Output. Fields never contain blanks; lists have one value per CPU.
#   heartbeat cpus=2 memory=64 rate=0 period=100 tsc_khz=2000000 kvmclock=1
#   beat 000001 tsc=HEX clock=NS gap=NS,NS passes=N,N pages=N errors=N
#       consecutive numbers from 1. clock: kvmclock of CPU 0 or `none`. gap: the largest step between
#       two readings of the TSC in each CPU's loop since the last beat. pages: rewritten so far.
#       errors: of memory and clocks so far.
#   MEMORY ERROR cpu=N address=HEX expected=HEX found=HEX
#   CLOCK ERROR cpu=N clock=tsc|kvmclock|shared before=HEX after=HEX
#       a clock went backwards; `shared`: kvmclock of one CPU fell behind another's although the
#       hypervisor says that they agree. Errors come one line per CPU and 10 ms at most; all count.
#   CPU ERROR started=N of=N          not all CPUs answered within 10 s
#
# Input, looked at every 10 ms, one byte each:
#   p   prints  status beats=N clock=NS memory_errors=N clock_errors=N received=N passes=N,N
#   e   prints  echo LINE  for the text that follows up to a newline (at most 4000 bytes)
#   x   damages a word of CPU 0's memory, to see the error     c   the same for its clocks
#   q   powers off by the generic event device, or by a triple fault where there is none
#   r   resets by the keyboard controller's port or by a triple fault; R by the event device

.include "pvh.inc"
.include "text.inc"
.include "clock.inc"
.include "smp.inc"
.include "serial.inc"

.set MEMORY_START, 0x1000000
.set POLL_MILLISECONDS, 10
.set ECHO_LIMIT, 4000

# What belongs to one CPU; r15 points to it.
.set CPU_INDEX, 0
.set CPU_SLICE_START, 8
.set CPU_SLICE_END, 16
.set CPU_PASSES, 24
.set CPU_PAGES, 32
.set CPU_LAST_TSC, 40
.set CPU_LAST_CLOCK, 48
.set CPU_GAP, 56                 # largest step of the TSC; CPU 0 takes it
.set CPU_NEXT_PAGE, 64           # TSC at which the next page is due
.set CPU_NEXT_POLL, 72           # TSC; CPU 0 only
.set CPU_MEMORY_ERRORS, 80
.set CPU_CLOCK_ERRORS, 88
.set CPU_MEMORY_REPORT, 96       # 1: address, expected, found are to be printed by CPU 0
.set CPU_REPORT_ADDRESS, 104
.set CPU_REPORT_EXPECTED, 112
.set CPU_REPORT_FOUND, 120
.set CPU_CLOCK_REPORT, 128       # address of the clock's name: before, after are to be printed
.set CPU_REPORT_BEFORE, 136
.set CPU_REPORT_AFTER, 144
.set CPU_BLOCK_SHIFT, 8

guest_main:
    xorl %edi, %edi
    call set_up_clock
    movl $main, %eax
    jmp enter_ring3

main:
    movl $cpu_blocks, %edi
    movl $(MAX_CPUS << CPU_BLOCK_SHIFT) / 8, %ecx
    xorl %eax, %eax
    rep stosq
    movl $cpu_blocks, %r15d
    call read_tsc
    movq %rax, CPU_LAST_TSC(%r15)
    call measure_tsc
    call set_up_serial
    call read_command_line
    movl cpus, %eax
    cmpl $1, %eax
    je 1f
    call start_cpus
    cmpl cpus, %eax
    je 1f
    call report_missing_cpus
1:  call clip_memory
    call print_ready
    call read_tsc
    movq %rax, next_beat
    movl cpus, %eax
    movl %eax, cpus_running
    xorl %edi, %edi

# Every CPU, in ring 3. edi = its index.
cpu_main:
    movl %edi, %r15d
    shll $CPU_BLOCK_SHIFT, %r15d
    addl $cpu_blocks, %r15d
1:  pause
    movl cpus_running, %ecx
    testl %ecx, %ecx
    jz 1b
    cmpl %ecx, %edi
    jb 2f
    service service_halt
2:  movl %edi, CPU_INDEX(%r15)
    movl $LAPIC, %ebx
    movl $0xb, LAPIC_TIMER_DIVIDE - LAPIC(%rbx)
    movl $VECTOR_TIMER, LAPIC_LVT_TIMER - LAPIC(%rbx)
    # This CPU's slice of the memory.
    movl memory, %eax
    shll $8, %eax                # in pages
    xorl %edx, %edx
    divl %ecx
    shll $12, %eax
    movl %eax, %ecx
    mull %edi
    leaq MEMORY_START(%rax), %r12
    movq %r12, CPU_SLICE_START(%r15)
    addq %r12, %rcx
    movq %rcx, CPU_SLICE_END(%r15)
    call read_tsc
    movq %rax, CPU_LAST_TSC(%r15)
    movq $0, CPU_GAP(%r15)
    movq %rax, CPU_NEXT_PAGE(%r15)
    orq $-1, CPU_NEXT_POLL(%r15)
    testl %edi, %edi
    jnz 3f
    movq %rax, CPU_NEXT_POLL(%r15)
3:  xorl %r14d, %r14d
    cmpl $0, fill
    je pass
    call fill_slice

# r12 = page, r13 = end of the slice, r14 = generation being written.
pass:
    incl %r14d
    movq CPU_SLICE_START(%r15), %r12
    movq CPU_SLICE_END(%r15), %r13
1:  call verify_page
    call write_page
    call tick
    cmpq $0, page_cost
    je 2f
    call pace
2:  addq $4096, %r12
    cmpq %r13, %r12
    jb 1b
    incq CPU_PASSES(%r15)
    jmp pass

# Compares the page at r12 with what the generation before r14 left there. The first generation
# finds nothing of ours.
verify_page:
    cmpl $1, %r14d
    je 2f
    leal -1(%r14), %ebx
    shlq $32, %rbx
    addq %r12, %rbx
.irp offset, 0, 584, 1168, 1752, 2336, 2920, 3504, 4088
    movl $\offset, %eax
    leaq \offset(%rbx), %rcx
    cmpq %rcx, \offset(%r12)
    jne 1f
.endr
    ret
1:  incq CPU_MEMORY_ERRORS(%r15)
    cmpl $0, CPU_MEMORY_REPORT(%r15)
    jne 2f
    addq %r12, %rax
    movq %rax, CPU_REPORT_ADDRESS(%r15)
    movq %rcx, CPU_REPORT_EXPECTED(%r15)
    movq (%rax), %rax
    movq %rax, CPU_REPORT_FOUND(%r15)
    movl $1, CPU_MEMORY_REPORT(%r15)
2:  ret

write_page:
    movq %r14, %rbx
    shlq $32, %rbx
    addq %r12, %rbx
.irp offset, 0, 584, 1168, 1752, 2336, 2920, 3504, 4088
    leaq \offset(%rbx), %rcx
    movq %rcx, \offset(%r12)
.endr
    incq CPU_PAGES(%r15)
    ret

# Fills the slice with a sequence (xorshift64) that starts from its address.
fill_slice:
    movq CPU_SLICE_START(%r15), %rbx
    movq %rbx, %rax
1:  movq %rax, %rcx
    shlq $13, %rcx
    xorq %rcx, %rax
    movq %rax, %rcx
    shrq $7, %rcx
    xorq %rcx, %rax
    movq %rax, %rcx
    shlq $17, %rcx
    xorq %rcx, %rax
    movq %rax, (%rbx)
    addq $8, %rbx
    testl $4095, %ebx
    jnz 1b
    pushq %rax
    call tick
    popq %rax
    cmpq CPU_SLICE_END(%r15), %rbx
    jb 1b
    ret

# Reads the clocks, checks that they went forward, and on CPU 0 does what is due. Keeps rbx, rbp and
# r10 to r15.
tick:
    call check_clocks
    movq CPU_LAST_TSC(%r15), %rax
    cmpq CPU_NEXT_POLL(%r15), %rax
    jae poll
    ret

while_waiting:                   # of serial.inc
check_clocks:
    call read_tsc
    movq CPU_LAST_TSC(%r15), %rcx
    movq %rax, CPU_LAST_TSC(%r15)
    movl $text_tsc, %esi
    cmpq %rcx, %rax
    jb clock_error
    movq %rax, %rdx
    subq %rcx, %rdx
    cmpq CPU_GAP(%r15), %rdx
    jbe 1f
    movq %rdx, CPU_GAP(%r15)
1:  cmpl $0, have_kvmclock
    je 2f
    movq shared_clock, %rdi      # before our own reading
    lfence
    movl CPU_INDEX(%r15), %r8d
    call read_kvmclock
    movl %ecx, %edx
    movq CPU_LAST_CLOCK(%r15), %rcx
    movq %rax, CPU_LAST_CLOCK(%r15)
    movl $text_kvmclock, %esi
    cmpq %rcx, %rax
    jb clock_error
    testl $PVCLOCK_STABLE, %edx
    jz 2f
    movl $text_shared, %esi
    movq %rdi, %rcx
    cmpq %rdi, %rax
    jb 3f
    movq %rax, %rdx
    movq %rdi, %rax
    lock cmpxchgq %rdx, shared_clock
2:  ret
3:  movq %rax, shared_clock      # one step back is one error
    jmp clock_error

# rsi = name of the clock, rcx = before, rax = after.
clock_error:
    incq CPU_CLOCK_ERRORS(%r15)
    cmpq $0, CPU_CLOCK_REPORT(%r15)
    jne 1f
    movq %rcx, CPU_REPORT_BEFORE(%r15)
    movq %rax, CPU_REPORT_AFTER(%r15)
    movq %rsi, CPU_CLOCK_REPORT(%r15)
1:  ret

# Holds this CPU to its share of the rate. It may be 1 ms ahead; what it missed for longer than
# 100 ms is not made up for.
pace:
    movq page_cost, %rbx
    addq CPU_NEXT_PAGE(%r15), %rbx
    movq CPU_LAST_TSC(%r15), %rax
    imulq $100, tsc_khz, %rcx
    addq %rbx, %rcx
    cmpq %rax, %rcx
    jae 1f
    movq %rax, %rbx
1:  movq %rbx, CPU_NEXT_PAGE(%r15)
    subq tsc_khz, %rbx
    cmpq %rbx, %rax
    jb 2f
    ret
2:  cmpl $0, spin
    jne 3f
    movl $1000000, %eax
    service service_sleep
    jmp 4f
3:  pause
4:  call tick
    movq CPU_LAST_TSC(%r15), %rax
    cmpq CPU_NEXT_PAGE(%r15), %rax
    jb 2b
    ret

# CPU 0, every 10 ms: errors, input, beats.
poll:
    pushq %rbx
    pushq %rbp
    # Lines are long: not again while this runs.
    orq $-1, CPU_NEXT_POLL(%r15)
    call print_reports
    call read_input
    call check_clocks
    movq CPU_LAST_TSC(%r15), %rax
    movq next_beat, %rcx
    cmpq %rcx, %rax
    jb 1f
    addq period, %rcx
    cmpq %rcx, %rax              # missed beats are not made up for
    cmovaq %rax, %rcx
    movq %rcx, next_beat
    call print_beat
1:  imulq $POLL_MILLISECONDS, tsc_khz, %rax
    addq CPU_LAST_TSC(%r15), %rax
    movq %rax, CPU_NEXT_POLL(%r15)
    popq %rbp
    popq %rbx
    ret

print_beat:
    call measure_tsc
    movl $line, %edi
    movl $text_beat, %esi
    call put_string
    incq beats
    movq beats, %rax
    movl $6, %ecx
    call put_decimal_digits
    movl $text_beat_tsc, %esi
    call put_string
    movq CPU_LAST_TSC(%r15), %rax
    call put_hex
    call put_clock
    movl $text_gap, %esi
    call put_string
    xorl %ebx, %ebx
1:  call nth_cpu
    xorl %eax, %eax
    xchgq %rax, CPU_GAP(%rbp)
    call tsc_to_nanoseconds
    call put_list_item
    jb 1b
    movl $text_passes, %esi
    call put_string
    call put_passes
    movl $text_pages, %esi
    call put_string
    movl $CPU_PAGES, %ecx
    call sum_of_cpus
    call put_decimal
    movl $text_errors, %esi
    call put_string
    movl $CPU_MEMORY_ERRORS, %ecx
    call sum_of_cpus
    pushq %rax
    movl $CPU_CLOCK_ERRORS, %ecx
    call sum_of_cpus
    popq %rcx
    addq %rcx, %rax
    call put_decimal
    jmp send_line

print_status:
    movl $line, %edi
    movl $text_status, %esi
    call put_string
    movq beats, %rax
    call put_decimal
    call put_clock
    movl $text_memory_errors, %esi
    call put_string
    movl $CPU_MEMORY_ERRORS, %ecx
    call sum_of_cpus
    call put_decimal
    movl $text_clock_errors, %esi
    call put_string
    movl $CPU_CLOCK_ERRORS, %ecx
    call sum_of_cpus
    call put_decimal
    movl $text_received, %esi
    call put_string
    movq received, %rax
    call put_decimal
    movl $text_passes, %esi
    call put_string
    call put_passes
    jmp send_line

put_clock:
    movl $text_clock, %esi
    call put_string
    movl $text_none, %esi
    cmpl $0, have_kvmclock
    je put_string
    movq CPU_LAST_CLOCK(%r15), %rax
    jmp put_decimal

put_passes:
    xorl %ebx, %ebx
1:  call nth_cpu
    movq CPU_PASSES(%rbp), %rax
    call put_list_item
    jb 1b
    ret

# rbp = block of CPU ebx.
nth_cpu:
    movl %ebx, %ebp
    shll $CPU_BLOCK_SHIFT, %ebp
    addl $cpu_blocks, %ebp
    ret

# Puts rax, a comma if another CPU follows, and goes on to that one: carry is set then.
put_list_item:
    call put_decimal
    incl %ebx
    cmpl cpus, %ebx
    jae 1f
    movb $',', (%rdi)
    incq %rdi
    stc
1:  ret

# rax = sum over all CPUs of the field at offset ecx. Changes rbx, rbp.
sum_of_cpus:
    xorl %eax, %eax
    xorl %ebx, %ebx
1:  call nth_cpu
    addq (%rbp,%rcx), %rax
    incl %ebx
    cmpl cpus, %ebx
    jb 1b
    ret

print_reports:
    xorl %ebx, %ebx
1:  call nth_cpu
    cmpl $0, CPU_MEMORY_REPORT(%rbp)
    je 2f
    movl $line, %edi
    movl $text_memory_error, %esi
    call put_string
    movl %ebx, %eax
    call put_decimal
    movl $text_address, %esi
    call put_string
    movq CPU_REPORT_ADDRESS(%rbp), %rax
    call put_hex
    movl $text_expected, %esi
    call put_string
    movq CPU_REPORT_EXPECTED(%rbp), %rax
    call put_hex
    movl $text_found, %esi
    call put_string
    movq CPU_REPORT_FOUND(%rbp), %rax
    call put_hex
    movl $0, CPU_MEMORY_REPORT(%rbp)
    call send_line
2:  cmpq $0, CPU_CLOCK_REPORT(%rbp)
    je 3f
    movl $line, %edi
    movl $text_clock_error, %esi
    call put_string
    movl %ebx, %eax
    call put_decimal
    movl $text_clock, %esi
    call put_string
    movq CPU_CLOCK_REPORT(%rbp), %rsi
    call put_string
    movl $text_before, %esi
    call put_string
    movq CPU_REPORT_BEFORE(%rbp), %rax
    call put_hex
    movl $text_after, %esi
    call put_string
    movq CPU_REPORT_AFTER(%rbp), %rax
    call put_hex
    movq $0, CPU_CLOCK_REPORT(%rbp)
    call send_line
3:  incl %ebx
    cmpl cpus, %ebx
    jb 1b
    ret

# Obeys every byte that has been received.
read_input:
    movl $LINE_STATUS, %edx
    service service_in
    testb $LINE_STATUS_DATA_READY, %al
    jz 1f
    movl $COM1, %edx
    service service_in
    incq received
    call handle_command
    jmp read_input
1:  ret

handle_command:
    movq echo_end, %rdi
    testq %rdi, %rdi
    jnz add_to_echo
    cmpb $'p', %al
    je print_status
    cmpb $'e', %al
    je start_echo
    cmpb $'x', %al
    je damage_memory
    cmpb $'c', %al
    je damage_clocks
    cmpb $'q', %al
    je power_off
    cmpb $'r', %al
    je reset
    cmpb $'R', %al
    je reset_by_event_device
    ret

start_echo:
    movl $echo_line, %edi
    movl $text_echo, %esi
    call put_string
    movq %rdi, echo_end
    ret

add_to_echo:
    cmpb $'\n', %al
    je 1f
    cmpb $'\r', %al
    je 1f
    cmpq $echo_line + ECHO_LIMIT, %rdi
    jae 2f
    movb %al, (%rdi)
    incq echo_end
    ret
1:  movq $0, echo_end
    movl $echo_line, %esi
    jmp send_text
2:  ret

damage_memory:
    movq CPU_SLICE_START(%r15), %rax
    xorb $1, 1752(%rax)
    ret

damage_clocks:
    movl $1, %eax
    shlq $40, %rax
    addq %rax, CPU_LAST_TSC(%r15)
    addq %rax, CPU_LAST_CLOCK(%r15)
    ret

power_off:
    movl $GED_SLEEP_CONTROL, %edx
    movb $GED_SLEEP_S5, (%rdx)
    movl $1000000, %eax
    call wait_microseconds
    service service_triple_fault

reset:
    movl $0x64, %edx
    movb $0xfe, %al
    service service_out
    movl $100000, %eax
    call wait_microseconds
    service service_triple_fault

reset_by_event_device:
    movl $GED_RESET, %edx
    movb $GED_RESET_VALUE, (%rdx)
    ret

read_command_line:
    movl $FW_CFG_SELECTOR, %edx
    movl $FW_CFG_NB_CPUS, %eax
    service service_out_word
    movl $FW_CFG_DATA, %edx
    service service_in
    movzbl %al, %eax
    decl %eax
    cmpl $MAX_CPUS, %eax         # no answer reads as 0xff
    jb 1f
    xorl %eax, %eax
1:  incl %eax
    movl %eax, cpus
    movl start_info, %eax
    movq START_INFO_COMMAND_LINE(%rax), %rbp
    testq %rbp, %rbp
    jz 2f
.irp option, cpus, memory, rate, period, fill, spin
    movl \option, %eax
    movq %rbp, %rdx
    movl $option_\option, %esi
    call find_number
    movl %eax, \option
.endr
2:  movl cpus, %eax
    testl %eax, %eax
    jnz 3f
    movl $1, cpus
3:  cmpl $MAX_CPUS, cpus
    jbe 4f
    movl $MAX_CPUS, cpus
4:  movl period, %eax            # from now on in units of the TSC
    movl %eax, period_milliseconds
    imulq tsc_khz, %rax
    movq %rax, period
    ret

# Clips `memory` to the RAM that PVH's memory map has from 16 MiB on, and sets page_cost.
clip_memory:
    movl start_info, %eax
    movq START_INFO_MEMORY_MAP(%rax), %rbx
    movl START_INFO_MEMORY_MAP_COUNT(%rax), %ecx
1:  testl %ecx, %ecx
    jz 3f
    movq (%rbx), %rax
    movq 8(%rbx), %rdx
    addq %rax, %rdx
    cmpl $1, 16(%rbx)
    jne 2f
    cmpq $MEMORY_START, %rax
    ja 2f
    subq $MEMORY_START, %rdx
    ja 4f
2:  addq $24, %rbx
    decl %ecx
    jmp 1b
3:  xorl %edx, %edx
4:  shrq $20, %rdx
    cmpq $3056, %rdx             # what lies below 3 GiB
    jbe 5f
    movl $3056, %edx
5:  cmpl memory, %edx
    jae 6f
    movl %edx, memory
6:  movl rate, %ecx
    testl %ecx, %ecx
    jz 7f
    movl cpus, %eax              # kHz * 4096 * cpus / (MB/s * 1000)
    shll $12, %eax
    mulq tsc_khz
    imulq $1000, %rcx
    divq %rcx
    movq %rax, page_cost
7:  ret

report_missing_cpus:
    pushq %rax
    movl $line, %edi
    movl $text_cpu_error, %esi
    call put_string
    movl (%rsp), %eax
    call put_decimal
    movl $text_of, %esi
    call put_string
    movl cpus, %eax
    call put_decimal
    popq %rax
    movl %eax, cpus
    jmp send_line

print_ready:
    movl $line, %edi
.irp option, cpus, memory, rate
    movl $ready_\option, %esi
    call put_string
    movl \option, %eax
    call put_decimal
.endr
    movl $ready_period, %esi
    call put_string
    movl period_milliseconds, %eax
    call put_decimal
    movl $ready_tsc_khz, %esi
    call put_string
    movq tsc_khz, %rax
    call put_decimal
    movl $ready_kvmclock, %esi
    call put_string
    movl have_kvmclock, %eax
    call put_decimal
    jmp send_line

.data
option_cpus: .asciz "cpus="
option_memory: .asciz "memory="
option_rate: .asciz "rate="
option_period: .asciz "period="
option_fill: .asciz "fill="
option_spin: .asciz "spin="
ready_cpus: .asciz "heartbeat cpus="
ready_memory: .asciz " memory="
ready_rate: .asciz " rate="
ready_period: .asciz " period="
ready_tsc_khz: .asciz " tsc_khz="
ready_kvmclock: .asciz " kvmclock="
text_beat: .asciz "beat "
text_beat_tsc: .asciz " tsc="
text_clock: .asciz " clock="
text_none: .asciz "none"
text_gap: .asciz " gap="
text_passes: .asciz " passes="
text_pages: .asciz " pages="
text_errors: .asciz " errors="
text_status: .asciz "status beats="
text_memory_errors: .asciz " memory_errors="
text_clock_errors: .asciz " clock_errors="
text_received: .asciz " received="
text_memory_error: .asciz "MEMORY ERROR cpu="
text_address: .asciz " address="
text_expected: .asciz " expected="
text_found: .asciz " found="
text_clock_error: .asciz "CLOCK ERROR cpu="
text_before: .asciz " before="
text_after: .asciz " after="
text_tsc: .asciz "tsc"
text_kvmclock: .asciz "kvmclock"
text_shared: .asciz "shared"
text_cpu_error: .asciz "CPU ERROR started="
text_of: .asciz " of="
text_echo: .asciz "echo "

.balign 8
cpus: .long 1
memory: .long 64
rate: .long 0
fill: .long 0
spin: .long 0
period_milliseconds: .long 0
period: .quad 100
page_cost: .quad 0               # TSC units per page and CPU; 0: no limit
next_beat: .quad 0
beats: .quad 0
received: .quad 0
echo_end: .quad 0                # where the next byte goes while a line is collected
cpus_running: .long 0
.balign 64
shared_clock: .quad 0            # the latest kvmclock that any CPU has seen
.space 56

.bss
.balign 64
cpu_blocks: .space MAX_CPUS << CPU_BLOCK_SHIFT
echo_line: .space ECHO_LIMIT + 16
