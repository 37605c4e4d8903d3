# The start of a RISC-V core: traps, a stack, initialised data and zeros; then main.

    .section .vectors, "ax"
    .global reset
    .type reset, @function
reset:
    .ifndef EMULATOR
    # Only one core runs this. The emulator's user mode has no such registers.
    # In bits, as assemblers differ in which extension has them: csrr t0, mhartid; csrw mtvec, t0.
    .4byte 0xF14022F3
0:  bnez t0, 0b
    la t0, stopped
    .4byte 0x30529073
    .endif
    la sp, __stack_top
    la t0, __data_load
    la t1, __data_start
    la t2, __data_end
1:  bgeu t1, t2, 2f
    lw t3, 0(t0)
    sw t3, 0(t1)
    addi t0, t0, 4
    addi t1, t1, 4
    j 1b
2:  la t1, __bss_start
    la t2, __bss_end
3:  bgeu t1, t2, 4f
    sw zero, 0(t1)
    addi t1, t1, 4
    j 3b
4:  call main
5:  j 5b

    # A trap: on a fresh stack, as the old one may be what failed.
    .balign 4
stopped:
    la sp, __stack_top
    call fault
6:  j 6b

    # A request to the debugger or emulator: semihost(operation, arguments). These three
    # instructions, uncompressed and within one page.
    .global semihost
    .type semihost, @function
    .section .text.semihost, "ax"
    .balign 16
    .option push
    .option norvc
semihost:
    slli zero, zero, 0x1f
    ebreak
    srai zero, zero, 7
    ret
    .option pop
