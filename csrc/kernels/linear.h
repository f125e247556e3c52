/* Matrix products: dense layers forward and backward, and batched products. */
#include "../vmath.h"
#include "tile.h"
#include "tile_half.h"

enum {
    K_BLOCK = 768,        /* rows of a panel that stay in the second-level cache */
    NEAR = 640,           /* a row's distance up to which caches do without packed strips */
    PRODUCT_GRAIN = 32768 /* multiplications below which a piece isn't worth a thread */
};

/* c (M, N) (+)= a (M, K) * b (K, N), then finish. b comes packed (pack_linear), packed in a format
   of 16 bits, or with strides. */
typedef struct {
    lg_matrix a;
    const float *b;
    const uint8_t *halves; /* b in `format` */
    lg_size b_row, b_column;
    int packed, format, accumulate;
    lg_size M, K, N;
    lg_finish finish;
    float *c;
    const float *strips; /* a, packed by strips, when there are many rows far apart */
    lg_size row_blocks, rows_per_block;
} lg_product;

/* activation(y + bias) + residual on `count` outputs from (row, column) on. */
INLINE vf finish_vf(vf y, vf bias, vf residual, int activation) {
    y += bias;
    if (activation == LG_GELU) y = gelu_vf(y);
    else if (activation == LG_GELU_ERF) y = gelu_erf_vf(y);
    else if (activation == LG_RELU) y = relu_vf(y);
    return y + residual;
}

static void finish_part(const lg_finish *f, lg_size N, lg_size row, lg_size column, lg_size count,
                        float *y) {
    const float *bias = f->bias ? f->bias + column : NULL;
    const float *residual = f->residual ? f->residual + row * N + column : NULL;
    const vf zero = splat(-0.0f); /* the neutral element of addition, sign included */
    FOR_VECTORS(count, i,
                store(y + i, finish_vf(load(y + i), bias ? load(bias + i) : zero,
                                       residual ? load(residual + i) : zero, f->activation)),
                store_part(y + i,
                           finish_vf(load_part(y + i, left, 0),
                                     bias ? load_part(bias + i, left, 0) : zero,
                                     residual ? load_part(residual + i, left, 0) : zero,
                                     f->activation),
                           left));
}

INLINE int has_finish(const lg_finish *f) {
    return f->bias || f->residual || f->activation != LG_NONE;
}

/* One tile: rows from `row` on, the columns of one panel, k in [k, k + depth). */
INLINE void product_tile(const lg_product *p, lg_size row, int rows, lg_size column, int columns,
                         lg_size k, lg_size depth, const float *b) {
    float *c = p->c + row * p->N + column;
    const int accumulate = p->accumulate || k > 0;
    float edge[TILE_ROWS * PANEL]; /* stands in for c where the panel is cut */
    float *out = c;
    lg_size out_row = p->N;
    if (columns < PANEL) {
        out = edge;
        out_row = PANEL;
        for (int r = 0; accumulate && r < rows; r++) {
            memset(edge + r * PANEL, 0, sizeof(float) * PANEL);
            memcpy(edge + r * PANEL, c + r * p->N, sizeof(float) * (size_t)columns);
        }
    }
    if (p->strips) {
        const float *strip = p->strips + row * p->K + k * TILE_ROWS;
        tile_strip(rows, accumulate, depth, strip, b, PANEL, out, out_row);
    } else {
        const lg_matrix a = {p->a.data + row * p->a.row + k * p->a.column, p->a.row, p->a.column};
        if (b == NULL) /* K is whole */
            tile_half(rows, p->format, depth, a, p->halves + 2 * column * p->K, out, out_row);
        else
            tile_loose(rows, accumulate, depth, a, b, PANEL, out, out_row);
    }
    if (columns < PANEL)
        for (int r = 0; r < rows; r++)
            memcpy(c + r * p->N, edge + r * PANEL, sizeof(float) * (size_t)columns);
    if (k + depth == p->K && has_finish(&p->finish))
        for (int r = 0; r < rows; r++)
            finish_part(&p->finish, p->N, row + r, column, columns, c + r * p->N);
}

