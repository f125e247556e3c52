/* A vector of LG_VL floats and the few things that a kernel body does with it. The unit of an
   instruction set defines LG_VL and one of LG_AVX2, LG_AVX512, LG_NEON (or none: plain C), then
   includes the bodies. Arithmetic is written with + - * / on the vector type (GCC and Clang's
   vector extension); only what that can't say stands here.

   Products are never contracted into fused ones behind our back (-ffp-contract=off); fma() is
   fused on every rung but the x86-64 baseline, which has no such instruction. */
#ifndef LITEGPT_SIMD_H
#define LITEGPT_SIMD_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(LG_AVX2) || defined(LG_AVX512)
#include <immintrin.h>
#elif defined(LG_NEON)
#include <arm_neon.h>
#endif

#define INLINE static inline __attribute__((always_inline, unused))
#define UNROLL _Pragma("GCC unroll 16") /* loops of constant length over registers */

typedef float vf __attribute__((vector_size(4 * LG_VL)));
typedef int32_t vi __attribute__((vector_size(4 * LG_VL)));
typedef uint32_t vu __attribute__((vector_size(4 * LG_VL)));
typedef float vf_unaligned __attribute__((vector_size(4 * LG_VL), aligned(4), may_alias));

INLINE vf load(const float *p) { return *(const vf_unaligned *)p; }
INLINE void store(float *p, vf v) { *(vf_unaligned *)p = v; }
INLINE vf splat(float s) { return s - (vf){0}; } /* x - 0 is x, and compilers know it */
INLINE vi bits(vf v) { return (vi)v; }
INLINE vf select_vf(vi mask, vf yes, vf no) { return (vf)((mask & (vi)yes) | (~mask & (vi)no)); }

/* The first n < LG_VL floats; the rest of the vector is `fill`, the rest of memory untouched. */
INLINE vf load_part(const float *p, ptrdiff_t n, float fill) {
#if defined(LG_AVX512)
    return _mm512_mask_loadu_ps(splat(fill), (__mmask16)((1u << n) - 1), p);
#else
    float lanes[LG_VL];
    for (int i = 0; i < LG_VL; i++) lanes[i] = i < n ? p[i] : fill;
    return load(lanes);
#endif
}

INLINE void store_part(float *p, vf v, ptrdiff_t n) {
#if defined(LG_AVX512)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v);
#else
    float lanes[LG_VL];
    store(lanes, v);
    for (ptrdiff_t i = 0; i < n; i++) p[i] = lanes[i];
#endif
}

