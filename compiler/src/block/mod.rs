//! Instruction blocks: virtual registers, register assignment, scheduling, assembly text.