/* Panels [begin, end) for the rows of one block. */
static int product_panels(const lg_product *p, lg_size block, lg_size begin, lg_size end) {
    const lg_size first = block * p->rows_per_block;
    const lg_size last = first + p->rows_per_block < p->M ? first + p->rows_per_block : p->M;
    const int widen = p->halves && p->M >= 2 * TILE_ROWS; /* once for many rows */
    const int one_pass = p->packed && !p->strips && !widen; /* few rows: the weights are a stream */
    const lg_size step = one_pass && p->K > 0 ? p->K : K_BLOCK;
    float *loose = NULL;
    if (!p->packed || widen) {
        loose = lg_scratch(LG_SCRATCH_TASK, sizeof(float) * K_BLOCK * PANEL);
        if (loose == NULL) return LG_NO_MEMORY;
    }
    for (lg_size panel = begin; panel < end; panel++) {
        const int columns = at_most(p->N - panel * PANEL, PANEL);
        for (lg_size k = 0; k == 0 || k < p->K; k += step) {
            const lg_size depth = p->K - k < step ? p->K - k : step;
            const float *b = p->halves ? NULL : p->b + (panel * p->K + k) * PANEL;
            if (!p->packed) {
                pack_panel(p->b + k * p->b_row + panel * PANEL * p->b_column, p->b_row,
                           p->b_column, depth, columns, loose);
                b = loose;
            } else if (widen) {
                widen_panel(p->halves + 2 * (panel * p->K + k) * PANEL, p->format, depth, loose);
                b = loose;
            }
            for (lg_size row = first; row < last; row += TILE_ROWS)
                product_tile(p, row, at_most(last - row, TILE_ROWS), panel * PANEL, columns, k,
                             depth, b);
        }
    }
    return LG_OK;
}

static int product_part(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const lg_product *p = context;
    const lg_size panels = (p->N + PANEL - 1) / PANEL;
    while (begin < end) { /* items are (block, panel) */
        lg_size block = begin / panels, first = begin % panels;
        lg_size count = end - begin < panels - first ? end - begin : panels - first;
        int status = product_panels(p, block, first, first + count);
        if (status != LG_OK) return status;
        begin += count;
    }
    return LG_OK;
}

static int pack_strips(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const lg_product *p = context;
    for (lg_size strip = begin; strip < end; strip++) {
        lg_size row = strip * TILE_ROWS;
        const lg_matrix a = {p->a.data + row * p->a.row, p->a.row, p->a.column};
        pack_strip(a, at_most(p->M - row, TILE_ROWS), p->K, (float *)p->strips + row * p->K);
    }
    return LG_OK;
}

static int product(lg_product p) {
    if (p.M == 0 || p.N == 0) return LG_OK;
    const lg_size panels = (p.N + PANEL - 1) / PANEL, strips = (p.M + TILE_ROWS - 1) / TILE_ROWS;
    p.row_blocks = 1;
    if (p.M >= 2 * TILE_ROWS) { /* a narrow product on many threads is cut by rows too */
        const lg_size wanted = (4 * lg_num_threads() + panels - 1) / panels;
        p.row_blocks = wanted < strips / 4 ? wanted : strips / 4 + 1;
    }
    if (p.M >= 2 * TILE_ROWS && (p.a.row > NEAR || p.a.column > NEAR)) {
        size_t bytes = sizeof(float) * (size_t)strips * TILE_ROWS * (size_t)p.K;
        p.strips = lg_scratch(LG_SCRATCH_REGION, bytes);
        if (p.strips == NULL) return LG_NO_MEMORY;
        const lg_size grain = 1 + PRODUCT_GRAIN / (TILE_ROWS * (p.K + 1));
        int status = lg_parallel(strips, grain, pack_strips, &p);
        if (status != LG_OK) return status;
    }
    p.rows_per_block = (strips + p.row_blocks - 1) / p.row_blocks * TILE_ROWS;
    p.row_blocks = (p.M + p.rows_per_block - 1) / p.rows_per_block;
    lg_size work = (p.K + 1) * PANEL * (p.rows_per_block < p.M ? p.rows_per_block : p.M);
    return lg_parallel(panels * p.row_blocks, 1 + PRODUCT_GRAIN / work, product_part, &p);
}

static int linear(const float *x, const float *weight, int transposed, lg_finish finish, lg_size M,
                  lg_size K, lg_size N, float *y) {
    return product((lg_product){.a = {x, K, 1},
                                .b = weight,
                                .b_row = transposed ? 1 : N,
                                .b_column = transposed ? K : 1,
                                .M = M,
                                .K = K,
                                .N = N,
                                .finish = finish,
                                .c = y});
}

static int linear_packed(const float *x, const float *packed, lg_finish finish, lg_size M,
                         lg_size K, lg_size N, float *y) {
    return product((lg_product){.a = {x, K, 1},
                                .b = packed,
                                .packed = 1,
                                .M = M,
                                .K = K,
                                .N = N,
                                .finish = finish,
                                .c = y});
}

