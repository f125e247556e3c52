/* The AdamW and Lion updates, and the sum of squares behind the gradient's norm. */
#include "../simd.h"

struct adamw_task {
    float *param;
    const float *grad;
    float *m, *v;
    float scale, beta1, rest1, beta2, rest2; /* rest = 1 - beta */
    float root;                              /* 1 / sqrt(1 - beta2^step) */
    float eps, keep;                         /* keep = 1 - lr * weight_decay */
    float rate;                              /* lr / (1 - beta1^step) */
};

/* The operations and their order are the reference's, so that every rung gives the same floats. */
INLINE void adamw_vf(const struct adamw_task *t, vf *param, vf grad, vf *m, vf *v) {
    const vf g = grad * t->scale;
    *m = *m * t->beta1 + t->rest1 * g;
    *v = *v * t->beta2 + t->rest2 * g * g;
    *param = *param * t->keep - t->rate * *m / (sqrt_vf(*v) * t->root + t->eps);
}

static int adamw_part(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct adamw_task t = *(const struct adamw_task *)context;
    float *p = t.param + begin, *m = t.m + begin, *v = t.v + begin;
    const float *g = t.grad + begin;
    FOR_VECTORS(
        end - begin, i,
        {
            vf param = load(p + i);
            vf first = load(m + i);
            vf second = load(v + i);
            adamw_vf(&t, &param, load(g + i), &first, &second);
            store(p + i, param);
            store(m + i, first);
            store(v + i, second);
        },
        {
            vf param = load_part(p + i, left, 0);
            vf first = load_part(m + i, left, 0);
            vf second = load_part(v + i, left, 0);
            adamw_vf(&t, &param, load_part(g + i, left, 0), &first, &second);
            store_part(p + i, param, left);
            store_part(m + i, first, left);
            store_part(v + i, second, left);
        });
    return LG_OK;
}

static int adamw(float *param, const float *grad, float *m, float *v, lg_size count, double step,
                 double lr, double beta1, double beta2, double eps, double weight_decay,
                 double scale) {
    struct adamw_task t = {
        .param = param,
        .grad = grad,
        .m = m,
        .v = v,
        .scale = (float)scale,
        .beta1 = (float)beta1,
        .rest1 = (float)(1 - beta1),
        .beta2 = (float)beta2,
        .rest2 = (float)(1 - beta2),
        .root = (float)(1 / sqrt(1 - pow(beta2, step))),
        .eps = (float)eps,
        .keep = (float)(1 - lr * weight_decay),
        .rate = (float)(lr / (1 - pow(beta1, step))),
    };
    return lg_parallel(count, ELEMENT_GRAIN, adamw_part, &t);
}

struct lion_task {
    float *param;
    const float *grad;
    float *m;
    float scale, beta1, rest1, beta2, rest2; /* rest = 1 - beta */
    float keep, rate;                        /* keep = 1 - lr * weight_decay, rate = lr */
};

/* -1, 0 or 1; NaN stays NaN. */
INLINE vf sign_vf(vf v) {
    const vf one = splat(1), zero = {0};
    const vf sign = select_vf(v > zero, one, zero) - select_vf(v < zero, one, zero);
    return select_vf(v == v, sign, v);
}

INLINE void lion_vf(const struct lion_task *t, vf *param, vf grad, vf *m) {
    const vf g = grad * t->scale;
    const vf direction = sign_vf(t->beta1 * *m + t->rest1 * g);
    *m = *m * t->beta2 + t->rest2 * g;
    *param = *param * t->keep - t->rate * direction;
}

static int lion_part(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct lion_task t = *(const struct lion_task *)context;
    float *p = t.param + begin, *m = t.m + begin;
    const float *g = t.grad + begin;
    FOR_VECTORS(
        end - begin, i,
        {
            vf param = load(p + i);
            vf moment = load(m + i);
            lion_vf(&t, &param, load(g + i), &moment);
            store(p + i, param);
            store(m + i, moment);
        },
        {
            vf param = load_part(p + i, left, 0);
            vf moment = load_part(m + i, left, 0);
            lion_vf(&t, &param, load_part(g + i, left, 0), &moment);
            store_part(p + i, param, left);
            store_part(m + i, moment, left);
        });
    return LG_OK;
}

static int lion(float *param, const float *grad, float *m, lg_size count, double lr, double beta1,
                double beta2, double weight_decay, double scale) {
    struct lion_task t = {
        .param = param,
        .grad = grad,
        .m = m,
        .scale = (float)scale,
        .beta1 = (float)beta1,
        .rest1 = (float)(1 - beta1),
        .beta2 = (float)beta2,
        .rest2 = (float)(1 - beta2),
        .keep = (float)(1 - lr * weight_decay),
        .rate = (float)lr,
    };
    return lg_parallel(count, ELEMENT_GRAIN, lion_part, &t);
}

/* Sums of squares: chunks of fixed size, added up in their order. */
enum { SQUARES_CHUNK = 8192 };

typedef float half_vf __attribute__((vector_size(2 * LG_VL), aligned(4), may_alias));
typedef double vd __attribute__((vector_size(4 * LG_VL)));

INLINE vd widened(const float *p) {
    return __builtin_convertvector(*(const half_vf *)p, vd);
}

/* In double, where the square of a float is exact and can't overflow. */
INLINE double chunk_squares(const float *x, lg_size n) {
    vd low = {0}, high = {0};
    lg_size i = 0;
    for (; i + LG_VL <= n; i += LG_VL) {
        vd a = widened(x + i), b = widened(x + i + LG_VL / 2);
        low += a * a;
        high += b * b;
    }
    low += high;
    double sum = 0;
    for (int lane = 0; lane < LG_VL / 2; lane++) sum += low[lane];
    for (; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

struct squares_task {
    const float *x;
    lg_size count;
    double *sums; /* one per chunk */
};

static int squares_chunks(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct squares_task *t = context;
    for (lg_size chunk = begin; chunk < end; chunk++) {
        const lg_size first = chunk * SQUARES_CHUNK, left = t->count - first;
        t->sums[chunk] = chunk_squares(t->x + first, left < SQUARES_CHUNK ? left : SQUARES_CHUNK);
    }
    return LG_OK;
}

static int sum_of_squares(const float *x, lg_size count, double *sum) {
    const lg_size chunks = (count + SQUARES_CHUNK - 1) / SQUARES_CHUNK;
    double *sums = lg_scratch(LG_SCRATCH_REGION, sizeof(double) * (size_t)chunks);
    if (sums == NULL) return LG_NO_MEMORY;
    struct squares_task t = {x, count, sums};
    int status = lg_parallel(chunks, 1, squares_chunks, &t);
    *sum = 0;
    for (lg_size chunk = 0; chunk < chunks; chunk++) *sum += sums[chunk];
    return status;
}
