/* Dense layers on packed weights of any format. Formats of numbers go the way of linear_packed,
   widened panel by panel; those of codes round the activations too and multiply bytes.

   Every output adds its groups in ascending order, whatever the number of rows or threads. */
#include "codes.h"

/* Rows of a tile, and how many vector registers its sums of floats and its sums of integers may
   take, beside weights, activations and what multiplying bytes needs. */
#if defined(LG_AVX512)
enum { CODE_ROWS = 8, FLOAT_SUMS = 16, INTEGER_SUMS = 12 };
#elif defined(LG_NEON)
enum { CODE_ROWS = 4, FLOAT_SUMS = 16, INTEGER_SUMS = 8 };
#else
enum { CODE_ROWS = 4, FLOAT_SUMS = 4, INTEGER_SUMS = 4 };
#endif

/* Vectors of a panel for whose outputs `sums` registers suffice, with `rows` rows. */
INLINE int vectors_within(int sums, int rows) {
    int vectors = PANEL / LG_VL;
    while (vectors > 1 && vectors * rows > sums) vectors /= 2;
    return vectors;
}

enum {
    QUADS = GROUP / 4,         /* of four codes each, which a lane multiplies at once */
    CODES_AT_ONCE = 256 * 1024 /* bytes of activations that stay in the second-level cache */
};

/* What is loaded for some outputs isn't loaded early, while others still fill the registers. */
#define KEEP_APART __asm__ volatile("" ::: "memory")

/* A group of activations, rounded, of the rows of one tile: codes [QUADS][rows][4], then for each
   row the scale, the scale times the sum of the codes (what a minimum is worth), and what makes up
   for zero_of. */
enum { CODE_BYTES = GROUP + 4 + 4 + 4 }; /* of one row */

INLINE const int8_t *codes_of(const uint8_t *group, int rows, int q, int r) {
    return (const int8_t *)group + 4 * (q * rows + r);
}

INLINE float scale_of(const uint8_t *group, int rows, int r) {
    return *(const float *)(const void *)(group + GROUP * rows + 4 * r);
}

INLINE float scaled_sum_of(const uint8_t *group, int rows, int r) {
    return *(const float *)(const void *)(group + (GROUP + 4) * rows + 4 * r);
}

INLINE int32_t start_of(const uint8_t *group, int rows, int r) {
    return *(const int32_t *)(const void *)(group + (GROUP + 8) * rows + 4 * r);
}

typedef struct {
    const float *x;
    const uint8_t *packed;
    int format;
    lg_size M, K, N, groups;
    lg_finish finish;
    float *y;
    uint8_t *codes; /* (strips, groups) groups of activations */
    lg_size rows_per_block;
} lg_code_product;

typedef int8_t vbytes __attribute__((vector_size(LG_VL)));

/* The activations of group g of a row; `padded` has room for them where K ends within the group. */
INLINE const float *activations_of(const lg_code_product *p, lg_size row, lg_size g,
                                   float *padded) {
    const float *x = p->x + row * p->K + g * GROUP;
    const lg_size left = p->K - g * GROUP;
    if (left >= GROUP) return x;
    memset(padded, 0, sizeof(float) * GROUP);
    memcpy(padded, x, sizeof(float) * (size_t)left);
    return padded;
}

/* Rounds a strip to codes: see activation_codes. Scales are computed for many at a time, which are
   (group, row) in this order. */
static void round_strip(const lg_code_product *p, lg_size row, int rows, uint8_t *strip) {
    const lg_size items = p->groups * rows;
    float padded[GROUP];
    lg_size begin = 0; /* the group and row of the first */
    int begin_row = 0;
    for (lg_size first = 0; first < items; first += LG_VL) {
        const int count = at_most(items - first, LG_VL);
        lg_size g = begin;
        int r = begin_row;
        int32_t most_bits[LG_VL] = {0};
        for (int i = 0; i < count; i++) {
            const float *x = activations_of(p, row + r, g, padded);
            vi largest = {0};
            UNROLL for (int j = 0; j < GROUP; j += LG_VL) /* as integers: NaN is above infinity */
                largest = max_vi(largest, bits(load(x + j)) & 0x7fffffff);
            most_bits[i] = largest_vi(largest);
            if (++r == rows) r = 0, g++;
        }
        const vi magnitude = load_bytes(most_bits), finite = magnitude < 0x7f800000;
        const vf most = (vf)magnitude, inverse = splat(127.0f) / most;
        const vi used = finite & (inverse <= splat(FLT_MAX)); /* else too small, or zero */
        const vf scale = select_vf(finite, (vf)(bits(most / splat(127.0f)) & used), splat(NAN));
        float inverses[LG_VL], scales[LG_VL];
        store(inverses, inverse);
        store(scales, scale);
        g = begin;
        r = begin_row;
        for (int i = 0; i < count; i++) {
            const float *x = activations_of(p, row + r, g, padded);
            uint8_t *group = strip + g * rows * CODE_BYTES + 4 * r;
            int8_t codes[GROUP];
            vi sum = {0};
            UNROLL for (int j = 0; j < GROUP; j += LG_VL) {
                const vi code = nearest_vi(load(x + j) * inverses[i]) & used[i];
                const vbytes narrow = __builtin_convertvector(code, vbytes);
                memcpy(codes + j, &narrow, sizeof narrow);
                sum += code;
            }
            const int32_t total = sum_vi(sum);
            for (int q = 0; q < QUADS; q++) memcpy(group + 4 * q * rows, codes + 4 * q, 4);
            const float scaled_sum = scales[i] * (float)total;
            const int32_t start = -zero_of(p->format) * total;
            memcpy(group + GROUP * rows, &scales[i], 4);
            memcpy(group + (GROUP + 4) * rows, &scaled_sum, 4);
            memcpy(group + (GROUP + 8) * rows, &start, 4);
            if (++r == rows) r = 0, g++;
        }
        begin = g;
        begin_row = r;
    }
}

