/* Elementwise activations and SwiGLU. */
#include "../vmath.h"

/* x * sigmoid(2 u), u = sqrt(2/pi) (x + 0.044715 x^3), which is x/2 (1 + tanh u) without the
   cancellation of 1 + tanh; -inf gives -0. */
INLINE vf gelu_vf(vf x) {
    const float a = 1.5957691216057308f, b = 0.044715f * 1.5957691216057308f; /* 2 sqrt(2/pi) */
    vf y = x / (1.0f + exp_vf(-x * fma_vf(x * x, splat(b), splat(a))));
    return select_vf(x == -INFINITY, splat(-0.0f), y);
}

/* With s = sigmoid(2 u): gelu' = s + x s (1 - s) 2 u'. Past |x| = 16 the slope is 0 or 1. */
INLINE vf gelu_slope_vf(vf x) {
    const float a = 1.5957691216057308f, b = 0.044715f * 1.5957691216057308f;
    x = min_vf(splat(16.0f), max_vf(splat(-16.0f), x));
    vf e = exp_vf(-x * fma_vf(x * x, splat(b), splat(a)));
    vf s = 1.0f / (1.0f + e);
    vf complement = select_vf(e == INFINITY, splat(1.0f), e * s); /* 1 - s, without cancellation */
    return fma_vf(x * s * complement, fma_vf(x * x, splat(3.0f * b), splat(a)), s);
}

INLINE vf gelu_erf_vf(vf x) {
    vf bell;
    vf y = x * normal_cdf_vf(x, &bell);
    return select_vf(x == -INFINITY, splat(-0.0f), y);
}

/* Phi(x) + x phi(x), phi(x) = e^(-x^2/2) / sqrt(2 pi) */
INLINE vf gelu_erf_slope_vf(vf x) {
    vf bell;
    x = min_vf(splat(20.0f), max_vf(splat(-20.0f), x));
    vf cdf = normal_cdf_vf(x, &bell);
    return fma_vf(x * 0.3989422804014327f, bell, cdf);
}

INLINE vf gelu_dx_vf(vf dy, vf x) { return dy * gelu_slope_vf(x); }
INLINE vf gelu_erf_dx_vf(vf dy, vf x) { return dy * gelu_erf_slope_vf(x); }

INLINE vf relu_vf(vf x) { return max_vf(splat(0.0f), x); }
INLINE vf relu_dx_vf(vf dy, vf x) { return select_vf(x > 0.0f, dy, splat(0.0f)); }

struct elementwise_task {
    const float *dy, *x;
    float *y;
};

/* An elementwise kernel and its backward pass, from what they make of a vector. */
#define ELEMENTWISE(name)                                                                      \
    static int name##_part(void *context, ptrdiff_t begin, ptrdiff_t end) {                    \
        const struct elementwise_task *t = context;                                            \
        const float *x = t->x + begin;                                                         \
        float *y = t->y + begin;                                                               \
        FOR_VECTORS(end - begin, i, store(y + i, name##_vf(load(x + i))),                      \
                    store_part(y + i, name##_vf(load_part(x + i, left, 0)), left));            \
        return LG_OK;                                                                          \
    }                                                                                          \
    static int name(const float *x, lg_size count, float *y) {                                 \
        struct elementwise_task t = {NULL, x, y};                                              \
        return lg_parallel(count, ELEMENT_GRAIN, name##_part, &t);                             \
    }                                                                                          \
    static int name##_backward_part(void *context, ptrdiff_t begin, ptrdiff_t end) {           \
        const struct elementwise_task *t = context;                                            \
        const float *dy = t->dy + begin, *x = t->x + begin;                                    \
        float *dx = t->y + begin;                                                              \
        FOR_VECTORS(end - begin, i, store(dx + i, name##_dx_vf(load(dy + i), load(x + i))),    \
                    store_part(dx + i,                                                         \
                               name##_dx_vf(load_part(dy + i, left, 0),                        \
                                            load_part(x + i, left, 0)),                        \
                               left));                                                         \
        return LG_OK;                                                                          \
    }                                                                                          \
    static int name##_backward(const float *dy, const float *x, lg_size count, float *dx) {    \
        struct elementwise_task t = {dy, x, dx};                                               \
        return lg_parallel(count, ELEMENT_GRAIN, name##_backward_part, &t);                    \
    }

ELEMENTWISE(gelu)
ELEMENTWISE(gelu_erf)
ELEMENTWISE(relu)

/* SwiGLU: x is (rows, 2 width), gate then up; y = gate * sigmoid(gate) * up. */

INLINE vf silu_vf(vf gate) {
    return select_vf(gate == -INFINITY, splat(-0.0f), gate * sigmoid_vf(gate));
}

struct swiglu_task {
    const float *dy, *x;
    lg_size width;
    float *y;
};

static int swiglu_rows(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct swiglu_task *t = context;
    for (lg_size r = begin; r < end; r++) {
        const float *gate = t->x + 2 * r * t->width, *up = gate + t->width;
        float *y = t->y + r * t->width;
        FOR_VECTORS(t->width, i, store(y + i, silu_vf(load(gate + i)) * load(up + i)),
                    store_part(y + i,
                               silu_vf(load_part(gate + i, left, 0)) * load_part(up + i, left, 0),
                               left));
    }
    return LG_OK;
}

static int swiglu(const float *x, lg_size rows, lg_size width, float *y) {
    struct swiglu_task t = {NULL, x, width, y};
    return lg_parallel(rows, row_grain(width), swiglu_rows, &t);
}

/* dgate = dy * up * s * (1 + gate * (1 - s)), dup = dy * silu(gate). Past |gate| = 100 the slope is
   0 or 1. */
INLINE void swiglu_dx_vf(vf dy, vf gate, vf up, vf *dgate, vf *dup) {
    vf near = min_vf(splat(100.0f), max_vf(splat(-100.0f), gate));
    vf s = sigmoid_vf(near);
    *dgate = dy * up * s * fma_vf(near, 1.0f - s, splat(1.0f));
    *dup = dy * silu_vf(gate);
}

static int swiglu_backward_rows(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct swiglu_task *t = context;
    vf dgate, dup;
    for (lg_size r = begin; r < end; r++) {
        const float *gate = t->x + 2 * r * t->width, *up = gate + t->width;
        const float *dy = t->dy + r * t->width;
        float *dx = t->y + 2 * r * t->width;
        FOR_VECTORS(
            t->width, i,
            {
                swiglu_dx_vf(load(dy + i), load(gate + i), load(up + i), &dgate, &dup);
                store(dx + i, dgate);
                store(dx + t->width + i, dup);
            },
            {
                swiglu_dx_vf(load_part(dy + i, left, 0), load_part(gate + i, left, 0),
                             load_part(up + i, left, 0), &dgate, &dup);
                store_part(dx + i, dgate, left);
                store_part(dx + t->width + i, dup, left);
            });
    }
    return LG_OK;
}

static int swiglu_backward(const float *dy, const float *x, lg_size rows, lg_size width,
                           float *dx) {
    struct swiglu_task t = {dy, x, width, dx};
    return lg_parallel(rows, row_grain(width), swiglu_backward_rows, &t);
}
