/* Layer normalisation and root-mean-square normalisation. The second is the first with the mean
   taken as zero, so each pass is written once. */
#include "../vmath.h"

/* The sum of an expression over n floats, in four vectors side by side so that no addition waits
   for the one before. `part` has to be zero past the end. */
#define ROW_SUM(sum, n, i, whole, part)                                      \
    do {                                                                     \
        vf row_sums[4] = {splat(0), splat(0), splat(0), splat(0)};           \
        ptrdiff_t i = 0;                                                     \
        while (i + 4 * LG_VL <= (n))                                         \
            for (int q = 0; q < 4; q++, i += LG_VL) row_sums[q] += whole;    \
        for (; i + LG_VL <= (n); i += LG_VL) row_sums[0] += whole;           \
        if (i < (n)) {                                                       \
            const ptrdiff_t left = (n) - i;                                  \
            row_sums[1] += part;                                             \
        }                                                                    \
        sum = sum_vf((row_sums[0] + row_sums[1]) + (row_sums[2] + row_sums[3])); \
    } while (0)

INLINE vf squared(vf v) { return v * v; }

INLINE float row_mean(const float *x, lg_size n) {
    float sum;
    ROW_SUM(sum, n, i, load(x + i), load_part(x + i, left, 0));
    return sum / (float)n;
}

INLINE float row_variance(const float *x, lg_size n, float mean) {
    const vf m = splat(mean);
    float sum;
    ROW_SUM(sum, n, i, squared(load(x + i) - m), squared(load_part(x + i, left, mean) - m));
    return sum / (float)n;
}

struct norm_task {
    const float *x, *gamma, *beta; /* beta may be NULL */
    float eps;
    lg_size width;
    float *y, *mean, *rstd; /* mean is NULL for RMSNorm */
};

static int norm_rows(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct norm_task *t = context;
    const float *gamma = t->gamma, *beta = t->beta;
    const vf no_beta = splat(-0.0f); /* the neutral element of addition, sign included */
    for (lg_size r = begin; r < end; r++) {
        const float *x = t->x + r * t->width;
        float *y = t->y + r * t->width;
        const float mean = t->mean ? row_mean(x, t->width) : 0;
        const float rstd = 1 / sqrtf(row_variance(x, t->width, mean) + t->eps);
        FOR_VECTORS(t->width, i,
                    store(y + i, (load(x + i) - mean) * rstd * load(gamma + i) +
                                     (beta ? load(beta + i) : no_beta)),
                    store_part(y + i,
                               (load_part(x + i, left, 0) - mean) * rstd *
                                       load_part(gamma + i, left, 0) +
                                   (beta ? load_part(beta + i, left, 0) : no_beta),
                               left));
        if (t->mean) t->mean[r] = mean;
        t->rstd[r] = rstd;
    }
    return LG_OK;
}

static int layernorm(const float *x, const float *gamma, const float *beta, float eps, lg_size rows,
                     lg_size width, float *y, float *mean, float *rstd) {
    struct norm_task t = {x, gamma, beta, eps, width, y, mean, rstd};
    return lg_parallel(rows, row_grain(width), norm_rows, &t);
}

static int rmsnorm(const float *x, const float *gamma, float eps, lg_size rows, lg_size width,
                   float *y, float *rstd) {
    struct norm_task t = {x, gamma, NULL, eps, width, y, NULL, rstd};
    return lg_parallel(rows, row_grain(width), norm_rows, &t);
}

/* Backward: rows go in fixed chunks, each with sums of its own for dgamma and dbeta, which are
   added up in the order of the chunks. So memory is read once, and the result doesn't depend on
   which thread took which chunk. */
enum { NORM_CHUNK = 32 };

struct norm_backward_task {
    const float *dy, *x, *gamma, *mean, *rstd; /* mean is NULL for RMSNorm */
    const float *residual;                     /* (rows, width), or NULL */
    lg_size rows, width;
    float *dgamma, *dbeta; /* (chunks, width); dbeta may be NULL */
    float *dx;
};

/* The means of g = dy * gamma and of g * n, n being the normalised row. */
INLINE void gradient_means(const float *dy, const float *x, const float *gamma, lg_size width,
                           float mean, float rstd, float *mean_g, float *mean_gn) {
    vf sum_g = splat(0), sum_gn = splat(0);
    FOR_VECTORS(
        width, i,
        {
            vf g = load(dy + i) * load(gamma + i);
            sum_g += g;
            sum_gn = fma_vf(g, (load(x + i) - mean) * rstd, sum_gn);
        },
        {
            vf g = load_part(dy + i, left, 0) * load_part(gamma + i, left, 0);
            sum_g += g;
            sum_gn = fma_vf(g, (load_part(x + i, left, mean) - mean) * rstd, sum_gn);
        });
    *mean_g = sum_vf(sum_g) / (float)width;
    *mean_gn = sum_vf(sum_gn) / (float)width;
}

