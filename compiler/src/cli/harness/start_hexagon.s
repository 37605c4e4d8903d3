// Start-up of the harness as a program of qemu-hexagon: a stack of our own, semihosting's calls
// by the system's, stack painting. The twin of start.s.

    .section .text.start, "ax"

    .global _start
    .type _start, @function
_start:
    r29 = ##__stack_top
    call firmware_main
    // exit_group with the result of firmware_main.
    r6 = #94
    trap0(#1)

    // uint32_t semihost(uint32_t operation, void *arguments)
    .section .text.semihost, "ax"
    .global semihost
    .type semihost, @function
semihost:
    { p0 = cmp.eq(r0,#1); r7 = r1; r8 = r31 }
    { if (p0) jump .Lopen; p1 = cmp.eq(r0,#2) }
    { if (p1) jump .Lclose; p0 = cmp.eq(r0,#5) }
    // Read and write: handle, address, bytes; gives the bytes that were not moved. The system
    // may move fewer than asked for.
    r6 = #63
    { if (p0) r6 = #64 }
    r3 = memw(r7+#4)
    r4 = memw(r7+#8)
.Lmore:
    { r0 = memw(r7+#0); r1 = r3 }
    { r2 = r4; p0 = cmp.eq(r4,#0) }
    { if (p0) jump .Ldone }
    trap0(#1)
    { p0 = cmp.gt(r0,#0) }
    { if (!p0) jump .Ldone }
    { r3 = add(r3,r0); r4 = sub(r4,r0) }
    jump .Lmore
.Ldone:
    { r0 = r4 }
    jumpr r8
.Lopen:
    // openat in the working folder; mode 1 reads, mode 5 writes anew.
    r3 = memw(r7+#4)
    { r1 = memw(r7+#0); r2 = #0; p0 = cmp.eq(r3,#5); r0 = #-100 }
    { if (p0) r2 = ##577; r3 = ##438; r6 = #56 }
    trap0(#1)
    { p0 = cmp.gt(r0,#-1) }
    { if (!p0) r0 = #-1 }
    jumpr r8
.Lclose:
    { r0 = memw(r7+#0); r6 = #57 }
    trap0(#1)
    jumpr r8

    .section .text.stack, "ax"

    // uintptr_t paint_stack(void): fills the unused stack, gives the caller's stack pointer.
    .global paint_stack
    .type paint_stack, @function
paint_stack:
    r1 = ##__stack_limit
    r2 = ##0xDEADBEEF
.Lpaint:
    p0 = cmp.gtu(r29,r1)
    { if (!p0) jump .Lpainted }
    { memw(r1+#0) = r2; r1 = add(r1,#4) }
    jump .Lpaint
.Lpainted:
    { r0 = r29; jumpr r31 }

    // uint32_t painted_stack(uintptr_t from): bytes below `from` that were written since.
    .global painted_stack
    .type painted_stack, @function
painted_stack:
    r1 = ##__stack_limit
    r2 = ##0xDEADBEEF
.Llook:
    p0 = cmp.gtu(r0,r1)
    { if (!p0) jump .Lfound }
    r3 = memw(r1+#0)
    p0 = cmp.eq(r3,r2)
    { if (!p0) jump .Lfound }
    r1 = add(r1,#4)
    jump .Llook
.Lfound:
    { r0 = sub(r0,r1); jumpr r31 }

    // uint32_t run_guarded(uint32_t (*run)(void)): what `run` gives. Kernels of this core name no
    // register that a callee keeps, which is checked when they are made.
    .global run_guarded
    .type run_guarded, @function
run_guarded:
    jumpr r0
