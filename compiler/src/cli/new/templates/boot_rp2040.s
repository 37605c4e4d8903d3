@ The second stage of RP2040's start: its ROM copies the first 256 bytes of the flash outside into RAM, compares the
@ last word with a CRC32 of the others (polynomial 0x04C11DB7, all ones first), and runs them. They switch on reading of
@ the flash in place, one bit at a time, which every flash understands (command 03h), and go on at the vector table
@ behind them. Words instead of instructions, so that no assembler changes the sum:
@
@     ldr r3, =0x18000000
@     movs r1, #0
@     str r1, [r3, #0x08]
@     movs r1, #4
@     str r1, [r3, #0x14]
@     ldr r1, =0x001F0300
@     str r1, [r3, #0x00]
@     ldr r1, =0x03000218
@     ldr r0, =0x180000F4
@     str r1, [r0]
@     movs r1, #0
@     str r1, [r3, #0x04]
@     movs r1, #1
@     str r1, [r3, #0x08]
@     ldr r0, =0x10000100
@     ldr r1, =0xE000ED08
@     str r0, [r1]
@     ldmia r0!, {r2, r3}
@     msr msp, r2
@     bx r3
@
@ and the constants that they load.
    .section .boot, "a"
    .balign 256
    .word 0x21004B0A, 0x21046099, 0x49096159, 0x49096019
    .word 0x60014809, 0x60592100, 0x60992101, 0x49084807
    .word 0xC80C6008, 0x8808F382, 0x46C04718, 0x18000000
    .word 0x001F0300, 0x03000218, 0x180000F4, 0x10000100
    .word 0xE000ED08
    .rept 46
    .word 0
    .endr
    .word 0x327B5CEE
