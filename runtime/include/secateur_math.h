/* Secateur: float functions with one result on every machine.
 *
 * In: any float, infinities and NaN included. Out: the function's value to within about two
 * units in the last place; square root, floor, rounding, min, max and abs are exact.
 * Law: the same operations in the same order as `secateur_runtime::math`, never fused, so that
 * both give the same bits. Change both together. What is known to break this is refused here.
 */
#ifndef SECATEUR_MATH_H
#define SECATEUR_MATH_H

#include "secateur.h"
#include <float.h>

#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16
#error "secateur needs float arithmetic in single precision (on 32-bit x86: -msse2 -mfpmath=sse)"
#endif
#if defined(__FAST_MATH__)
#error "secateur's float functions do not survive -ffast-math (which -Ofast turns on)"
#elif defined(__ASSOCIATIVE_MATH__)
#error "secateur's float functions do not survive -fassociative-math (which -funsafe-math-optimizations turns on)"
#elif defined(__RECIPROCAL_MATH__)
#error "secateur's float functions do not survive -freciprocal-math"
#elif defined(__NO_SIGNED_ZEROS__)
#error "secateur's float functions do not survive -fno-signed-zeros"
#elif defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ > 0
#error "secateur's float functions do not survive -ffinite-math-only"
#endif

/* Nothing is fused, whatever the dialect and -ffp-contract say: for GCC the options below see to
 * it, for other compilers this at the beginning of a function or of a file. Clang under an explicit
 * -ffp-contract=fast hears nobody; a model's init finds that out where NDEBUG is not defined. */
#if defined(__clang__) && __clang_major__ >= 18
#define SECATEUR_EXACT _Pragma("STDC FP_CONTRACT OFF") _Pragma("clang fp reassociate(off) reciprocal(off)")
#elif defined(__clang__) && __clang_major__ >= 11
#define SECATEUR_EXACT _Pragma("STDC FP_CONTRACT OFF") _Pragma("clang fp reassociate(off)")
#elif defined(__GNUC__) && !defined(__clang__)
#define SECATEUR_EXACT
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off")
#else
#define SECATEUR_EXACT _Pragma("STDC FP_CONTRACT OFF")
#endif

SECATEUR_CXX_BEGIN

#if defined(__GNUC__) || defined(__clang__)
typedef float __attribute__((__may_alias__)) secateur_f32;
#else
typedef float secateur_f32;
#endif

#define SECATEUR_LN2_HI 0.6933594f
#define SECATEUR_LN2_LO -2.1219444e-4f

static inline uint32_t secateur_bits(float x)
{
    uint32_t bits;
    secateur_copy(&bits, &x, sizeof bits);
    return bits;
}

static inline float secateur_float(uint32_t bits)
{
    float x;
    secateur_copy(&x, &bits, sizeof x);
    return x;
}

static inline int32_t secateur_clz(uint32_t x)
{
    int32_t n = 0;
    while ((x & 0x80000000u) == 0u) {
        x <<= 1;
        n += 1;
    }
    return n;
}

static inline float secateur_pow2(int32_t k) { return secateur_float((uint32_t)(k + 127) << 23); }
static inline float secateur_maxf(float a, float b) { return a > b ? a : b; }
static inline float secateur_minf(float a, float b) { return a < b ? a : b; }
static inline float secateur_absf(float x) { return secateur_float(secateur_bits(x) & 0x7fffffffu); }

/* The integer by which a float compares; what is no number is above everything. */
static inline int32_t secateur_order(float x)
{
    uint32_t bits = secateur_bits(x);
    int32_t magnitude = (int32_t)(bits & 0x7fffffffu);
    if (magnitude > 0x7f800000) {
        return INT32_MAX;
    }
    /* The greater the magnitude of a negative float, the lesser its complement. */
    return magnitude ^ -(int32_t)(bits >> 31);
}

/* Float to integer as Rust's `as`: towards zero, saturating, NaN to zero. */
static inline int32_t secateur_to_i32(float x)
{
    if (x >= 2147483648.0f) {
        return INT32_MAX;
    }
    if (x >= -2147483648.0f) {
        return (int32_t)x;
    }
    return x < 0.0f ? INT32_MIN : 0;
}

static inline int64_t secateur_to_i64(float x)
{
    if (x >= 9223372036854775808.0f) {
        return INT64_MAX;
    }
    if (x >= -9223372036854775808.0f) {
        return (int64_t)x;
    }
    return x < 0.0f ? INT64_MIN : 0;
}

static inline float secateur_floorf(float x)
{
    uint32_t bits = secateur_bits(x), below;
    int32_t exponent = (int32_t)((bits >> 23) & 0xffu) - 127;
    if (exponent >= 23) {
        return x;
    }
    if (exponent < 0) {
        if ((bits & 0x7fffffffu) == 0u) {
            return x;
        }
        return (bits >> 31) != 0u ? -1.0f : 0.0f;
    }
    below = 0x007fffffu >> exponent;
    if ((bits & below) == 0u) {
        return x;
    }
    return secateur_float((bits + ((bits >> 31) != 0u ? below : 0u)) & ~below);
}

