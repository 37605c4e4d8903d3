@ IMAGE_DEF of RP2350: what the boot ROM looks for in the first 4 KiB of flash. An executable for its Arm cores in
@ secure state, whose vector table stands at its start.
    .section .boot, "a"
    .balign 4
    .word 0xFFFFDED3
    .word 0x10210142
    .word 0x000001FF
    .word 0
    .word 0xAB123579