static int round_strips(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const lg_code_product *p = context;
    for (lg_size strip = begin; strip < end; strip++) {
        const lg_size row = strip * CODE_ROWS;
        round_strip(p, row, at_most(p->M - row, CODE_ROWS),
                    p->codes + row * p->groups * CODE_BYTES);
    }
    return LG_OK;
}

/* sum[r][from + v] += a group of activations times a block of weights, for `vectors` vectors of
   outputs from `column` on. */
INLINE void code_group(const int rows, const int vectors, const int format, const uint8_t *group,
                       const uint8_t *block, int column, const int from,
                       vf sum[CODE_ROWS][PANEL / LG_VL]) {
    const uint8_t *words = block + 2 * weight_formats[format].halves * PANEL + 4 * column;
    vi start[CODE_ROWS], dot[CODE_ROWS][PANEL / LG_VL];
    UNROLL for (int r = 0; r < rows; r++) {
        start[r] = (vi){0} + (zero_of(format) ? start_of(group, rows, r) : 0);
        UNROLL for (int v = 0; v < vectors; v++) dot[r][v] = sum_from(format, start[r]);
    }
    UNROLL for (int q = 0; q < QUADS; q++) {
        vi weights[PANEL / LG_VL];
        UNROLL for (int v = 0; v < vectors; v++)
            weights[v] = quad_of(format, words + 4 * v * LG_VL, q);
        UNROLL for (int r = 0; r < rows; r++) {
            const vi codes = splat_bytes(codes_of(group, rows, q, r));
            UNROLL for (int v = 0; v < vectors; v++)
                dot[r][v] = dot_of(format, dot[r][v], weights[v], codes);
        }
    }
    UNROLL for (int v = 0; v < vectors; v++) {
        const uint8_t *scales = block + 2 * (column + v * LG_VL);
        const vf scale = load_float16(scales);
        const vf minimum = has_minimum(format) ? load_float16(scales + 2 * PANEL) : splat(0);
        UNROLL for (int r = 0; r < rows; r++) {
            const vi whole = whole_of(format, dot[r][v], start[r]);
            vf value = fma_vf(__builtin_convertvector(whole, vf),
                              scale * scale_of(group, rows, r), sum[r][from + v]);
            if (has_minimum(format))
                value = fma_vf(minimum, splat(scaled_sum_of(group, rows, r)), value);
            sum[r][from + v] = value;
        }
    }
}

/* y (rows, 32) = the codes of `rows` rows times a panel; rows and format are constants wherever
   this is inlined. */
INLINE void code_tile(const int rows, const int format, lg_size groups, const uint8_t *a,
                      const uint8_t *w, float *y) {
    const int bytes = PANEL * (int)block_bytes(&weight_formats[format]);
    const int together = vectors_within(FLOAT_SUMS, rows);
    const int at_once = vectors_within(INTEGER_SUMS, rows);
#pragma GCC unroll 1
    for (int first = 0; first < PANEL; first += together * LG_VL) {
        vf sum[CODE_ROWS][PANEL / LG_VL];
        const uint8_t *group = a, *block = w;
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int v = 0; v < together; v++) sum[r][v] = splat(0);
        for (lg_size g = 0; g < groups; g++, group += rows * CODE_BYTES, block += bytes) {
            /* for fewer rows slower than the stream that the processor fetches by itself */
            if (rows * GROUP * PANEL >= 4 * bytes)
                UNROLL for (int line = 0; line < bytes; line += 64)
                    __builtin_prefetch(block + FETCH_AHEAD + line, 0, 2);
            UNROLL for (int v = 0; v < together; v += at_once) {
                KEEP_APART;
                code_group(rows, at_once, format, group, block, first + v * LG_VL, v, sum);
            }
        }
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int v = 0; v < together; v++)
                store(y + r * PANEL + first + v * LG_VL, sum[r][v]);
    }
}

