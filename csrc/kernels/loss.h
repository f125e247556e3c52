/* Cross-entropy of logits against target ids. */
#include "../vmath.h"

INLINE float row_largest(const float *x, lg_size n) {
    vf top = splat(-INFINITY);
    FOR_VECTORS(n, i, top = max_vf(top, load(x + i)),
                top = max_vf(top, load_part(x + i, left, -INFINITY)));
    return largest_vf(top);
}

/* log sum exp(x), `top` being the largest x. NaN if the row holds NaN or +inf, or nothing but
   -inf. */
INLINE double log_sum_exp(const float *x, lg_size n, float top) {
    double total = 0;
    for (lg_size first = 0; first < n; first += SUM_BLOCK) {
        const float *block = x + first;
        const lg_size size = n - first < SUM_BLOCK ? n - first : SUM_BLOCK;
        vf sum = splat(0);
        FOR_VECTORS(size, i, sum += exp_vf(load(block + i) - top),
                    sum += exp_vf(load_part(block + i, left, -INFINITY) - top));
        total += (double)sum_vf(sum);
    }
    return log(total) + (double)top;
}

struct loss_task {
    const float *logits;
    const int64_t *targets;
    int64_t ignore_index;
    lg_size V;
    float *lse;
    float scale; /* backward: scale / count */
    float *dlogits;
};

/* How many targets count; -1 if one is outside the vocabulary. */
INLINE lg_size kept_targets(const int64_t *targets, int64_t ignore_index, lg_size M, lg_size V) {
    lg_size kept = 0;
    for (lg_size r = 0; r < M; r++) {
        if (targets[r] == ignore_index) continue;
        if (targets[r] < 0 || targets[r] >= V) return -1;
        kept++;
    }
    return kept;
}

static int loss_rows(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct loss_task *t = context;
    for (lg_size r = begin; r < end; r++) {
        const float *row = t->logits + r * t->V;
        t->lse[r] = (float)log_sum_exp(row, t->V, row_largest(row, t->V));
    }
    return LG_OK;
}

static int cross_entropy(const float *logits, const int64_t *targets, int64_t ignore_index,
                         lg_size M, lg_size V, double *loss, float *lse) {
    const lg_size kept = kept_targets(targets, ignore_index, M, V);
    if (kept < 0) return LG_BAD_INDEX;
    struct loss_task t = {.logits = logits, .V = V, .lse = lse};
    int status = lg_parallel(M, row_grain(V), loss_rows, &t);
    if (status != LG_OK) return status;
    double sum = 0;
    for (lg_size r = 0; r < M; r++)
        if (targets[r] != ignore_index) sum += (double)lse[r] - (double)logits[r * V + targets[r]];
    *loss = kept ? sum / (double)kept : (double)NAN;
    return LG_OK;
}

/* dlogits = (exp(logits - lse) - one-hot of the target) * scale */
static int loss_backward_rows(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct loss_task *t = context;
    const float scale = t->scale;
    for (lg_size r = begin; r < end; r++) {
        const float *row = t->logits + r * t->V;
        float *d = t->dlogits + r * t->V;
        const int64_t target = t->targets[r];
        if (target == t->ignore_index) {
            memset(d, 0, sizeof(float) * (size_t)t->V);
            continue;
        }
        const float lse = t->lse[r];
        FOR_VECTORS(t->V, i, store(d + i, exp_vf(load(row + i) - lse) * scale),
                    store_part(d + i, exp_vf(load_part(row + i, left, 0) - lse) * scale, left));
        const vf probability = exp_vf(splat(row[target] - lse));
        d[target] = (probability[0] - 1) * scale;
    }
    return LG_OK;
}

static int cross_entropy_backward(const float *logits, const int64_t *targets, const float *lse,
                                  int64_t ignore_index, double scale, lg_size M, lg_size V,
                                  float *dlogits) {
    const lg_size kept = kept_targets(targets, ignore_index, M, V);
    if (kept < 0) return LG_BAD_INDEX;
    struct loss_task t = {.logits = logits,
                          .targets = targets,
                          .ignore_index = ignore_index,
                          .V = V,
                          .lse = (float *)lse,
                          .scale = (float)(scale / (double)(kept ? kept : 1)),
                          .dlogits = dlogits};
    return lg_parallel(M, row_grain(V), loss_backward_rows, &t);
}
