/* Numbers of 16 bits: the IEEE half (float16) and the upper half of a float (bfloat16). */
#ifndef LITEGPT_HALF_H
#define LITEGPT_HALF_H

#include "../simd.h"

typedef uint16_t vhalf __attribute__((vector_size(2 * LG_VL)));

INLINE uint32_t bits_of(float value) {
    uint32_t pattern;
    memcpy(&pattern, &value, sizeof pattern);
    return pattern;
}

INLINE float float_of_bits(uint32_t pattern) {
    float value;
    memcpy(&value, &pattern, sizeof value);
    return value;
}

/* LG_VL of them from anywhere in memory. */
INLINE vf load_bfloat16(const void *p) {
#if defined(LG_AVX512)
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16);
#elif defined(LG_AVX2)
    return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16);
#else
    vhalf v;
    memcpy(&v, p, sizeof v);
    return (vf)(__builtin_convertvector(v, vu) << 16);
#endif
}

INLINE vf load_float16(const void *p) {
#if defined(LG_AVX512)
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
#elif defined(LG_AVX2)
    return _mm256_cvtph_ps(_mm_loadu_si128(p));
#elif defined(LG_NEON)
    uint16x4_t v;
    memcpy(&v, p, sizeof v);
    return (vf)vcvt_f32_f16(vreinterpret_f16_u16(v));
#else
    vhalf v;
    memcpy(&v, p, sizeof v);
    const vu pattern = __builtin_convertvector(v, vu);
    const vu magnitude = (pattern & 0x7fff) << 13;
    /* exponents are 112 further apart; the product is exact, subnormal halves included */
    const vi finite = (vi)((vf)magnitude * 0x1p112f);
    const vi large = (vi)magnitude | 0x7f800000; /* infinities and NaN */
    const vi value = (vi)select_vf((vi)magnitude >= 0x7c00 << 13, (vf)large, (vf)finite);
    return (vf)(value | (vi)((pattern & 0x8000) << 16));
#endif
}

INLINE vf load_half(int format, const void *p) {
    return format == LG_FLOAT16 ? load_float16(p) : load_bfloat16(p);
}

INLINE void widen(int format, const uint8_t *halves, lg_size count, float *floats) {
    for (lg_size i = 0; i < count; i += LG_VL) /* a multiple of it */
        store(floats + i, load_half(format, halves + 2 * i));
}

/* 2 * LG_VL numbers of a format, widened into two vectors. Of bfloat16 the first vector gets the even
   ones, the second the odd ones, which are upper halves as they stand. */
INLINE void load_pair(int format, const uint8_t *p, vf *pair) {
    if (format == LG_BFLOAT16) {
        vu both;
        memcpy(&both, p, sizeof both);
        pair[0] = (vf)(both << 16);
        pair[1] = (vf)(both & 0xffff0000);
    } else if (format == LG_FLOAT16) {
        pair[0] = load_float16(p);
        pair[1] = load_float16(p + 2 * LG_VL);
    } else {
        pair[0] = load((const float *)(const void *)p);
        pair[1] = load((const float *)(const void *)(p + 4 * LG_VL));
    }
}

/* What stands as load_pair gives bfloat16, a multiple of 2 * LG_VL, in its order. */
INLINE void order_pairs(float *floats, lg_size count) {
    for (float *p = floats; p < floats + count; p += 2 * LG_VL) {
        float pair[2 * LG_VL];
        memcpy(pair, p, sizeof pair);
        for (int i = 0; i < LG_VL; i++) {
            p[2 * i] = pair[i];
            p[2 * i + 1] = pair[LG_VL + i];
        }
    }
}

INLINE float float_of_half(uint16_t half) {
    const uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13;
    const float value = float_of_bits(magnitude) * 0x1p112f;
    return half & 0x8000 ? -value : value;
}

/* The nearest half (of two, the even one) to a number of magnitude up to 65504. */
INLINE uint16_t half_of(float value) {
    const uint32_t pattern = bits_of(value), magnitude = pattern & 0x7fffffff;
    uint32_t half;
    if (magnitude < 113u << 23) /* subnormal: 0.5 has its last bit where such halves have theirs */
        half = bits_of(float_of_bits(magnitude) + 0.5f) - bits_of(0.5f);
    else
        half = ((magnitude + 0xfff + (magnitude >> 13 & 1)) >> 13) - (112u << 10);
    return (uint16_t)(half | (pattern >> 16 & 0x8000));
}

/* The smallest half that isn't below, and the largest that isn't above, a number from 0 to
   65504. */
INLINE uint16_t half_not_below(float value) {
    const uint16_t half = half_of(value);
    return (uint16_t)(half + (float_of_half(half) < value));
}

INLINE uint16_t half_not_above(float value) {
    const uint16_t half = half_of(value);
    return (uint16_t)(half - (float_of_half(half) > value));
}

INLINE uint16_t bfloat_of(float value) {
    const uint32_t pattern = bits_of(value);
    return (uint16_t)((pattern + 0x7fff + (pattern >> 16 & 1)) >> 16);
}

#endif
