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

/* c[r][j] (+)= sum over k of a(r, k) * b[k][j], for `rows` x `vectors` vectors; rows and vectors
   are constants wherever this is inlined. */
INLINE void tile_of(const int rows, const int vectors, const int accumulate, lg_size K,
                    lg_matrix a, const float *b, lg_size b_row, float *c, lg_size c_row) {
    vf sum[TILE_ROWS][TILE_COLUMNS / LG_VL];
#pragma GCC unroll 14
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int j = 0; j < vectors; j++)
            sum[r][j] = accumulate ? load(c + r * c_row + j * LG_VL) : splat(0);
    for (lg_size k = 0; k < K; k++) {
        vf bk[TILE_COLUMNS / LG_VL];
#pragma GCC unroll 8
        for (int j = 0; j < vectors; j++) bk[j] = load(b + k * b_row + j * LG_VL);
#pragma GCC unroll 14
        for (int r = 0; r < rows; r++) {
            vf value = splat(a.data[r * a.row + k * a.column]);
#pragma GCC unroll 8
            for (int j = 0; j < vectors; j++) sum[r][j] = fma_vf(value, bk[j], sum[r][j]);
        }
    }
#pragma GCC unroll 14
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int j = 0; j < vectors; j++) store(c + r * c_row + j * LG_VL, sum[r][j]);
}

/* The same for up to TILE_ROWS rows and a whole panel of columns. */
#define TILE_CASE(n)                                                                       \
    case n:                                                                                \
        for (int j = 0; j < PANEL; j += TILE_COLUMNS)                                      \
            tile_of(n, TILE_COLUMNS / LG_VL, accumulate, K, a, b + j, b_row, c + j, c_row); \
        break;

#define TILE_SWITCH                                                                              \
    switch (rows) {                                                                              \
        TILE_CASE(1) TILE_CASE(2) TILE_CASE(3) TILE_CASE(4) TILE_CASE(5) TILE_CASE(6)            \
        TILE_MORE_CASES                                                                          \
    }

#if defined(LG_AVX512)
#define TILE_MORE_CASES                                                                \
    TILE_CASE(7) TILE_CASE(8) TILE_CASE(9) TILE_CASE(10) TILE_CASE(11) TILE_CASE(12)   \
    TILE_CASE(13) TILE_CASE(14)
#else
#define TILE_MORE_CASES
#endif

/* From rows of any layout (few rows: nothing is gained by rearranging them). */
static void tile_loose(int rows, int accumulate, lg_size K, lg_matrix a, const float *b,
                       lg_size b_row, float *c, lg_size c_row) {
    if (accumulate) TILE_SWITCH else TILE_SWITCH
}

/* From a strip that pack_strip made. */
static void tile_strip(int rows, int accumulate, lg_size K, const float *strip, const float *b,
                       float *c, lg_size c_row) {
    const lg_matrix a = {strip, 1, TILE_ROWS};
    enum { b_row = PANEL };
    if (accumulate) TILE_SWITCH else TILE_SWITCH
}

/* Rows r of a, K values each, interleaved: strip[k * TILE_ROWS + r]; missing rows are zero. */
INLINE void pack_strip(lg_matrix a, int rows, lg_size K, float *strip) {
    for (int r = rows; r < TILE_ROWS; r++)
        for (lg_size k = 0; k < K; k++) strip[k * TILE_ROWS + r] = 0;
    if (a.column == 1) {
        for (int r = 0; r < rows; r++)
            for (lg_size k = 0; k < K; k++) strip[k * TILE_ROWS + r] = a.data[r * a.row + k];
    } else {
        for (lg_size k = 0; k < K; k++)
            for (int r = 0; r < rows; r++)
                strip[k * TILE_ROWS + r] = a.data[r * a.row + k * a.column];
    }
}

/* `columns` columns of b, K values each, side by side: panel[k * 32 + j]; the rest is zero. Value
   (k, j) stands at b[k * row + j * column]. */
INLINE void pack_panel(const float *b, lg_size row, lg_size column, lg_size K, int columns,
                       float *panel) {
    if (column == 1 && columns == PANEL) {
        for (lg_size k = 0; k < K; k++)
            for (int j = 0; j < PANEL; j += LG_VL)
                store(panel + k * PANEL + j, load(b + k * row + j));
        return;
    }
    for (lg_size k = 0; k < K; k++) {
        for (int j = 0; j < columns; j++) panel[k * PANEL + j] = b[k * row + j * column];
        for (int j = columns; j < PANEL; j++) panel[k * PANEL + j] = 0;
    }
}

#endif
