/* Operands rounded to bfloat16, the upper half of a float32, for products that are added in float32.

   Where the processor multiplies such numbers, two terms in one instruction, operands are packed in
   words of 32 bits with term 2 i in the high half and term 2 i + 1 in the low one: so terms are
   added in ascending order, each fused, as the float32 tile does. Elsewhere that tile multiplies
   the same rounded numbers. The sums are the same, bit for bit, wherever the float32 tile is fused;
   but VDPBF16PS takes subnormal operands and sums for zeros. */
#ifndef LITEGPT_PAIRS_H
#define LITEGPT_PAIRS_H

#include "tile.h"

/* From a strip and a panel of pairs; K counts words. */
TILE(tile_pairs, 1, 1, TILE_ROWS)

/* The nearest bfloat16, of two the even one; NaN stays NaN. */
INLINE vf round_vf(vf x) {
    const vu pattern = (vu)x;
    const vu rounded = (pattern + 0x7fff + (pattern >> 16 & 1)) & 0xffff0000;
    return select_vf(x == x, (vf)rounded, x);
}

INLINE void round_floats(float *x, lg_size count) {
    FOR_VECTORS(count, i, store(x + i, round_vf(load(x + i))),
                store_part(x + i, round_vf(load_part(x + i, left, 0)), left));
}

#if defined(LG_VNNI)

/* The first n of some floats, which may be more or fewer than a vector has. */
INLINE vf load_first(const float *p, lg_size n) {
    return n >= LG_VL ? load(p) : load_part(p, n > 0 ? n : 0, 0);
}

INLINE void store_first(float *p, vf v, lg_size n) {
    if (n >= LG_VL) store(p, v);
    else if (n > 0) store_part(p, v, n);
}

/* Both vectors as bfloat16: those of `low`, then those of `high`. Written as fma_pairs_vf is. */
INLINE __m512i narrow(vf low, vf high) {
    __m512i halves;
    __asm__("vcvtne2ps2bf16 %2, %1, %0" : "=v"(halves) : "v"(high), "v"(low));
    return halves;
}

/* Words of neighbours: `count` floats make ceil(count / 2) of them. */
INLINE void pair_neighbours(const float *from, lg_size count, float *words) {
    for (lg_size i = 0; i < count; i += 2 * LG_VL) {
        const vf low = load_first(from + i, count - i);
        const vf high = load_first(from + i + LG_VL, count - i - LG_VL);
        store_first(words + i / 2, (vf)_mm512_rol_epi32(narrow(low, high), 16),
                    (count - i + 1) / 2);
    }
}

/* `width` words of n floats each and then zeros: `even` in the high halves, `odd`, or zeros if that
   is NULL, in the low ones. */
INLINE void pair_lines(const float *even, const float *odd, int n, const int width, float *words) {
    const vi lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const vi order = lane * 0x10001 + (LG_VL << 16);
    UNROLL for (int j = 0; j < width; j += LG_VL) {
        const __m512i halves = narrow(odd ? load_first(odd + j, n - j) : splat(0),
                                      load_first(even + j, n - j));
        store_first(words + j, (vf)_mm512_permutexvar_epi16((__m512i)order, halves), width - j);
    }
}

/* words[i * width + j]: terms 2 i and 2 i + 1 of line j, of n lines of K terms; the rest of `width`,
   a constant wherever this is inlined, is zero, and so is the term after an odd number of them. Term
   k of line j stands at data[j * line + k * term], and line or term is 1. */
INLINE void pack_pairs(const float *data, lg_size line, lg_size term, int n, const int width,
                       lg_size K, float *words) {
    if (term != 1) {
        const lg_size even = K / 2 * 2;
        if (n == width) /* the usual case, of constant sizes */
            for (lg_size k = 0; k < even; k += 2, words += width)
                pair_lines(data + k * term, data + (k + 1) * term, width, width, words);
        else
            for (lg_size k = 0; k < even; k += 2, words += width)
                pair_lines(data + k * term, data + (k + 1) * term, n, width, words);
        if (even < K) pair_lines(data + even * term, NULL, n, width, words);
        return;
    }
    enum { AT_ONCE = 64 }; /* words */
    float some[PANEL * AT_ONCE];
    memset(some + n * AT_ONCE, 0, sizeof(float) * (size_t)((width - n) * AT_ONCE));
    for (lg_size k = 0; k < K; k += 2 * AT_ONCE) {
        const lg_size count = K - k < 2 * AT_ONCE ? K - k : 2 * AT_ONCE;
        if (count == 2 * AT_ONCE)
            for (int j = 0; j < n; j++)
                pair_neighbours(data + j * line + k, 2 * AT_ONCE, some + j * AT_ONCE);
        else
            for (int j = 0; j < n; j++)
                pair_neighbours(data + j * line + k, count, some + j * AT_ONCE);
        interleave(some, AT_ONCE, width, (count + 1) / 2, words + k / 2 * width, width);
    }
}

#endif

/* A strip or a panel (`width` says which), rounded: in pairs, as pack_pairs has them, or as floats in
   the order of pack_strip and pack_panel. */
INLINE void pack_rounded(int pairs, const float *data, lg_size line, lg_size term, int n,
                         const int width, lg_size K, float *to) {
#if defined(LG_VNNI)
    if (pairs) {
        pack_pairs(data, line, term, n, width, K, to);
        return;
    }
#else
    (void)pairs;
#endif
    if (width == PANEL) pack_panel(data, term, line, K, n, to);
    else pack_strip((lg_matrix){data, line, term}, n, K, to);
    round_floats(to, K * width);
}

#endif