#define CODE_ROWS_CASE(n) \
    case n: code_tile(n, format, groups, a, w, y); break;

INLINE void code_tile_of(const int format, int rows, lg_size groups, const uint8_t *a,
                         const uint8_t *w, float *y) {
    switch (rows) {
        CODE_ROWS_CASE(1) CODE_ROWS_CASE(2) CODE_ROWS_CASE(3) CODE_ROWS_CASE(4)
#if defined(LG_AVX512)
        CODE_ROWS_CASE(5) CODE_ROWS_CASE(6) CODE_ROWS_CASE(7) CODE_ROWS_CASE(8)
#endif
    }
}

#define CODE_FORMAT_CASE(format) \
    case format: code_tile_of(format, rows, groups, a, w, y); break;

static void code_tile_in(int format, int rows, lg_size groups, const uint8_t *a,
                         const uint8_t *w, float *y) {
    switch (format) { LG_CODE_FORMATS(CODE_FORMAT_CASE) }
}

static int code_panels(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const lg_code_product *p = context;
    const lg_size panels = (p->N + PANEL - 1) / PANEL;
    const lg_size panel_bytes = p->groups * PANEL * block_bytes(&weight_formats[p->format]);
    for (lg_size item = begin; item < end; item++) { /* (block, panel) */
        const lg_size first = item / panels * p->rows_per_block, column = item % panels * PANEL;
        const lg_size rows_left = p->M - first < p->rows_per_block ? p->M - first
                                                                   : p->rows_per_block;
        const lg_size columns = p->N - column < PANEL ? p->N - column : PANEL;
        for (lg_size row = first; row < first + rows_left; row += CODE_ROWS) {
            const int rows = at_most(first + rows_left - row, CODE_ROWS);
            float tile[CODE_ROWS * PANEL];
            for (int r = 0; rows > 4 && r < rows; r++) /* asks for what is written when it is done */
                for (int j = 0; j < PANEL; j += 16)
                    __builtin_prefetch(p->y + (row + r) * p->N + column + j, 1, 3);
            code_tile_in(p->format, rows, p->groups, p->codes + row * p->groups * CODE_BYTES,
                         p->packed + item % panels * panel_bytes, tile);
            finish_tile(&p->finish, p->N, row, rows, column, columns, tile, PANEL,
                        p->y + row * p->N + column);
        }
    }
    return LG_OK;
}

static int code_product(lg_code_product p) {
    if (p.M == 0 || p.N == 0) return LG_OK;
    const lg_size panels = (p.N + PANEL - 1) / PANEL, strips = (p.M + CODE_ROWS - 1) / CODE_ROWS;
    const lg_size row_bytes = p.groups * CODE_BYTES;
    p.codes = lg_scratch(LG_SCRATCH_REGION, (size_t)(p.M * row_bytes));
    if (p.codes == NULL) return LG_NO_MEMORY;
    int status = lg_parallel(strips, row_grain(CODE_ROWS * p.K), round_strips, &p);
    if (status != LG_OK) return status;
    const lg_size least = 1 + p.M * row_bytes / CODES_AT_ONCE; /* blocks, all of one length */
    p.rows_per_block = (strips + least - 1) / least * CODE_ROWS;
    const lg_size blocks = (p.M + p.rows_per_block - 1) / p.rows_per_block;
    const lg_size rows = p.rows_per_block < p.M ? p.rows_per_block : p.M;
    return lg_parallel(panels * blocks, 1 + 2 * PRODUCT_GRAIN / ((p.K + 1) * PANEL * rows),
                       code_panels, &p);
}

static int linear_quantized(const float *x, const uint8_t *packed, int format, lg_finish finish,
                            lg_size M, lg_size K, lg_size N, float *y) {
    if (weight_formats[format].group == GROUP)
        return code_product((lg_code_product){.x = x,
                                              .packed = packed,
                                              .format = format,
                                              .M = M,
                                              .K = K,
                                              .N = N,
                                              .groups = groups_of(&weight_formats[format], K),
                                              .finish = finish,
                                              .y = y});
    if (M <= FEW_ROWS)
        return few_product((lg_few){.x = x,
                                    .packed = packed,
                                    .format = format,
                                    .M = M,
                                    .K = K,
                                    .N = N,
                                    .finish = finish,
                                    .y = y});
    if (format == LG_FLOAT32)
        return linear_packed(x, (const float *)(const void *)packed, finish, M, K, N, y);
    return product((lg_product){.a = {x, K, 1},
                                .halves = packed,
                                .format = format,
                                .packed = 1,
                                .M = M,
                                .K = K,
                                .N = N,
                                .finish = finish,
                                .c = y});
}
