@ Start-up of the harness firmware, for C and Rust alike: vector table, coprocessors, memory,
@ semihosting, stack painting. Only instructions that every Cortex-M has. What differs between
@ boards comes from the linker script: addresses, and __unaligned_trap (8 on cores without
@ unaligned access, else 0).

    .syntax unified
    .thumb

    .section .vectors, "a"
    .global __vectors
__vectors:
    .word __stack_top
    .word Reset_Handler
    .rept 14
    .word fault
    .endr

    .section .text.start, "ax"

    .global Reset_Handler
    .type Reset_Handler, %function
    .thumb_func
Reset_Handler:
    @ CPACR: full access to coprocessors 10 and 11 (FPU, Helium); ignored where there are none.
    ldr r0, =0xE000ED88
    ldr r1, [r0]
    ldr r2, =0x00F00000
    orrs r1, r2
    str r1, [r0]
    @ CCR.UNALIGN_TRP
    ldr r0, =0xE000ED14
    ldr r1, [r0]
    ldr r2, =__unaligned_trap
    orrs r1, r2
    str r1, [r0]
    dsb
    isb
    @ Initialised data, then zeros.
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
4:  bl firmware_main
    @ SYS_EXIT_EXTENDED with ADP_Stopped_ApplicationExit and the result of firmware_main.
exit_with_r0:
    sub sp, #8
    str r0, [sp, #4]
    ldr r0, =0x20026
    str r0, [sp]
    movs r0, #0x20
    mov r1, sp
    bkpt 0xab
5:  b 5b

    .type fault, %function
    .thumb_func
fault:
    @ The stack may be what failed: take a fresh one. SYS_WRITE0, then exit code 99.
    ldr r0, =__stack_top
    mov sp, r0
    movs r0, #4
    ldr r1, =fault_text
    bkpt 0xab
    movs r0, #99
    b exit_with_r0

    @ uint32_t semihost(uint32_t operation, void *arguments)
    .global semihost
    .type semihost, %function
    .thumb_func
semihost:
    bkpt 0xab
    bx lr

    @ uintptr_t paint_stack(void): fills the unused stack, gives the caller's stack pointer.
    .global paint_stack
    .type paint_stack, %function
    .thumb_func
paint_stack:
    ldr r0, =__stack_limit
    ldr r1, =0xDEADBEEF
    mov r2, sp
1:  cmp r0, r2
    bhs 2f
    str r1, [r0]
    adds r0, #4
    b 1b
2:  mov r0, sp
    bx lr

    @ uint32_t painted_stack(uintptr_t from): bytes below `from` that were written since.
    .global painted_stack
    .type painted_stack, %function
    .thumb_func
painted_stack:
    ldr r1, =__stack_limit
    ldr r2, =0xDEADBEEF
1:  cmp r1, r0
    bhs 2f
    ldr r3, [r1]
    cmp r3, r2
    bne 2f
    adds r1, #4
    b 1b
2:  subs r0, r0, r1
    bx lr

    .pool

    .section .rodata.start, "a"
fault_text:
    .asciz "the firmware met a processor fault\n"