static inline float secateur_roundf(float x)
{
    uint32_t bits = secateur_bits(x), sign = bits & 0x80000000u, below, odd;
    int32_t exponent = (int32_t)((bits >> 23) & 0xffu) - 127;
    if (exponent >= 23) {
        return x;
    }
    if (exponent < -1) {
        return secateur_float(sign);
    }
    if (exponent == -1) {
        return secateur_float((bits & 0x007fffffu) == 0u ? sign : (sign | 0x3f800000u));
    }
    below = 0x007fffffu >> exponent;
    odd = (bits >> (23 - exponent)) & 1u;
    return secateur_float((bits + ((below >> 1) + odd)) & ~below);
}

/* Real to stored integer at the border of a model: half to even, saturating. */
static inline int32_t secateur_quantize(float x, float scale, int32_t zero_point, int32_t lo, int32_t hi)
{
    SECATEUR_EXACT
    int64_t q = (int64_t)secateur_to_i32(secateur_roundf(x / scale)) + zero_point;
    return q < lo ? lo : q > hi ? hi : (int32_t)q;
}

static inline float secateur_sqrtf(float x)
{
    uint32_t bits = secateur_bits(x), root = 0u, bit = 0x01000000u;
    int32_t exponent;
    uint64_t square;
    if ((bits & 0x7fffffffu) == 0u) {
        return x;
    }
    if (bits >= 0x7f800000u) {
        return bits == 0x7f800000u || (bits & 0x7fffffffu) > 0x7f800000u ? x : secateur_float(0x7fc00000u);
    }
    exponent = (int32_t)(bits >> 23) - 127;
    if (exponent == -127) {
        int32_t shift = secateur_clz(bits) - 8;
        bits <<= shift;
        exponent = -126 - shift;
    }
    square = (uint64_t)((bits & 0x007fffffu) | 0x00800000u) << 25;
    if ((exponent & 1) != 0) {
        square <<= 1;
    }
    while (bit != 0u) {
        uint32_t tried = root | bit;
        if ((uint64_t)tried * (uint64_t)tried <= square) {
            root = tried;
        }
        bit >>= 1;
    }
    return secateur_float(((uint32_t)((exponent >> 1) + 126) << 23) + ((root + 1u) >> 1));
}

static inline float secateur_expf(float x)
{
    SECATEUR_EXACT
    int32_t k, half;
    float kf, r, p, y;
    if (!(x <= 88.72284f)) {
        return x > 88.0f ? secateur_float(0x7f800000u) : x;
    }
    if (x < -103.97208f) {
        return 0.0f;
    }
    k = (int32_t)(x * 1.44269504f + (x < 0.0f ? -0.5f : 0.5f));
    kf = (float)k;
    r = (x - kf * SECATEUR_LN2_HI) - kf * SECATEUR_LN2_LO;
    p = 0.008369419f + r * 0.0013813142f;
    p = 0.16666515f + r * (0.041668456f + r * p);
    p = 0.49999994f + r * p;
    y = 1.0f + (r + (r * r) * p);
    half = k >> 1;
    return (y * secateur_pow2(half)) * secateur_pow2(k - half);
}

static inline float secateur_logf(float x)
{
    SECATEUR_EXACT
    uint32_t bits = secateur_bits(x);
    int32_t k = 0;
    float f, p, kf, square, tail;
    if ((bits & 0x7fffffffu) == 0u) {
        return secateur_float(0xff800000u);
    }
    if (bits >= 0x7f800000u) {
        return bits == 0x7f800000u || (bits & 0x7fffffffu) > 0x7f800000u ? x : secateur_float(0x7fc00000u);
    }
    if (bits < 0x00800000u) {
        int32_t shift = secateur_clz(bits) - 8;
        bits <<= shift;
        k = -shift;
    }
    bits += 0x3f800000u - 0x3f3504f3u;
    k += (int32_t)(bits >> 23) - 127;
    f = secateur_float((bits & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
    p = 0.12766483f + f * -0.076222286f;
    p = 0.14201547f + f * (-0.13166818f + f * p);
    p = 0.20001213f + f * (-0.16622704f + f * p);
    p = 0.3333333f + f * (-0.25000837f + f * p);
    kf = (float)k;
    square = f * f;
    tail = (square * f) * p + kf * SECATEUR_LN2_LO;
    tail = tail - 0.5f * square;
    return (f + tail) + kf * SECATEUR_LN2_HI;
}

static inline float secateur_tanhf(float x)
{
    SECATEUR_EXACT
    float a = secateur_absf(x), t;
    if (a < 1.0e-4f) {
        return x;
    }
    if (a < 0.625f) {
        float s = x * x;
        float p = -0.05394661f + s * (0.021699838f + s * (-0.008175184f + s * 0.0021408703f));
        p = -0.3333333f + s * (0.13333204f + s * p);
        return x + (x * s) * p;
    }
    t = a > 9.1f ? 1.0f : 1.0f - 2.0f / (secateur_expf(a + a) + 1.0f);
    return x < 0.0f ? -t : x > 0.0f ? t : x;
}

static inline float secateur_sigmoidf(float x)
{
    SECATEUR_EXACT
    if (x < 0.0f) {
        float e = secateur_expf(x);
        return e / (1.0f + e);
    }
    return 1.0f / (1.0f + secateur_expf(-x));
}

/* Whether sums of products are rounded twice, as they must be: what a fused one keeps is lost. */
static inline int secateur_rounds_twice(void)
{
    SECATEUR_EXACT
    volatile float side = 1.000244140625f, minus = -1.00048828125f;
    const float a = side, b = side, c = minus;
    return secateur_bits(a * b + c) == 0u;
}

SECATEUR_CXX_END
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif

#endif
