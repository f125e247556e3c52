/* Few rows by packed weights in a format of numbers. Memory is what such a product waits for: the
   weights are one stream, read once, widened in registers, and met by all rows on the way. The order
   of additions is that of tile.h. */
#ifndef LITEGPT_LINEAR_FEW_H
#define LITEGPT_LINEAR_FEW_H

#include "product.h"
#include "quantized.h"

enum {
    FEW_ROWS = 2 * TILE_ROWS - 1, /* for more, weights are widened and packed once for all */
    WHOLE_ROWS = TILE_ROWS * TILE_COLUMNS / PANEL, /* whose sums of a whole panel fit the registers */
    FEW_DEPTH = 128,        /* terms of a panel that stay in cache until all rows have met them */
    FETCH_AHEAD = 16 * 1024 /* bytes of weights, into the second-level cache */
};

typedef struct {
    const float *x;
    const uint8_t *packed;
    int format;
    lg_size M, K, N;
    lg_finish finish;
    float *y;
    lg_size rows; /* of a tile; the last may have fewer */
    int asks;     /* whether weights are asked for before they are needed */
} lg_few;

/* Some terms of a tile of outputs: c (rows, 32) (+)= a, whose rows are `a_row` apart, by the panel w.
   Where `ask` isn't NULL, ask_bytes from there on are asked for with each term. The columns of c are
   in the order of load_pair; rows and format are constants wherever this is inlined. */
INLINE void few_tile(const int rows, const int format, int accumulate, lg_size depth,
                     const float *a, lg_size a_row, const uint8_t *w, const uint8_t *ask,
                     int ask_bytes, float *c) {
    enum { VECTORS = PANEL / LG_VL };
    const int bytes = (int)block_bytes(&weight_formats[format]);
    vf sum[WHOLE_ROWS][VECTORS];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int j = 0; j < VECTORS; j++)
            sum[r][j] = accumulate ? load(c + r * PANEL + j * LG_VL) : splat(0);
    for (lg_size k = 0; k < depth; k++, w += bytes * PANEL) {
        vf wk[VECTORS];
        if (rows > 1 && ask) { /* one row never needs it, and would notice the question */
            __builtin_prefetch(ask, 0, 2);
            if (ask_bytes > 64) __builtin_prefetch(ask + 64, 0, 2);
            ask += ask_bytes;
        }
        UNROLL for (int j = 0; j < VECTORS; j += 2)
            load_pair(format, w + bytes * j * LG_VL, wk + j);
        UNROLL for (int r = 0; r < rows; r++) {
            const vf value = splat(a[r * a_row + k]);
            UNROLL for (int j = 0; j < VECTORS; j++) sum[r][j] = fma_vf(value, wk[j], sum[r][j]);
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int j = 0; j < VECTORS; j++) store(c + r * PANEL + j * LG_VL, sum[r][j]);
}

#define FEW_ROWS_CASE(n)                                                                  \
    case n:                                                                               \
        few_tile(n, format, accumulate, depth, a, a_row, w, ask, ask_bytes, c);           \
        break;

INLINE void few_tile_of(const int format, int rows, int accumulate, lg_size depth, const float *a,
                        lg_size a_row, const uint8_t *w, const uint8_t *ask, int ask_bytes,
                        float *c) {
    switch (rows) {
        FEW_ROWS_CASE(1)
#if defined(LG_AVX512) || defined(LG_AVX2) || defined(LG_NEON)
        FEW_ROWS_CASE(2) FEW_ROWS_CASE(3)
#endif
#if defined(LG_AVX512)
        FEW_ROWS_CASE(4) FEW_ROWS_CASE(5) FEW_ROWS_CASE(6) FEW_ROWS_CASE(7) FEW_ROWS_CASE(8)
        FEW_ROWS_CASE(9) FEW_ROWS_CASE(10) FEW_ROWS_CASE(11) FEW_ROWS_CASE(12)
        FEW_ROWS_CASE(13) FEW_ROWS_CASE(14)
#endif
    }
}

#define FEW_FORMAT_CASE(format)                                                           \
    case format:                                                                          \
        few_tile_of(format, rows, accumulate, depth, a, a_row, w, ask, ask_bytes, c);     \
        break;

static void few_tile_in(int format, int rows, int accumulate, lg_size depth, const float *a,
                        lg_size a_row, const uint8_t *w, const uint8_t *ask, int ask_bytes,
                        float *c) {
    switch (format) { LG_NUMBER_FORMATS(FEW_FORMAT_CASE) }
}

/* sums (M, 32) = x by the panel w. Rows of one tile meet all terms in one go, rows of more tiles
   those that stay in cache, one tile after the other; halves are widened once for more than two
   tiles (float16 for two: it costs more). */
static void few_sums(const lg_few *p, const uint8_t *w, const uint8_t *ask, float *sums) {
    const int bytes = (int)(PANEL * block_bytes(&weight_formats[p->format])); /* of a term */
    const lg_size step = p->M <= WHOLE_ROWS && p->K > 0 ? p->K : FEW_DEPTH;
    const int widens = p->format == LG_FLOAT16 ? p->M > WHOLE_ROWS
                                               : p->format == LG_BFLOAT16 && p->M > 2 * WHOLE_ROWS;
    float widened[FEW_DEPTH * PANEL];
    for (lg_size k = 0; k == 0 || k < p->K; k += step) {
        const lg_size depth = p->K - k < step ? p->K - k : step;
        const uint8_t *terms = w + k * bytes;
        if (widens) {
            widen(p->format, terms, depth * PANEL, widened);
            terms = (const uint8_t *)widened;
        }
        for (lg_size row = 0; row < p->M; row += p->rows)
            few_tile_in(widens ? LG_FLOAT32 : p->format, at_most(p->M - row, (int)p->rows), k > 0,
                        depth, p->x + row * p->K + k, p->K, terms,
                        ask && row == 0 ? ask + k * bytes : NULL, bytes, sums + row * PANEL);
    }
    if (p->format == LG_BFLOAT16 && !widens) order_pairs(sums, p->M * PANEL);
}

static int few_panels(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const lg_few *p = context;
    const lg_size panel_bytes = p->K * PANEL * block_bytes(&weight_formats[p->format]);
    for (lg_size panel = begin; panel < end; panel++) {
        const uint8_t *w = p->packed + panel * panel_bytes, *ask = p->asks ? w + FETCH_AHEAD : NULL;
        const lg_size column = panel * PANEL;
        float sums[FEW_ROWS * PANEL];
        few_sums(p, w, ask, sums);
        finish_tile(&p->finish, p->N, 0, (int)p->M, column, at_most(p->N - column, PANEL), sums,
                    PANEL, p->y + column);
    }
    return LG_OK;
}

static int few_product(lg_few p) {
    if (p.M == 0 || p.N == 0) return LG_OK;
    const lg_size tiles = (p.M + WHOLE_ROWS - 1) / WHOLE_ROWS, panels = (p.N + PANEL - 1) / PANEL;
    p.rows = (p.M + tiles - 1) / tiles;
    /* Processors foresee a stream, and fetch it faster by themselves, unless each line of it is
       multiplied with so many rows that they lose sight of what follows. Widening a half costs as
       much as another row. */
    p.asks = (p.M + (p.format == LG_FLOAT16)) * 4 >= 6 * block_bytes(&weight_formats[p.format]);
    return lg_parallel(panels, 1 + PRODUCT_GRAIN / ((p.K + 1) * PANEL * p.M), few_panels, &p);
}

#endif
