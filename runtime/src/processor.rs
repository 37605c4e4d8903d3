//! What the running processor says of itself, for checks in debug builds: whether it has what
//! native kernels need.
//!
//! In: feature registers of Arm's M profile. Out: `false` where the processor denies it; `true`
//! where it has it or cannot be asked, as on the host or in unprivileged code. Law: inlined, so
//! that what nobody calls is nowhere.

/// Whether there are Helium's vectors (MVFR1, Armv8-M Architecture Reference Manual, DDI 0553).
#[inline(always)]
pub fn has_helium() -> bool {
    field(0xE000_EF44, 8).is_none_or(|mve| mve >= 1)
}

/// Whether there is packed arithmetic of 16 bits (CPUID, ID_ISAR3, Armv7-M Architecture Reference
/// Manual, DDI 0403). Cortex-M4 and M7 always have it, whatever an emulator says in the second.
#[inline(always)]
pub fn has_dsp() -> bool {
    let part = field(0xE000_ED00, 4).zip(field(0xE000_ED00, 12));
    part == Some((4, 12)) || part == Some((7, 12)) || field(0xE000_ED6C, 4).is_none_or(|simd| simd >= 3)
}

/// Four bits of a feature register; `None` if it cannot be read.
#[cfg(all(target_arch = "arm", target_os = "none"))]
#[inline(always)]
fn field(register: usize, shift: u32) -> Option<u32> {
    let (control, exception): (u32, u32);
    // SAFETY: special registers that may be read in every mode.
    unsafe {
        core::arch::asm!("mrs {}, control", out(reg) control, options(nomem, nostack, preserves_flags));
        core::arch::asm!("mrs {}, ipsr", out(reg) exception, options(nomem, nostack, preserves_flags));
    }
    if control & 1 != 0 && exception & 0x1FF == 0 {
        return None;
    }
    // SAFETY: privileged code may read the System Control Space; what a processor lacks reads as zero.
    let value = unsafe { (register as *const u32).read_volatile() };
    Some(value >> shift & 15)
}

#[cfg(not(all(target_arch = "arm", target_os = "none")))]
#[inline(always)]
fn field(_register: usize, _shift: u32) -> Option<u32> {
    None
}