/* a * b + c */
INLINE vf fma_vf(vf a, vf b, vf c) {
#if defined(LG_AVX512)
    return _mm512_fmadd_ps(a, b, c);
#elif defined(LG_AVX2)
    return _mm256_fmadd_ps(a, b, c);
#elif defined(LG_NEON)
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

/* Numbers of 16 bits (bfloat16), two to a lane: sum + high(a) * high(b) + low(a) * low(b), in this
   order, each fused; subnormals among them count as zeros, and so do sums that are subnormal. Only
   some processors with the 8-bit dot products have this instruction, and dispatch.c asks: so it is
   written as such, for compilers mustn't use its like anywhere else in the unit. */
#if defined(LG_VNNI)
enum { HAS_PAIRS = 1 };
INLINE vf fma_pairs_vf(vf a, vf b, vf sum) {
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
}
#else
enum { HAS_PAIRS = 0 };
INLINE vf fma_pairs_vf(vf a, vf b, vf sum) { return fma_vf(a, b, sum); } /* is never called */
#endif

/* The larger and the smaller; a NaN in b comes through, one in a need not. */
INLINE vf max_vf(vf a, vf b) {
#if defined(LG_AVX512)
    return _mm512_max_ps(a, b);
#elif defined(LG_AVX2)
    return _mm256_max_ps(a, b);
#else
    return select_vf(a > b, a, b);
#endif
}

INLINE vf min_vf(vf a, vf b) {
#if defined(LG_AVX512)
    return _mm512_min_ps(a, b);
#elif defined(LG_AVX2)
    return _mm256_min_ps(a, b);
#else
    return select_vf(a < b, a, b);
#endif
}

INLINE vf sqrt_vf(vf v) {
#if defined(LG_AVX512)
    return _mm512_sqrt_ps(v);
#elif defined(LG_AVX2)
    return _mm256_sqrt_ps(v);
#elif defined(LG_NEON)
    return (vf)vsqrtq_f32((float32x4_t)v);
#else
    for (int i = 0; i < LG_VL; i++) v[i] = sqrtf(v[i]);
    return v;
#endif
}

/* Halves added to halves down to one number: the one order of a horizontal sum. By fours, which
   compilers keep in registers. */
typedef float four_floats __attribute__((vector_size(16)));

INLINE float sum_vf(vf v) {
    four_floats fours[LG_VL / 4];
    memcpy(fours, &v, sizeof v);
    for (int half = LG_VL / 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++) fours[i] += fours[i + half];
    return (fours[0][0] + fours[0][2]) + (fours[0][1] + fours[0][3]);
}

INLINE float larger(float a, float b) { return a > b ? a : b; }

INLINE float largest_vf(vf v) {
    four_floats fours[LG_VL / 4];
    memcpy(fours, &v, sizeof v);
    for (int half = LG_VL / 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            for (int lane = 0; lane < 4; lane++)
                fours[i][lane] = larger(fours[i][lane], fours[i + half][lane]);
    return larger(larger(fours[0][0], fours[0][2]), larger(fours[0][1], fours[0][3]));
}

/* The same for whole numbers. */
typedef int32_t four_ints __attribute__((vector_size(16)));

INLINE int32_t sum_vi(vi v) {
    four_ints fours[LG_VL / 4];
    memcpy(fours, &v, sizeof v);
    for (int half = LG_VL / 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++) fours[i] += fours[i + half];
    return (fours[0][0] + fours[0][2]) + (fours[0][1] + fours[0][3]);
}

INLINE vi max_vi(vi a, vi b) {
#if defined(LG_AVX512)
    return (vi)_mm512_max_epi32((__m512i)a, (__m512i)b);
#elif defined(LG_AVX2)
    return (vi)_mm256_max_epi32((__m256i)a, (__m256i)b);
#else
    const vi larger = a > b;
    return (larger & a) | (~larger & b);
#endif
}

INLINE int32_t largest_vi(vi v) {
    four_ints fours[LG_VL / 4];
    memcpy(fours, &v, sizeof v);
    for (int half = LG_VL / 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++) {
            const four_ints larger = fours[i] > fours[i + half];
            fours[i] = (larger & fours[i]) | (~larger & fours[i + half]);
        }
    const int32_t a = fours[0][0] > fours[0][2] ? fours[0][0] : fours[0][2];
    const int32_t b = fours[0][1] > fours[0][3] ? fours[0][1] : fours[0][3];
    return a > b ? a : b;
}

/* Long sums are taken in float within a block of so many, in double from block to block. */
enum { SUM_BLOCK = 1024 };

/* Whether any lane of a mask (0 or -1 each) is set. */
INLINE int any_vi(vi mask) {
#if defined(LG_AVX512)
    return _mm512_movepi32_mask((__m512i)mask) != 0;
#elif defined(LG_AVX2)
    return _mm256_movemask_ps((__m256)mask) != 0;
#else
    int32_t any = 0;
    for (int i = 0; i < LG_VL; i++) any |= mask[i];
    return any != 0;
#endif
}

/* The lanes that a mask sets, side by side from p on; returns how many. Writes a whole vector. */
INLINE int store_set_lanes(float *p, vf v, vi mask) {
#if defined(LG_AVX512)
    const __mmask16 set = _mm512_movepi32_mask((__m512i)mask);
    store(p, _mm512_maskz_compress_ps(set, v));
    return __builtin_popcount(set);
#else
    int count = 0;
    for (int i = 0; i < LG_VL; i++) {
        p[count] = v[i];
        count -= mask[i];
    }
    return count;
#endif
}

/* y[i] = expression of x[i] for n floats: whole vectors, then a part. The last part goes through
   the same vector operations, so that a value doesn't depend on its place. */
#define FOR_VECTORS(n, i, whole, part)                            \
    do {                                                          \
        ptrdiff_t i = 0;                                          \
        for (; i + LG_VL <= (n); i += LG_VL) { whole; }           \
        if (i < (n)) {                                            \
            const ptrdiff_t left = (n) - i;                       \
            part;                                                 \
        }                                                         \
    } while (0)

#endif
