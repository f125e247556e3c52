/* Philox4x32-10, the counter-based generator behind dropout (Salmon et al., "Parallel random
   numbers: as easy as 1, 2, 3", SC 2011), in the order of litegpt.kernels.reference.dropout. */
#ifndef LITEGPT_PHILOX_H
#define LITEGPT_PHILOX_H

#include "../simd.h"

enum { DROPOUT_BLOCK = 64, PHILOX_COUNTERS = DROPOUT_BLOCK / 4 };

/* The generator's 32-bit words, each in the lower half of a lane; the upper halves are anything. */
typedef uint64_t vwords __attribute__((vector_size(4 * LG_VL)));
typedef uint32_t vwords_packed __attribute__((vector_size(2 * LG_VL), aligned(4), may_alias));
enum { WORD_LANES = LG_VL / 2 };

/* 64-bit products with the lower halves. */
INLINE vwords multiply_words(vwords a, uint32_t b) {
#if defined(LG_AVX512)
    return (vwords)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64(b));
#elif defined(LG_AVX2)
    return (vwords)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(b));
#elif defined(LG_NEON)
    return (vwords)vmull_u32(vmovn_u64((uint64x2_t)a), vdup_n_u32(b));
#else
    return (a & UINT32_MAX) * b;
#endif
}

INLINE void store_words(uint32_t *p, vwords v) {
    *(vwords_packed *)p = __builtin_convertvector(v, vwords_packed);
}

/* words[j] is the random number of entry j of a block of 64: 16 counters side by side, whose four
   words fill 16 entries each. */
INLINE void philox_block(uint64_t row, uint64_t block, uint64_t seed,
                         uint32_t words[DROPOUT_BLOCK]) {
    vwords lane;
    for (int i = 0; i < WORD_LANES; i++) lane[i] = (uint64_t)i;
    for (int first = 0; first < PHILOX_COUNTERS; first += WORD_LANES) {
        vwords c0 = lane + (block * PHILOX_COUNTERS + (uint64_t)first), c3 = c0 >> 32;
        vwords c1 = (vwords){0} + row, c2 = c1 >> 32;
        uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
        for (int round = 0; round < 10; round++) {
            vwords product0 = multiply_words(c0, 0xD2511F53u);
            vwords product1 = multiply_words(c2, 0xCD9E8D57u);
            c0 = (product1 >> 32) ^ c1 ^ key0;
            c2 = (product0 >> 32) ^ c3 ^ key1;
            c1 = product1;
            c3 = product0;
            key0 += 0x9E3779B9u;
            key1 += 0xBB67AE85u;
        }
        store_words(words + first, c0);
        store_words(words + PHILOX_COUNTERS + first, c1);
        store_words(words + 2 * PHILOX_COUNTERS + first, c2);
        store_words(words + 3 * PHILOX_COUNTERS + first, c3);
    }
}

/* Entries whose random number is below this are dropped; 2^32 drops all. */
INLINE uint64_t dropout_threshold(double p) {
    return p < 1 ? (uint64_t)rint(p * 0x1p32) : UINT64_C(1) << 32;
}

/* What a row's entries 64 * block to 64 * block + 63 are multiplied with: 0, or 1 / (1 - p). */
INLINE void dropout_multipliers(uint64_t row, uint64_t block, double p, uint64_t seed,
                                float out[DROPOUT_BLOCK]) {
    const uint64_t threshold = dropout_threshold(p);
    const float scale = threshold > UINT32_MAX ? 0 : (float)(1 / (1 - p));
    uint32_t words[DROPOUT_BLOCK];
    philox_block(row, block, seed, words);
    for (int i = 0; i < DROPOUT_BLOCK; i++)
        out[i] = words[i] >= (uint32_t)threshold ? scale : 0;
}

#endif
