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

    @ uint32_t run_guarded(uint32_t (*run)(void)): what `run` gives; all ones where it changed a
    @ register that it had to keep. r4 to r11, and s16 to s31 (q4 to q7 are the same) where the
    @ core has them, hold a pattern meanwhile.
    .global run_guarded
    .type run_guarded, %function
    .thumb_func
run_guarded:
    push {r4-r7, lr}
    mov r4, r8
    mov r5, r9
    mov r6, r10
    mov r7, r11
    push {r4-r7}
    @ The caller's s16 to s31, those that `run` left, and whether there are any.
    sub sp, #132
    mov r3, r0
    ldr r0, =0xE000ED88
    ldr r0, [r0]
    ldr r1, =0x00F00000
    ands r0, r1
    str r0, [sp, #128]
    beq 1f
    mov r0, sp
    @ vstmia r0!, {s16-s31}; vldmia r0!, {s16-s31}: spelled in bits, for cores without them.
    .inst.w 0xECA08A10
    ldr r0, =pattern
    .inst.w 0xECB08A10
1:  ldr r0, =pattern
    ldr r4, [r0, #16]
    mov r8, r4
    ldr r4, [r0, #20]
    mov r9, r4
    ldr r4, [r0, #24]
    mov r10, r4
    ldr r4, [r0, #28]
    mov r11, r4
    ldr r4, [r0, #0]
    ldr r5, [r0, #4]
    ldr r6, [r0, #8]
    ldr r7, [r0, #12]
    blx r3
    mov r12, r0
    ldr r0, =pattern
    ldr r1, [r0, #0]
    eors r4, r1
    ldr r1, [r0, #4]
    eors r5, r1
    ldr r1, [r0, #8]
    eors r6, r1
    ldr r1, [r0, #12]
    eors r7, r1
    orrs r4, r5
    orrs r4, r6
    orrs r4, r7
    ldr r1, [r0, #16]
    mov r5, r8
    eors r5, r1
    orrs r4, r5
    ldr r1, [r0, #20]
    mov r5, r9
    eors r5, r1
    orrs r4, r5
    ldr r1, [r0, #24]
    mov r5, r10
    eors r5, r1
    orrs r4, r5
    ldr r1, [r0, #28]
    mov r5, r11
    eors r5, r1
    orrs r4, r5
    ldr r1, [sp, #128]
    cmp r1, #0
    beq 3f
    mov r0, sp
    adds r0, #64
    .inst.w 0xECA08A10
    mov r0, sp
    .inst.w 0xECB08A10
    @ r0 is at what `run` left.
    ldr r1, =pattern
    movs r2, #16
2:  ldr r5, [r0]
    ldr r6, [r1]
    eors r5, r6
    orrs r4, r5
    adds r0, #4
    adds r1, #4
    subs r2, #1
    bne 2b
3:  mov r0, r12
    cmp r4, #0
    beq 4f
    movs r0, #0
    mvns r0, r0
4:  add sp, #132
    pop {r4-r7}
    mov r8, r4
    mov r9, r5
    mov r10, r6
    mov r11, r7
    pop {r4-r7, pc}

    .pool

    .section .rodata.start, "a"
    .balign 4
pattern:
    .word 0xC0DE0000, 0xC0DE0101, 0xC0DE0202, 0xC0DE0303, 0xC0DE0404, 0xC0DE0505, 0xC0DE0606, 0xC0DE0707
    .word 0xC0DE0808, 0xC0DE0909, 0xC0DE0A0A, 0xC0DE0B0B, 0xC0DE0C0C, 0xC0DE0D0D, 0xC0DE0E0E, 0xC0DE0F0F
fault_text:
    .asciz "the firmware met a processor fault\n"
