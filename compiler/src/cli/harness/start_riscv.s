# Start-up of the harness as a program of qemu-riscv32, for C and Rust alike: a stack of our own,
# semihosting, stack painting. The twin of start.s; memory is the emulator's business here.

    .section .text.start, "ax"

    .global _start
    .type _start, @function
_start:
    la sp, __stack_top
    call firmware_main
    # SYS_EXIT_EXTENDED with ADP_Stopped_ApplicationExit and the result of firmware_main.
    addi sp, sp, -16
    li t0, 0x20026
    sw t0, 0(sp)
    sw a0, 4(sp)
    li a0, 0x20
    mv a1, sp
    call semihost
1:  j 1b

    # uint32_t semihost(uint32_t operation, void *arguments)
    # The call is these three instructions, uncompressed and within one page.
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

    .section .text.stack, "ax"

    # uintptr_t paint_stack(void): fills the unused stack, gives the caller's stack pointer.
    .global paint_stack
    .type paint_stack, @function
paint_stack:
    la t0, __stack_limit
    li t1, 0xDEADBEEF
1:  bgeu t0, sp, 2f
    sw t1, 0(t0)
    addi t0, t0, 4
    j 1b
2:  mv a0, sp
    ret

    # uint32_t painted_stack(uintptr_t from): bytes below `from` that were written since.
    .global painted_stack
    .type painted_stack, @function
painted_stack:
    la t0, __stack_limit
    li t1, 0xDEADBEEF
1:  bgeu t0, a0, 2f
    lw t2, 0(t0)
    bne t2, t1, 2f
    addi t0, t0, 4
    j 1b
2:  sub a0, a0, t0
    ret
