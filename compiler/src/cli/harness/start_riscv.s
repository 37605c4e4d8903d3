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

    # uint32_t run_guarded(uint32_t (*run)(void)): what `run` gives; all ones where it changed a
    # register that it had to keep. s0 to s11 hold a pattern meanwhile.
    .global run_guarded
    .type run_guarded, @function
run_guarded:
    addi sp, sp, -64
    sw ra, 48(sp)
    sw s0, 0(sp)
    sw s1, 4(sp)
    sw s2, 8(sp)
    sw s3, 12(sp)
    sw s4, 16(sp)
    sw s5, 20(sp)
    sw s6, 24(sp)
    sw s7, 28(sp)
    sw s8, 32(sp)
    sw s9, 36(sp)
    sw s10, 40(sp)
    sw s11, 44(sp)
    li s0, 0xC0DE0000
    addi s1, s0, 17
    addi s2, s0, 34
    addi s3, s0, 51
    addi s4, s0, 68
    addi s5, s0, 85
    addi s6, s0, 102
    addi s7, s0, 119
    addi s8, s0, 136
    addi s9, s0, 153
    addi s10, s0, 170
    addi s11, s0, 187
    jalr a0
    li t0, 0xC0DE0000
    xor t1, s0, t0
    addi t2, t0, 17
    xor t2, s1, t2
    or t1, t1, t2
    addi t2, t0, 34
    xor t2, s2, t2
    or t1, t1, t2
    addi t2, t0, 51
    xor t2, s3, t2
    or t1, t1, t2
    addi t2, t0, 68
    xor t2, s4, t2
    or t1, t1, t2
    addi t2, t0, 85
    xor t2, s5, t2
    or t1, t1, t2
    addi t2, t0, 102
    xor t2, s6, t2
    or t1, t1, t2
    addi t2, t0, 119
    xor t2, s7, t2
    or t1, t1, t2
    addi t2, t0, 136
    xor t2, s8, t2
    or t1, t1, t2
    addi t2, t0, 153
    xor t2, s9, t2
    or t1, t1, t2
    addi t2, t0, 170
    xor t2, s10, t2
    or t1, t1, t2
    addi t2, t0, 187
    xor t2, s11, t2
    or t1, t1, t2
    beqz t1, 1f
    li a0, -1
1:
    lw s0, 0(sp)
    lw s1, 4(sp)
    lw s2, 8(sp)
    lw s3, 12(sp)
    lw s4, 16(sp)
    lw s5, 20(sp)
    lw s6, 24(sp)
    lw s7, 28(sp)
    lw s8, 32(sp)
    lw s9, 36(sp)
    lw s10, 40(sp)
    lw s11, 44(sp)
    lw ra, 48(sp)
    addi sp, sp, 64
    ret
