# IMAGE_DEF of RP2350: what the boot ROM looks for in the first 4 KiB of flash. An executable for its RISC-V cores,
# with where it begins and its first stack.
    .section .boot, "a"
    .balign 4
    .word 0xFFFFDED3
    .word 0x11010142
    .word 0x00000344
    .word reset
    .word __stack_top
    .word 0x000004FF
    .word 0
    .word 0xAB123579
