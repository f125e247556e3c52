/* Philox4x32-10, the counter-based generator behind dropout (Salmon et al., "Parallel random
   numbers: as easy as 1, 2, 3", SC 2011), in the order of litegpt.kernels.reference.dropout. */
#ifndef LITEGPT_PHILOX_H
#define LITEGPT_PHILOX_H

#include "../simd.h"

enum { DROPOUT_BLOCK = 64, PHILOX_LANES = 16 };

/* words[j] is the random number of entry j of a block of 64: 16 counters side by side, whose four
   words fill 16 entries each. */
INLINE void philox_block(uint64_t row, uint64_t block, uint64_t seed,
                         uint32_t words[DROPOUT_BLOCK]) {
    const uint64_t first = block * PHILOX_LANES;
    uint32_t c0[PHILOX_LANES], c1[PHILOX_LANES], c2[PHILOX_LANES], c3[PHILOX_LANES];
    for (int i = 0; i < PHILOX_LANES; i++) {
        c0[i] = (uint32_t)first + (uint32_t)i;
        c1[i] = (uint32_t)row;
        c2[i] = (uint32_t)(row >> 32);
        c3[i] = (uint32_t)(first >> 32);
    }
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < PHILOX_LANES; i++) {
            uint64_t product0 = (uint64_t)c0[i] * 0xD2511F53u;
            uint64_t product1 = (uint64_t)c2[i] * 0xCD9E8D57u;
            c0[i] = (uint32_t)(product1 >> 32) ^ c1[i] ^ key0;
            c2[i] = (uint32_t)(product0 >> 32) ^ c3[i] ^ key1;
            c1[i] = (uint32_t)product1;
            c3[i] = (uint32_t)product0;
        }
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    memcpy(words, c0, sizeof c0);
    memcpy(words + PHILOX_LANES, c1, sizeof c1);
    memcpy(words + 2 * PHILOX_LANES, c2, sizeof c2);
    memcpy(words + 3 * PHILOX_LANES, c3, sizeof c3);
}

/* Entries whose random number is below this are dropped; 2^32 drops all. */
INLINE uint64_t dropout_threshold(double p) {
    return p < 1 ? (uint64_t)rint(p * 0x1p32) : UINT64_C(1) << 32;
}

/* What entries first to first + 31 of a row are multiplied with: 0, or 1 / (1 - p). first is a
   multiple of 32. */
INLINE void dropout_multipliers(uint64_t row, uint64_t first, double p, uint64_t seed,
                                float out[DROPOUT_BLOCK / 2]) {
    const uint64_t threshold = dropout_threshold(p);
    const float scale = threshold > UINT32_MAX ? 0 : (float)(1 / (1 - p));
    uint32_t words[DROPOUT_BLOCK];
    philox_block(row, first / DROPOUT_BLOCK, seed, words);
    for (int i = 0; i < DROPOUT_BLOCK / 2; i++)
        out[i] = words[first % DROPOUT_BLOCK + (unsigned)i] >= (uint32_t)threshold ? scale : 0;
}

#endif
