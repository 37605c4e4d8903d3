@ The start of a Cortex-M: vectors, coprocessors, initialised data and zeros; then main.

    .syntax unified
    .thumb

    @ The first sixteen. The chip's interrupts follow here, a word each, once you switch some on.
    .section .vectors, "a"
    .balign 128
vectors:
    .word __stack_top
    .word reset
    .rept 14
    .word stopped
    .endr

    .section .text.start, "ax"
    .global reset
    .type reset, %function
    .thumb_func
reset:
    @ VTOR: these vectors, whoever came before.
    ldr r0, =0xE000ED08
    ldr r1, =vectors
    str r1, [r0]
    @ CPACR: access to the FPU and Helium; no effect where there are none.
    ldr r0, =0xE000ED88
    ldr r1, [r0]
    ldr r2, =0x00F00000
    orrs r1, r2
    str r1, [r0]
    dsb
    isb
    ldr r0, =__data_load
    ldr r1, =__data_start
    ldr r2, =__data_end
1:  cmp r1, r2
    bhs 2f
    ldr r3, [r0]
    str r3, [r1]
    adds r0, #4
    adds r1, #4
    b 1b
2:  ldr r1, =__bss_start
    ldr r2, =__bss_end
    movs r3, #0
3:  cmp r1, r2
    bhs 4f
    str r3, [r1]
    adds r1, #4
    b 3b
4:  bl main
5:  b 5b

    @ A fault: on a fresh stack, as the old one may be what failed.
    .type stopped, %function
    .thumb_func
stopped:
    ldr r0, =__stack_top
    mov sp, r0
    bl fault
6:  b 6b

    @ A request to the debugger or emulator: semihost(operation, arguments).
    .global semihost
    .type semihost, %function
    .thumb_func
semihost:
    bkpt 0xab
    bx lr

    .pool