struct pack_task {
    const float *weight;
    int transposed;
    lg_size K, N;
    float *packed;
};

static int pack_panels(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct pack_task *t = context;
    const lg_size row = t->transposed ? 1 : t->N, column = t->transposed ? t->K : 1;
    for (lg_size panel = begin; panel < end; panel++)
        pack_panel(t->weight + panel * PANEL * column, row, column, t->K,
                   at_most(t->N - panel * PANEL, PANEL), t->packed + panel * t->K * PANEL);
    return LG_OK;
}

static int pack_linear(const float *weight, int transposed, lg_size K, lg_size N, float *packed) {
    struct pack_task t = {weight, transposed, K, N, packed};
    return lg_parallel((N + PANEL - 1) / PANEL, row_grain(PANEL * K), pack_panels, &t);
}

/* Column sums, added into dbias row after row; a task owns panels of columns. */
struct column_task {
    const float *dy;
    lg_size M, N;
    float *dbias;
};

static int column_sums(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct column_task *t = context;
    for (lg_size panel = begin; panel < end; panel++) {
        const int columns = at_most(t->N - panel * PANEL, PANEL);
        const float *dy = t->dy + panel * PANEL;
        float *sums = t->dbias + panel * PANEL;
        if (columns < PANEL) {
            for (lg_size m = 0; m < t->M; m++)
                for (int j = 0; j < columns; j++) sums[j] += dy[m * t->N + j];
            continue;
        }
        vf sum[PANEL / LG_VL];
        UNROLL for (int j = 0; j < PANEL / LG_VL; j++) sum[j] = load(sums + j * LG_VL);
        for (lg_size m = 0; m < t->M; m++)
            UNROLL for (int j = 0; j < PANEL / LG_VL; j++)
                sum[j] += load(dy + m * t->N + j * LG_VL);
        UNROLL for (int j = 0; j < PANEL / LG_VL; j++) store(sums + j * LG_VL, sum[j]);
    }
    return LG_OK;
}

static int linear_backward(const float *dy, const float *x, const float *weight, int transposed,
                           lg_size M, lg_size K, lg_size N, float *dweight, float *dbias,
                           float *dx) {
    /* dx (M, K) = dy (M, N) * weight^T */
    int status = product((lg_product){.a = {dy, N, 1},
                                      .b = weight,
                                      .b_row = transposed ? K : 1,
                                      .b_column = transposed ? 1 : N,
                                      .M = M,
                                      .K = N,
                                      .N = K,
                                      .c = dx});
    if (status != LG_OK) return status;
    if (dbias) {
        struct column_task t = {dy, M, N, dbias};
        status = lg_parallel((N + PANEL - 1) / PANEL, row_grain(M * PANEL), column_sums, &t);
        if (status != LG_OK) return status;
    }
    /* dweight (K, N) += x^T * dy, or (N, K) += dy^T * x */
    const float *left = transposed ? dy : x, *right = transposed ? x : dy;
    const lg_size rows = transposed ? N : K, columns = transposed ? K : N;
    return product((lg_product){.a = {left, 1, rows},
                                .b = right,
                                .b_row = columns,
                                .b_column = 1,
                                .accumulate = 1,
                                .M = rows,
                                .K = M,
                                .N = columns,
                                .c = dweight});
}

/* Products [begin, end) of a batch, from its first one. */
static int matmul_products(void *context, ptrdiff_t begin, ptrdiff_t end) {
    for (lg_size i = begin; i < end; i++) {
        lg_product p = *(const lg_product *)context;
        p.a.data += i * p.M * p.K;
        p.b += i * p.K * p.N;
        p.c += i * p.M * p.N;
        int status = product(p);
        if (status != LG_OK) return status;
    }
    return LG_OK;
}

static int matmul(const float *a, const float *b, int transpose_a, int transpose_b, lg_size batch,
                  lg_size M, lg_size K, lg_size N, float *c) {
    lg_product first = {.a = {a, transpose_a ? 1 : K, transpose_a ? M : 1},
                        .b = b,
                        .b_row = transpose_b ? 1 : N,
                        .b_column = transpose_b ? K : 1,
                        .M = M,
                        .K = K,
                        .N = N,
                        .c = c};
    /* Small products are shared out whole; large ones are cut up, one after the other. */
    const lg_size work = (M + 1) * (K + 1) * (N + 1);
    if (batch < 2 * lg_num_threads() || work > 64 * PRODUCT_GRAIN)
        return matmul_products(&first, 0, batch);
    return lg_parallel(batch, 1 + PRODUCT_GRAIN / work, matmul_products, &first);
}
