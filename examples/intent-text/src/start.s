@ The start of a Cortex-M: vectors, coprocessors, initialised data and zeros.

    .syntax unified
    .thumb

    .section .vectors, "a"
    .word __stack_top
    .word reset
    .rept 14
    .word fault
    .endr

    .section .text.start, "ax"
    .global reset
    .type reset, %function
    .thumb_func
reset:
    @ CPACR: access to the FPU and Helium.
    ldr r0, =0xE000ED88
    ldr r1, [r0]
    orr r1, r1, #0x00F00000
    str r1, [r0]
    dsb
    isb
    ldr r0, =__data_load
    ldr r1, =__data_start
    ldr r2, =__data_end
1:  cmp r1, r2
    bhs 2f
    ldr r3, [r0], #4
    str r3, [r1], #4
    b 1b
2:  ldr r1, =__bss_start
    ldr r2, =__bss_end
    movs r3, #0
3:  cmp r1, r2
    bhs 4f
    str r3, [r1], #4
    b 3b
4:  bl firmware

    .type fault, %function
    .thumb_func
fault:
    @ SYS_EXIT_EXTENDED with exit code 99, on a fresh stack.
    ldr r0, =__stack_top
    mov sp, r0
    ldr r0, =0x20026
    movs r1, #99
    push {r0, r1}
    movs r0, #0x20
    mov r1, sp
    bkpt 0xab
5:  b 5b

    .global semihost
    .type semihost, %function
    .thumb_func
semihost:
    bkpt 0xab
    bx lr

    .pool
