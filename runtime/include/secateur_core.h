/* Secateur: what the running processor says of itself, for checks in debug builds.
 *
 * In: feature registers of Arm's M profile. Out: 0 where the processor denies what native kernels
 * need; 1 where it has it or cannot be asked, as in unprivileged code.
 * Law: the twin of `secateur_runtime::processor`.
 */
#ifndef SECATEUR_CORE_H
#define SECATEUR_CORE_H

#include "secateur.h"

#if defined(__ARM_ARCH_PROFILE)
#if __ARM_ARCH_PROFILE == 'M'
#define SECATEUR_ARM_M
#endif
#endif

SECATEUR_CXX_BEGIN

/* Four bits of a feature register; all of them if it cannot be read. */
static inline uint32_t secateur_feature(uintptr_t address, uint32_t shift)
{
#if defined(SECATEUR_ARM_M)
    uint32_t control, exception;
    __asm__ volatile("mrs %0, control" : "=r"(control));
    __asm__ volatile("mrs %0, ipsr" : "=r"(exception));
    if ((control & 1u) != 0u && (exception & 0x1FFu) == 0u) {
        return 15u;
    }
    return (*(const volatile uint32_t *)address >> shift) & 15u;
#else
    (void)address;
    (void)shift;
    return 15u;
#endif
}

/* Helium's vectors: MVFR1 (Armv8-M Architecture Reference Manual, DDI 0553). */
static inline int secateur_has_helium(void) { return secateur_feature(0xE000EF44u, 8u) >= 1u; }

/* Packed arithmetic of 16 bits: CPUID, ID_ISAR3 (Armv7-M Architecture Reference Manual, DDI 0403).
 * Cortex-M4 and M7 always have it, whatever an emulator says in the second. */
static inline int secateur_has_dsp(void)
{
    const uint32_t part = secateur_feature(0xE000ED00u, 4u);
    if (secateur_feature(0xE000ED00u, 12u) == 12u && (part == 4u || part == 7u)) {
        return 1;
    }
    return secateur_feature(0xE000ED6Cu, 4u) >= 3u;
}

SECATEUR_CXX_END

#endif
