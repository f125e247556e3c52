/* The register tile on weights of 16 bits, for few rows: they are widened in registers, since memory
   is what such a product waits for. The order of additions is that of tile.h. */
#ifndef LITEGPT_TILE_HALF_H
#define LITEGPT_TILE_HALF_H

#include "half.h"
#include "tile.h"

/* c[r][j] = sum over k of a(r, k) * b[k][j]: a tile of `rows` rows, K whole, with a panel in one of
   the formats of 16 bits; rows and format are constants wherever this is inlined. */
INLINE void half_tile_of(const int rows, const int format, lg_size K, lg_matrix a,
                         const uint8_t *b, float *c, lg_size c_row) {
    enum { VECTORS = TILE_COLUMNS / LG_VL };
    vf sum[TILE_ROWS][VECTORS];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int j = 0; j < VECTORS; j++) sum[r][j] = splat(0);
    for (lg_size k = 0; k < K; k++, b += 2 * PANEL) {
        vf bk[VECTORS];
        UNROLL for (int j = 0; j < VECTORS; j++)
            bk[j] = load_half(format, b + 2 * j * LG_VL);
        UNROLL for (int r = 0; r < rows; r++) {
            const vf value = splat(a.data[r * a.row + k * a.column]);
            UNROLL for (int j = 0; j < VECTORS; j++) sum[r][j] = fma_vf(value, bk[j], sum[r][j]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int j = 0; j < VECTORS; j++) store(c + r * c_row + j * LG_VL, sum[r][j]);
}

#define HALF_CASE(n)                                                                          \
    case n:                                                                                   \
        for (int j = 0; j < PANEL; j += TILE_COLUMNS) {                                       \
            if (format == LG_FLOAT16)                                                         \
                half_tile_of(n, LG_FLOAT16, K, a, b + 2 * j, c + j, c_row);                   \
            else half_tile_of(n, LG_BFLOAT16, K, a, b + 2 * j, c + j, c_row);                 \
        }                                                                                     \
        break;

/* The same for up to TILE_ROWS rows and a whole panel of columns. */
static void tile_half(int rows, int format, lg_size K, lg_matrix a, const uint8_t *b, float *c,
                      lg_size c_row) {
    switch (rows) {
        HALF_CASE(1) HALF_CASE(2) HALF_CASE(3) HALF_CASE(4) HALF_CASE(5) HALF_CASE(6)
#if defined(LG_AVX512)
        HALF_CASE(7) HALF_CASE(8) HALF_CASE(9) HALF_CASE(10) HALF_CASE(11) HALF_CASE(12)
        HALF_CASE(13) HALF_CASE(14)
#endif
    }
}

/* `K` rows of such a panel as floats. */
INLINE void widen_panel(const uint8_t *halves, int format, lg_size K, float *panel) {
    for (lg_size i = 0; i < K * PANEL; i += LG_VL)
        store(panel + i, load_half(format, halves + 2 * i));
}

#endif
