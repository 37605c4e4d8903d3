/* Secateur: integer helpers of generated C.
 *
 * In: integers. Out: what the loop language says of its operators, without undefined behaviour:
 * sums and products wrap, shifts to the right keep the sign, nothing traps.
 * Law: the twin of what emitted Rust does with `wrapping_*`; no float, no library.
 */
#ifndef SECATEUR_H
#define SECATEUR_H

#include <stdint.h>

#if (-1 >> 1) != -1
#error "secateur needs a compiler that shifts negative numbers arithmetically"
#endif

/* The one function of a C library that generated code calls; these compilers know it without a
 * header, which a bare processor may not have. */
#if defined(__GNUC__) || defined(__clang__)
#define secateur_copy __builtin_memcpy
#else
#include <string.h>
#define secateur_copy memcpy
#endif

/* The arena is one array of bytes that kernels read and write as other types; these types say
 * so to compilers that would otherwise assume that such accesses never meet. */
#if defined(__GNUC__) || defined(__clang__)
#define SECATEUR_ALIAS __attribute__((__may_alias__))
#else
#define SECATEUR_ALIAS /* switch type-based alias analysis off: IAR's is --no_tbaa */
#endif

/* Constants that are read by words begin at a multiple of so many bytes. Stands first in a
 * declaration; for a compiler that is not among these, define it before this file. */
#if defined(SECATEUR_ALIGN)
#elif defined(__GNUC__) || defined(__clang__)
#define SECATEUR_ALIGN(n) __attribute__((__aligned__(n)))
#elif defined(__CC_ARM)
#define SECATEUR_ALIGN(n) __align(n)
#elif defined(__ICCARM__) || defined(__ICCRISCV__)
#define SECATEUR_PRAGMA(text) _Pragma(#text)
#define SECATEUR_ALIGN(n) SECATEUR_PRAGMA(data_alignment = n)
#elif defined(_MSC_VER)
#define SECATEUR_ALIGN(n) __declspec(align(n))
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define SECATEUR_ALIGN(n) _Alignas(n)
#else
#error "secateur cannot align constants with this compiler: define SECATEUR_ALIGN(n)"
#endif

/* Instruction blocks are in the syntax of GNU's assembler, which these compilers do not have
 * although they announce the same instructions. Define it to build without NAME_kernels.S. */
#if !defined(SECATEUR_PORTABLE) && (defined(__CC_ARM) || defined(__ICCARM__) || defined(__ICCRISCV__))
#define SECATEUR_PORTABLE
#elif !defined(SECATEUR_PORTABLE) && !defined(__GNUC__) && !defined(__clang__)
#define SECATEUR_PORTABLE
#endif

/* C has one form of cast, which C++ compilers can be asked to warn of. */
#if defined(__cplusplus) && (defined(__GNUC__) || defined(__clang__))
#define SECATEUR_CXX_BEGIN \
    _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wold-style-cast\"")
#define SECATEUR_CXX_END _Pragma("GCC diagnostic pop")
#else
#define SECATEUR_CXX_BEGIN
#define SECATEUR_CXX_END
#endif

SECATEUR_CXX_BEGIN

/* Where a check of a debug build (NDEBUG is not defined) ends that failed. Define SECATEUR_STOP as
 * the name of a function of your own that reports the message and does not return. */
#if defined(SECATEUR_STOP)
#if defined(__cplusplus)
extern "C"
#endif
void SECATEUR_STOP(const char *message);
#else
#define SECATEUR_STOP secateur_stop
static inline void secateur_stop(const char *message)
{
    (void)message;
#if defined(__GNUC__) || defined(__clang__)
    __builtin_trap();
#else
    for (;;) {
    }
#endif
}
#endif

typedef int16_t SECATEUR_ALIAS secateur_i16;
typedef uint16_t SECATEUR_ALIAS secateur_u16;
typedef int32_t SECATEUR_ALIAS secateur_i32;
typedef uint32_t SECATEUR_ALIAS secateur_u32;
typedef int64_t SECATEUR_ALIAS secateur_i64;
typedef uint64_t SECATEUR_ALIAS secateur_u64;

static inline int32_t secateur_add(int32_t a, int32_t b)
{
    const uint32_t r = (uint32_t)a + (uint32_t)b;
    return (int32_t)r;
}
static inline int32_t secateur_sub(int32_t a, int32_t b)
{
    const uint32_t r = (uint32_t)a - (uint32_t)b;
    return (int32_t)r;
}
static inline int32_t secateur_mul(int32_t a, int32_t b)
{
    const uint32_t r = (uint32_t)a * (uint32_t)b;
    return (int32_t)r;
}
static inline int32_t secateur_neg(int32_t a)
{
    const uint32_t r = 0u - (uint32_t)a;
    return (int32_t)r;
}
static inline int32_t secateur_abs(int32_t a) { return a < 0 ? secateur_neg(a) : a; }
static inline int32_t secateur_shl(int32_t a, int32_t n) { return (int32_t)((uint32_t)a << (n & 31)); }
static inline int32_t secateur_shr(int32_t a, int32_t n) { return a >> (n & 31); }
/* The compiler excludes a divisor of zero; the answer 0 keeps the processor from trapping. */
static inline int32_t secateur_div(int32_t a, int32_t b)
{
    return b == 0 ? 0 : b == -1 ? secateur_neg(a) : a / b;
}
static inline int32_t secateur_rem(int32_t a, int32_t b) { return b == 0 || b == -1 ? 0 : a % b; }

