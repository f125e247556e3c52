/* Dot products of bytes: lane i of a sum gains the four products of its bytes 4 i ... 4 i + 3. */
#ifndef LITEGPT_DOT_H
#define LITEGPT_DOT_H

#include "../simd.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

INLINE vi load_bytes(const void *p) {
    vi v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* The same four bytes in every lane. */
INLINE vi splat_bytes(const void *p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return (vi){0} + four;
}

/* VNNI multiplies unsigned bytes with signed ones: dot_signed adds SIGNED_EXCESS * b too much for
   every byte b, to be taken off at the start. */
#if defined(LG_VNNI)
enum { SIGNED_EXCESS = 128 };
#else
enum { SIGNED_EXCESS = 0 };
#endif

#if !defined(LG_AVX512) && !defined(LG_AVX2) && !defined(LG_NEON)
/* Four products of signed bytes, from bytes 0 and 2 and from bytes 1 and 3 of every lane. */
INLINE vi dot_plain(vi sum, vi a, vi b) {
    typedef int16_t vh __attribute__((vector_size(4 * LG_VL)));
    const vh a_even = ((vh)a << 8) >> 8, b_even = ((vh)b << 8) >> 8;
    const vh a_odd = (vh)a >> 8, b_odd = (vh)b >> 8;
#if defined(__SSE2__) /* every x86-64 */
    const __m128i even = _mm_madd_epi16((__m128i)a_even, (__m128i)b_even);
    return sum + (vi)even + (vi)_mm_madd_epi16((__m128i)a_odd, (__m128i)b_odd);
#else
    const vh pairs = a_even * b_even + a_odd * b_odd; /* 2 * 128 * 127 fits 16 bits */
    return sum + (((vi)pairs << 16) >> 16) + ((vi)pairs >> 16);
#endif
}
#endif

/* a: -128..127, b: -127..127 */
INLINE vi dot_signed(vi sum, vi a, vi b) {
#if defined(LG_VNNI)
    return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)(a ^ (int32_t)0x80808080), (__m512i)b);
#elif defined(LG_AVX512)
    /* |a| times b with a's sign: 2 * 128 * 127 is no overflow */
    const __mmask64 negative = _mm512_movepi8_mask((__m512i)a);
    const __m512i turned =
        _mm512_mask_sub_epi8((__m512i)b, negative, _mm512_setzero_si512(), (__m512i)b);
    const __m512i pairs = _mm512_maddubs_epi16(_mm512_abs_epi8((__m512i)a), turned);
    return sum + (vi)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
#elif defined(LG_AVX2)
    const __m256i turned = _mm256_sign_epi8((__m256i)b, (__m256i)a);
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8((__m256i)a), turned);
    return sum + (vi)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#elif defined(LG_NEON) && defined(__ARM_FEATURE_DOTPROD)
    return (vi)vdotq_s32((int32x4_t)sum, (int8x16_t)a, (int8x16_t)b);
#elif defined(LG_NEON)
    const int16x8_t low = vmull_s8(vget_low_s8((int8x16_t)a), vget_low_s8((int8x16_t)b));
    const int16x8_t high = vmull_high_s8((int8x16_t)a, (int8x16_t)b);
    return (vi)vpadalq_s16((int32x4_t)sum, vpaddq_s16(low, high));
#else
    return dot_plain(sum, a, b);
#endif
}

/* a: 0..127, b: -127..127 */
INLINE vi dot_unsigned(vi sum, vi a, vi b) {
#if defined(LG_VNNI)
    return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
#elif defined(LG_AVX512) /* 2 * 127 * 127 fits 16 bits */
    const __m512i pairs = _mm512_maddubs_epi16((__m512i)a, (__m512i)b);
    return sum + (vi)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
#elif defined(LG_AVX2)
    const __m256i pairs = _mm256_maddubs_epi16((__m256i)a, (__m256i)b);
    return sum + (vi)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#else
    return dot_signed(sum, a, b);
#endif
}

/* Whether dot_small adds in 16 bits, from zero on, which sum_of_small ends. */
#if !defined(LG_VNNI) && (defined(LG_AVX512) || defined(LG_AVX2))
enum { SMALL_SUMS = 1 };
#else
enum { SMALL_SUMS = 0 };
#endif

/* a: 0..15, b: -127..127; at most eight in a row. */
INLINE vi dot_small(vi sum, vi a, vi b) {
#if defined(LG_VNNI)
    return dot_unsigned(sum, a, b);
#elif defined(LG_AVX512) /* sums of 16 bits: 8 * 2 * 15 * 127 fits them */
    return (vi)_mm512_add_epi16((__m512i)sum, _mm512_maddubs_epi16((__m512i)a, (__m512i)b));
#elif defined(LG_AVX2)
    return (vi)_mm256_add_epi16((__m256i)sum, _mm256_maddubs_epi16((__m256i)a, (__m256i)b));
#else
    return dot_signed(sum, a, b);
#endif
}

INLINE vi sum_of_small(vi sum) {
#if defined(LG_AVX512)
    return (vi)_mm512_madd_epi16((__m512i)sum, _mm512_set1_epi16(1));
#elif defined(LG_AVX2)
    return (vi)_mm256_madd_epi16((__m256i)sum, _mm256_set1_epi16(1));
#else
    return sum;
#endif
}

#endif
