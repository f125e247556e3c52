/* How outputs of a product are finished: bias, activation, residual. */
#ifndef LITEGPT_FINISH_H
#define LITEGPT_FINISH_H

#include "../vmath.h"

/* activation(y + bias) + residual on `count` outputs from (row, column) on. */
INLINE vf finish_vf(vf y, vf bias, vf residual, int activation) {
    y += bias;
    if (activation == LG_GELU) y = gelu_vf(y);
    else if (activation == LG_GELU_ERF) y = gelu_erf_vf(y);
    else if (activation == LG_RELU) y = relu_vf(y);
    return y + residual;
}

/* y (rows, columns), from (row, column) on, = the finished outputs `from`; activation is a constant
   wherever this is inlined. */
INLINE void finish_rows(const int activation, const lg_finish *f, lg_size N, lg_size row, int rows,
                        lg_size column, lg_size columns, const float *from, lg_size from_row,
                        float *y) {
    const vf zero = splat(-0.0f); /* the neutral element of addition, sign included */
    const float *bias = f->bias ? f->bias + column : NULL;
    for (int r = 0; r < rows; r++, from += from_row, y += N) {
        const float *residual = f->residual ? f->residual + (row + r) * N + column : NULL;
        FOR_VECTORS(columns, i,
                    store(y + i, finish_vf(load(from + i), bias ? load(bias + i) : zero,
                                           residual ? load(residual + i) : zero, activation)),
                    store_part(y + i,
                               finish_vf(load_part(from + i, left, 0),
                                         bias ? load_part(bias + i, left, 0) : zero,
                                         residual ? load_part(residual + i, left, 0) : zero,
                                         activation),
                               left));
    }
}

#define FINISH_CASE(activation)                                                                 \
    case activation:                                                                            \
        finish_rows(activation, f, N, row, rows, column, columns, from, from_row, y);           \
        break;

static void finish_tile(const lg_finish *f, lg_size N, lg_size row, int rows, lg_size column,
                        lg_size columns, const float *from, lg_size from_row, float *y) {
    switch (f->activation) {
        FINISH_CASE(LG_NONE) FINISH_CASE(LG_GELU) FINISH_CASE(LG_GELU_ERF) FINISH_CASE(LG_RELU)
    }
}

INLINE int has_finish(const lg_finish *f) {
    return f->bias || f->residual || f->activation != LG_NONE;
}

#endif
