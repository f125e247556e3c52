/* The register tile, on which every matrix product of the project rests, and the two orders in
   which it wants its operands.

   Columns go by panels of 32, rows by strips of TILE_ROWS. Each output adds its products one by
   one in ascending k, fused where the processor can, whatever the number of rows, columns, blocks
   or threads: that is what makes a row of a batch equal to that row alone, bit for bit. */
#ifndef LITEGPT_TILE_H
#define LITEGPT_TILE_H

#include "../simd.h"

enum { PANEL = 32 };

/* Rows and columns of a full tile: accumulators, one row of b and one value of a have to fit the
   vector registers (32 with AVX-512 and NEON, 16 with AVX2 and SSE). */
#if defined(LG_AVX512)
enum { TILE_ROWS = 14, TILE_COLUMNS = 32 };
#elif defined(LG_AVX2)
enum { TILE_ROWS = 6, TILE_COLUMNS = 16 };
#elif defined(LG_NEON)
enum { TILE_ROWS = 6, TILE_COLUMNS = 16 };
#else
enum { TILE_ROWS = 6, TILE_COLUMNS = 8 };
#endif

/* Value (r, k) of the left operand stands at data[r * row + k * column]. */
typedef struct {
    const float *data;
    lg_size row, column;
} lg_matrix;

/* c[r][j] (+)= sum over k of a(r, k) * b[k][j], for `rows` x `vectors` vectors; rows, vectors and
   `pairs` (see pairs.h) are constants wherever this is inlined. */