/* dx = rstd * (g - mean(g) - n * mean(g * n)) + residual; dgamma += dy * n; dbeta += dy */
INLINE void norm_backward_row(const float *dy, const float *x, const float *gamma,
                              const float *residual, lg_size width, int centred, float mean,
                              float rstd, float *dgamma, float *dbeta, float *dx) {
    const vf no_residual = splat(-0.0f); /* the neutral element of addition, sign included */
    float mean_g, mean_gn;
    gradient_means(dy, x, gamma, width, mean, rstd, &mean_g, &mean_gn);
    if (!centred) mean_g = 0;
    FOR_VECTORS(
        width, i,
        {
            vf d = load(dy + i);
            vf n = (load(x + i) - mean) * rstd;
            store(dx + i, rstd * (d * load(gamma + i) - mean_g - n * mean_gn) +
                              (residual ? load(residual + i) : no_residual));
            store(dgamma + i, load(dgamma + i) + d * n);
            if (dbeta) store(dbeta + i, load(dbeta + i) + d);
        },
        {
            vf d = load_part(dy + i, left, 0);
            vf n = (load_part(x + i, left, 0) - mean) * rstd;
            vf g = d * load_part(gamma + i, left, 0);
            store_part(dx + i,
                       rstd * (g - mean_g - n * mean_gn) +
                           (residual ? load_part(residual + i, left, 0) : no_residual),
                       left);
            store_part(dgamma + i, load_part(dgamma + i, left, 0) + d * n, left);
            if (dbeta) store_part(dbeta + i, load_part(dbeta + i, left, 0) + d, left);
        });
}

static int norm_backward_chunks(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct norm_backward_task *t = context;
    const lg_size width = t->width;
    for (lg_size chunk = begin; chunk < end; chunk++) {
        float *dgamma = t->dgamma + chunk * width;
        float *dbeta = t->dbeta ? t->dbeta + chunk * width : NULL;
        memset(dgamma, 0, sizeof(float) * (size_t)width);
        if (dbeta) memset(dbeta, 0, sizeof(float) * (size_t)width);
        lg_size last = (chunk + 1) * NORM_CHUNK < t->rows ? (chunk + 1) * NORM_CHUNK : t->rows;
        for (lg_size r = chunk * NORM_CHUNK; r < last; r++)
            norm_backward_row(t->dy + r * width, t->x + r * width, t->gamma,
                              t->residual ? t->residual + r * width : NULL, width,
                              t->mean != NULL, t->mean ? t->mean[r] : 0, t->rstd[r], dgamma, dbeta,
                              t->dx + r * width);
    }
    return LG_OK;
}

/* t comes without room for its sums; they end up in dgamma and, if there is one, dbeta (width). */
static int norm_backward(struct norm_backward_task t, float *dgamma, float *dbeta) {
    const lg_size chunks = (t.rows + NORM_CHUNK - 1) / NORM_CHUNK, sums = chunks * t.width;
    t.dgamma = lg_scratch(LG_SCRATCH_REGION, 2 * sizeof(float) * (size_t)sums);
    if (t.dgamma == NULL) return LG_NO_MEMORY;
    t.dbeta = dbeta ? t.dgamma + sums : NULL;
    int status = lg_parallel(chunks, row_grain(NORM_CHUNK * t.width), norm_backward_chunks, &t);
    if (status != LG_OK) return status;
    const lg_size panels = (t.width + PANEL - 1) / PANEL;
    struct column_task gammas = {t.dgamma, chunks, t.width, dgamma};
    status = lg_parallel(panels, row_grain(chunks * PANEL), column_sums, &gammas);
    if (status != LG_OK || dbeta == NULL) return status;
    struct column_task betas = {t.dbeta, chunks, t.width, dbeta};
    return lg_parallel(panels, row_grain(chunks * PANEL), column_sums, &betas);
}

static int layernorm_backward(const float *dy, const float *x, const float *gamma,
                              const float *mean, const float *rstd, const float *residual,
                              lg_size rows, lg_size width, float *dgamma, float *dbeta,
                              float *dx) {
    struct norm_backward_task t = {dy,   x,     gamma, mean, rstd, residual,
                                   rows, width, NULL,  NULL, dx};
    return norm_backward(t, dgamma, dbeta);
}

static int rmsnorm_backward(const float *dy, const float *x, const float *gamma, const float *rstd,
                            const float *residual, lg_size rows, lg_size width, float *dgamma,
                            float *dx) {
    struct norm_backward_task t = {dy,   x,     gamma, NULL, rstd, residual,
                                   rows, width, NULL,  NULL, dx};
    return norm_backward(t, dgamma, NULL);
}
