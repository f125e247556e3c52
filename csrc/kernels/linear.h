/* Dense layers forward and backward, and batched products. */
#include "linear_few.h"

static int linear(const float *x, const float *weight, int transposed, lg_finish finish,
                  int precision, lg_size M, lg_size K, lg_size N, float *y) {
    return product((lg_product){.a = {x, K, 1},
                                .b = weight,
                                .b_row = transposed ? 1 : N,
                                .b_column = transposed ? K : 1,
                                .rounds = precision == LG_BFLOAT16,
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
                           int precision, lg_size M, lg_size K, lg_size N, int accumulate,
                           float *dweight, float *dbias, float *dx) {
    const int rounds = precision == LG_BFLOAT16;
    /* dx (M, K) = dy (M, N) * weight^T */
    int status = product((lg_product){.a = {dy, N, 1},
                                      .b = weight,
                                      .b_row = transposed ? K : 1,
                                      .b_column = transposed ? 1 : N,
                                      .rounds = rounds,
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
    /* dweight (K, N) (+)= x^T * dy, or (N, K) (+)= dy^T * x */
    const float *left = transposed ? dy : x, *right = transposed ? x : dy;
    const lg_size rows = transposed ? N : K, columns = transposed ? K : N;
    return product((lg_product){.a = {left, 1, rows},
                                .b = right,
                                .b_row = columns,
                                .b_column = 1,
                                .accumulate = accumulate,
                                .rounds = rounds,
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