INLINE void tile_of(const int pairs, const int rows, const int vectors, const int accumulate,
                    lg_size K, lg_matrix a, const float *b, lg_size b_row, float *c,
                    lg_size c_row) {
    vf sum[TILE_ROWS][TILE_COLUMNS / LG_VL];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int j = 0; j < vectors; j++)
            sum[r][j] = accumulate ? load(c + r * c_row + j * LG_VL) : splat(0);
    for (lg_size k = 0; k < K; k++) {
        vf bk[TILE_COLUMNS / LG_VL];
        UNROLL for (int j = 0; j < vectors; j++) bk[j] = load(b + k * b_row + j * LG_VL);
        UNROLL for (int r = 0; r < rows; r++) {
            vf value = splat(a.data[r * a.row + k * a.column]);
            UNROLL for (int j = 0; j < vectors; j++)
                sum[r][j] = pairs ? fma_pairs_vf(value, bk[j], sum[r][j])
                                  : fma_vf(value, bk[j], sum[r][j]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int j = 0; j < vectors; j++) store(c + r * c_row + j * LG_VL, sum[r][j]);
}

/* The same for up to TILE_ROWS rows and a whole panel of columns, one function for each layout of
   the left operand: constant strides leave the address of a row to the instruction. */
#define TILE_CASE(pairs, n, row, column)                                                         \
    case n:                                                                                      \
        for (int j = 0; j < PANEL; j += TILE_COLUMNS)                                            \
            tile_of(pairs, n, TILE_COLUMNS / LG_VL, accumulate, K, (lg_matrix){a, row, column},  \
                    b + j, b_row, c + j, c_row);                                                 \
        break;

#define TILE_SWITCH(pairs, row, column)                                                        \
    switch (rows) {                                                                            \
        TILE_CASE(pairs, 1, row, column) TILE_CASE(pairs, 2, row, column)                      \
        TILE_CASE(pairs, 3, row, column) TILE_CASE(pairs, 4, row, column)                      \
        TILE_CASE(pairs, 5, row, column) TILE_CASE(pairs, 6, row, column)                      \
        TILE_MORE_CASES(pairs, row, column)                                                    \
    }

#if defined(LG_AVX512)
#define TILE_MORE_CASES(pairs, row, column)                                                    \
    TILE_CASE(pairs, 7, row, column) TILE_CASE(pairs, 8, row, column)                          \
    TILE_CASE(pairs, 9, row, column) TILE_CASE(pairs, 10, row, column)                         \
    TILE_CASE(pairs, 11, row, column) TILE_CASE(pairs, 12, row, column)                        \
    TILE_CASE(pairs, 13, row, column) TILE_CASE(pairs, 14, row, column)
#else
#define TILE_MORE_CASES(pairs, row, column)
#endif

#define TILE(name, pairs, row, column)                                                         \
    static void name(int rows, int accumulate, lg_size K, const float *a, const float *b,      \
                     lg_size b_row, float *c, lg_size c_row) {                                 \
        if (accumulate) TILE_SWITCH(pairs, row, column) else TILE_SWITCH(pairs, row, column)   \
    }

/* From a strip that pack_strip made. */
TILE(tile_strip, 0, 1, TILE_ROWS)

/* From rows of any layout (few rows: nothing is gained by rearranging them). The layout comes number
   by number: an lg_matrix would be passed in memory, written in parts and read as a whole, which
   costs a tile of 128 terms a hundredth of its time. */
static void tile_loose(int rows, int accumulate, lg_size K, const float *a, lg_size a_row,
                       lg_size a_column, const float *b, lg_size b_row, float *c, lg_size c_row) {
    if (accumulate) TILE_SWITCH(0, a_row, a_column) else TILE_SWITCH(0, a_row, a_column)
}

INLINE lg_size round_up(lg_size n, lg_size multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

INLINE int at_most(lg_size left, int most) { return left < most ? (int)left : most; }

/* A square of 4 x 4: to[i * to_row + j] = from[j * from_row + i]. */
INLINE void transpose4(const float *from, lg_size from_row, float *to, lg_size to_row) {
    typedef float v4 __attribute__((vector_size(16)));
    typedef float v4_unaligned __attribute__((vector_size(16), aligned(4), may_alias));
    const v4 r0 = *(const v4_unaligned *)from, r1 = *(const v4_unaligned *)(from + from_row);
    const v4 r2 = *(const v4_unaligned *)(from + 2 * from_row);
    const v4 r3 = *(const v4_unaligned *)(from + 3 * from_row);
    const v4 a = __builtin_shufflevector(r0, r1, 0, 4, 1, 5); /* 00 10 01 11 */
    const v4 b = __builtin_shufflevector(r2, r3, 0, 4, 1, 5);
    const v4 c = __builtin_shufflevector(r0, r1, 2, 6, 3, 7);
    const v4 d = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
    *(v4_unaligned *)to = __builtin_shufflevector(a, b, 0, 1, 4, 5);
    *(v4_unaligned *)(to + to_row) = __builtin_shufflevector(a, b, 2, 3, 6, 7);
    *(v4_unaligned *)(to + 2 * to_row) = __builtin_shufflevector(c, d, 0, 1, 4, 5);
    *(v4_unaligned *)(to + 3 * to_row) = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}

/* LG_VL x 4 values: to[i * to_row + j] = from[j * from_row + i] for j < n, the last row standing in
   for those past it: fours of rows side by side in a vector, each transposed for itself. */
#if defined(LG_AVX512) || defined(LG_AVX2)
INLINE void transpose_wide(const float *from, lg_size from_row, int n, float *to, lg_size to_row) {
    vf r[4];
    UNROLL for (int i = 0; i < 4; i++) {
#define FOUR_OF(group) _mm_loadu_ps(from + (group * 4 + i < n ? group * 4 + i : n - 1) * from_row)
#if defined(LG_AVX512)
        __m512 v = _mm512_castps128_ps512(FOUR_OF(0));
        v = _mm512_insertf32x4(v, FOUR_OF(1), 1);
        v = _mm512_insertf32x4(v, FOUR_OF(2), 2);
        r[i] = _mm512_insertf32x4(v, FOUR_OF(3), 3);
#else
        r[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(FOUR_OF(0)), FOUR_OF(1), 1);
#endif
#undef FOUR_OF
    }
#if defined(LG_AVX512)
#define WITHIN(name, ...) (vf) _mm512_##name(__VA_ARGS__)
#else
#define WITHIN(name, ...) (vf) _mm256_##name(__VA_ARGS__)
#endif
    const vf a = WITHIN(unpacklo_ps, r[0], r[1]), b = WITHIN(unpacklo_ps, r[2], r[3]);
    const vf c = WITHIN(unpackhi_ps, r[0], r[1]), d = WITHIN(unpackhi_ps, r[2], r[3]);
    const vf out[4] = {WITHIN(shuffle_ps, a, b, 0x44), WITHIN(shuffle_ps, a, b, 0xee),
                       WITHIN(shuffle_ps, c, d, 0x44), WITHIN(shuffle_ps, c, d, 0xee)};
#undef WITHIN
    UNROLL for (int i = 0; i < 4; i++) {
        if (n == LG_VL) store(to + i * to_row, out[i]);
        else store_part(to + i * to_row, out[i], n);
    }
}
#endif

/* to[k * to_row + j] = from[j * from_row + k] for j < n (at least 4) and k < K: rows come to stand
   side by side. The last square of four overlaps the one before it. */
INLINE void interleave(const float *from, lg_size from_row, int n, lg_size K, float *to,
                       lg_size to_row) {
    const lg_size whole = K / 4 * 4;
    int group = 0;
#if defined(LG_AVX512)
    for (; group < n; group += LG_VL) /* a vector in part is as fast as a whole one */
#elif defined(LG_AVX2)
    for (; group + LG_VL <= n; group += LG_VL)
#endif
#if defined(LG_AVX512) || defined(LG_AVX2)
        for (lg_size k = 0; k < whole; k += 4)
            transpose_wide(from + group * from_row + k, from_row, at_most(n - group, LG_VL),
                           to + k * to_row + group, to_row);
#endif
    for (; group < n; group += 4) {
        const int j = group + 4 <= n ? group : n - 4;
        for (lg_size k = 0; k < whole; k += 4)
            transpose4(from + j * from_row + k, from_row, to + k * to_row + j, to_row);
    }
    for (lg_size k = whole; k < K; k++)
        for (int j = 0; j < n; j++) to[k * to_row + j] = from[j * from_row + k];
}

/* Rows r of a, K values each, interleaved: strip[k * TILE_ROWS + r]; missing rows are zero. */
INLINE void pack_strip(lg_matrix a, int rows, lg_size K, float *strip) {
    if (rows == TILE_ROWS && a.column == 1) {
        interleave(a.data, a.row, TILE_ROWS, K, strip, TILE_ROWS);
        return;
    }
    if (rows == TILE_ROWS && a.row == 1) {
        for (lg_size k = 0; k < K; k++)
#if defined(LG_AVX512)
            store_part(strip + k * TILE_ROWS, load_part(a.data + k * a.column, TILE_ROWS, 0),
                       TILE_ROWS);
#else
            memcpy(strip + k * TILE_ROWS, a.data + k * a.column, sizeof(float) * TILE_ROWS);
#endif
        return;
    }
    for (lg_size k = 0; k < K; k++)
        for (int r = 0; r < TILE_ROWS; r++)
            strip[k * TILE_ROWS + r] = r < rows ? a.data[r * a.row + k * a.column] : 0;
}

/* `columns` columns of b, K values each, side by side: panel[k * 32 + j]; the rest is zero. Value
   (k, j) stands at b[k * row + j * column]. */
INLINE void pack_panel(const float *b, lg_size row, lg_size column, lg_size K, int columns,
                       float *panel) {
    if (columns == PANEL && column == 1) {
        for (lg_size k = 0; k < K; k++)
            memcpy(panel + k * PANEL, b + k * row, sizeof(float) * PANEL);
        return;
    }
    if (columns == PANEL && row == 1) {
        interleave(b, column, PANEL, K, panel, PANEL);
        return;
    }
    for (lg_size k = 0; k < K; k++)
        for (int j = 0; j < PANEL; j++)
            panel[k * PANEL + j] = j < columns ? b[k * row + j * column] : 0;
}

#endif
