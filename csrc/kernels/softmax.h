/* Softmax over rows, with an additive mask. */
#include "../vmath.h"

/* Where the mask's row for row r begins. */
INLINE const float *mask_row(const lg_mask *mask, lg_size r) {
    if (mask->data == NULL) return NULL;
    lg_size inner = r % mask->inner, middle = r / mask->inner % mask->middle;
    lg_size outer = r / mask->inner / mask->middle;
    return mask->data + outer * mask->outer_stride + middle * mask->middle_stride +
           inner * mask->inner_stride;
}

INLINE vf masked(const float *x, const float *m, lg_size i) {
    return m ? load(x + i) + load(m + i) : load(x + i);
}

INLINE vf masked_part(const float *x, const float *m, lg_size i, lg_size left) {
    vf v = load_part(x + i, left, -INFINITY);
    return m ? v + load_part(m + i, left, 0) : v;
}

/* y = exp(x + m - max) / sum; a row of -inf gives zeros. NaN spreads through the sum. */
INLINE void softmax_row(const float *x, const float *m, lg_size n, float *y) {
    vf top = splat(-INFINITY);
    FOR_VECTORS(n, i, top = max_vf(top, masked(x, m, i)),
                top = max_vf(top, masked_part(x, m, i, left)));
    float largest = largest_vf(top);
    vf shift = splat(largest == -INFINITY ? 0 : largest);
    double sum = 0;
    for (lg_size first = 0; first < n; first += SUM_BLOCK) {
        const lg_size last = first + SUM_BLOCK < n ? first + SUM_BLOCK : n;
        vf total = splat(0);
        FOR_VECTORS(
            last - first, j,
            {
                vf e = exp_vf(masked(x, m, first + j) - shift);
                total += e;
                store(y + first + j, e);
            },
            {
                vf e = exp_vf(masked_part(x, m, first + j, left) - shift);
                total += e;
                store_part(y + first + j, e, left);
            });
        sum += (double)sum_vf(total);
    }
    vf scale = splat(sum == 0 ? 1 : 1 / (float)sum);
    FOR_VECTORS(n, i, store(y + i, load(y + i) * scale),
                store_part(y + i, load_part(y + i, left, 0) * scale, left));
}

struct softmax_task {
    const float *x;
    lg_mask mask;
    lg_size width;
    float *y;
};

static int softmax_rows(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct softmax_task *t = context;
    for (lg_size r = begin; r < end; r++)
        softmax_row(t->x + r * t->width, mask_row(&t->mask, r), t->width, t->y + r * t->width);
    return LG_OK;
}

static int softmax(const float *x, lg_mask mask, lg_size rows, lg_size width, float *y) {
    struct softmax_task t = {x, mask, width, y};
    return lg_parallel(rows, row_grain(width), softmax_rows, &t);
}

/* dx = y * (dy - sum(dy * y)) */
INLINE void softmax_backward_row(const float *dy, const float *y, lg_size n, float *dx) {
    vf total = splat(0);
    FOR_VECTORS(n, i, total = fma_vf(load(dy + i), load(y + i), total),
                total = fma_vf(load_part(dy + i, left, 0), load_part(y + i, left, 0), total));
    vf sum = splat(sum_vf(total));
    FOR_VECTORS(n, i, store(dx + i, load(y + i) * (load(dy + i) - sum)),
                store_part(dx + i, load_part(y + i, left, 0) * (load_part(dy + i, left, 0) - sum),
                           left));
}

struct softmax_backward_task {
    const float *dy, *y;
    lg_size width;
    float *dx;
};

static int softmax_backward_rows(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct softmax_backward_task *t = context;
    for (lg_size r = begin * t->width; r < end * t->width; r += t->width)
        softmax_backward_row(t->dy + r, t->y + r, t->width, t->dx + r);
    return LG_OK;
}

static int softmax_backward(const float *dy, const float *y, lg_size rows, lg_size width,
                            float *dx) {
    struct softmax_backward_task t = {dy, y, width, dx};
    return lg_parallel(rows, row_grain(width), softmax_backward_rows, &t);
}