static inline int64_t secateur_add64(int64_t a, int64_t b)
{
    const uint64_t r = (uint64_t)a + (uint64_t)b;
    return (int64_t)r;
}
static inline int64_t secateur_sub64(int64_t a, int64_t b)
{
    const uint64_t r = (uint64_t)a - (uint64_t)b;
    return (int64_t)r;
}
static inline int64_t secateur_neg64(int64_t a)
{
    const uint64_t r = 0u - (uint64_t)a;
    return (int64_t)r;
}
static inline int64_t secateur_abs64(int64_t a) { return a < 0 ? secateur_neg64(a) : a; }
static inline int64_t secateur_shl64(int64_t a, int64_t n) { return (int64_t)((uint64_t)a << (n & 63)); }
static inline int64_t secateur_shr64(int64_t a, int64_t n) { return a >> (n & 63); }
static inline int64_t secateur_div64(int64_t a, int64_t b)
{
    return b == 0 ? 0 : b == -1 ? secateur_neg64(a) : a / b;
}
static inline int64_t secateur_rem64(int64_t a, int64_t b) { return b == 0 || b == -1 ? 0 : a % b; }

/* Cores that know only Thumb-1 choose by a branch, and the library that multiplies 64 bits for them
 * branches too. What follows takes the same time for all numbers there: the sign of a difference,
 * which the compiler must not see through, masks it, and products are made of halves.
 * Of `near` numbers the difference fits its type. */
#if !defined(SECATEUR_THUMB_1) && defined(__thumb__) && !defined(__thumb2__) && defined(__GNUC__)
#define SECATEUR_THUMB_1
#endif
#if defined(SECATEUR_THUMB_1)
static inline int64_t secateur_words(uint32_t high, uint32_t low)
{
    return (int64_t)(((uint64_t)high << 32) | low);
}
static inline int64_t secateur_product(int32_t a, int32_t b)
{
    const int32_t ah = a >> 16, al = a & 0xFFFF, bh = b >> 16, bl = b & 0xFFFF;
    const int32_t first = (ah * bl) + (int32_t)(((uint32_t)al * (uint32_t)bl) >> 16);
    const int32_t second = (al * bh) + (first & 0xFFFF);
    const int32_t high = (ah * bh) + (first >> 16) + (second >> 16);
    return secateur_words((uint32_t)high, (uint32_t)a * (uint32_t)b);
}
static inline int64_t secateur_mul64(int64_t a, int64_t b)
{
    const int32_t al = (int32_t)a, bl = (int32_t)b;
    /* What the lower words, as numbers with a sign, leave to the upper ones. */
    const uint32_t ah = (uint32_t)((uint64_t)a >> 32) - (uint32_t)(al >> 31);
    const uint32_t bh = (uint32_t)((uint64_t)b >> 32) - (uint32_t)(bl >> 31);
    const int64_t more = secateur_words((ah * (uint32_t)bl) + (bh * (uint32_t)al), 0u);
    return secateur_add64(secateur_product(al, bl), more);
}
static inline int32_t secateur_masked(int32_t a, int32_t mask)
{
    __asm__("" : "+r"(mask));
    return a & mask;
}
static inline int64_t secateur_masked64(int64_t a, int64_t sign)
{
    uint32_t mask = (uint32_t)((uint64_t)sign >> 32);
    __asm__("" : "+r"(mask));
    return a & secateur_words(mask, mask);
}
static inline int32_t secateur_min_near(int32_t a, int32_t b)
{
    return b + secateur_masked(a - b, (a - b) >> 31);
}
static inline int32_t secateur_max_near(int32_t a, int32_t b)
{
    return a - secateur_masked(a - b, (a - b) >> 31);
}
static inline int32_t secateur_min(int32_t a, int32_t b)
{
    return secateur_add(b, secateur_masked(secateur_sub(a, b), (int32_t)(((int64_t)a - b) >> 32)));
}
static inline int32_t secateur_max(int32_t a, int32_t b)
{
    return secateur_sub(a, secateur_masked(secateur_sub(a, b), (int32_t)(((int64_t)a - b) >> 32)));
}
/* Negative where a < b: the sign of the difference, turned round if that overflows. */
static inline int64_t secateur_less64(int64_t a, int64_t b)
{
    const int64_t d = secateur_sub64(a, b);
    return (d ^ ((a ^ b) & (d ^ a))) >> 63;
}
static inline int64_t secateur_min64_near(int64_t a, int64_t b)
{
    return b + secateur_masked64(a - b, (a - b) >> 63);
}
static inline int64_t secateur_max64_near(int64_t a, int64_t b)
{
    return a - secateur_masked64(a - b, (a - b) >> 63);
}
static inline int64_t secateur_min64(int64_t a, int64_t b)
{
    return secateur_add64(b, secateur_masked64(secateur_sub64(a, b), secateur_less64(a, b)));
}
static inline int64_t secateur_max64(int64_t a, int64_t b)
{
    return secateur_sub64(a, secateur_masked64(secateur_sub64(a, b), secateur_less64(a, b)));
}
#else
static inline int64_t secateur_product(int32_t a, int32_t b) { return (int64_t)a * b; }
static inline int64_t secateur_mul64(int64_t a, int64_t b)
{
    const uint64_t r = (uint64_t)a * (uint64_t)b;
    return (int64_t)r;
}
static inline int32_t secateur_min(int32_t a, int32_t b) { return b < a ? b : a; }
static inline int32_t secateur_max(int32_t a, int32_t b) { return a < b ? b : a; }
static inline int64_t secateur_min64(int64_t a, int64_t b) { return b < a ? b : a; }
static inline int64_t secateur_max64(int64_t a, int64_t b) { return a < b ? b : a; }
#define secateur_min_near secateur_min
#define secateur_max_near secateur_max
#define secateur_min64_near secateur_min64
#define secateur_max64_near secateur_max64
#endif

SECATEUR_CXX_END

#endif
