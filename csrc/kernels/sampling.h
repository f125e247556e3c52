/* The choice of the next token, without sorting the vocabulary: top-k, top-p and min-p each keep
   the first part of the ranking by logits. */
#include "../vmath.h"
#include "ranking.h"

/* Takes the weight from the entries that a cut leaves out. */
static void drop_weights(lg_entries entries, lg_cut cut, float *weight) {
    const float *x = entries.x;
    FOR_VECTORS(entries.n, i,
                store(weight + i, (vf)((load(x + i) >= cut.last) & (vi)load(weight + i))),
                store_part(weight + i,
                           (vf)((load_part(x + i, left, 0) >= cut.last) &
                                (vi)load_part(weight + i, left, 0)),
                           left));
    for (lg_size i = entries.n; cut.surplus > 0;)
        if (x[--i] == cut.last) {
            weight[i] = 0;
            cut.surplus--;
        }
}

INLINE double sum_of(const float *x, lg_size n) {
    double total = 0;
    for (lg_size first = 0; first < n; first += SUM_BLOCK) {
        const lg_size size = n - first < SUM_BLOCK ? n - first : SUM_BLOCK;
        vf sum = splat(0);
        FOR_VECTORS(size, i, sum += load(x + first + i),
                    sum += load_part(x + first + i, left, 0));
        total += (double)sum_vf(sum);
    }
    return total;
}

/* Where the running sum of the weights passes uniform * total. */
static lg_size draw(const float *weight, lg_size n, double uniform) {
    const double target = uniform * sum_of(weight, n);
    double running = 0;
    lg_size i = 0;
    for (; i + SUM_BLOCK < n; i += SUM_BLOCK) { /* whole blocks that don't reach it */
        double next = running + sum_of(weight + i, SUM_BLOCK);
        if (next > target) break;
        running = next;
    }
    for (; i < n; i++) {
        running += (double)weight[i];
        if (running > target) return i;
    }
    while (weight[--n] == 0) {} /* rounding let the sum end below the target */
    return n;
}

/* The place in the row of entry number `number` (from 0) among those with x >= least. */
static lg_size place_of(const float *x, lg_size n, float least, lg_size number) {
    for (lg_size i = 0; i < n; i += LG_VL) {
        const lg_size size = n - i < LG_VL ? n - i : LG_VL;
        vf value = size == LG_VL ? load(x + i) : load_part(x + i, size, -INFINITY);
        if (!any_vi(value >= least)) continue;
        for (lg_size j = i; j < i + size; j++)
            if (x[j] >= least && number-- == 0) return j;
    }
    return n;
}

INLINE void row_range(const float *x, lg_size n, float *bottom, float *top) {
    vf least = splat(INFINITY), most = splat(-INFINITY);
    FOR_VECTORS(n, i,
                {
                    least = min_vf(least, load(x + i));
                    most = max_vf(most, load(x + i));
                },
                {
                    least = min_vf(least, load_part(x + i, left, INFINITY));
                    most = max_vf(most, load_part(x + i, left, -INFINITY));
                });
    *bottom = -largest_vf(-least);
    *top = largest_vf(most);
}

INLINE void weigh(const float *x, lg_size n, float top, float inverse, float *weight) {
    FOR_VECTORS(n, i, store(weight + i, exp_vf((load(x + i) - top) * inverse)),
                store_part(weight + i, exp_vf((load_part(x + i, left, 0) - top) * inverse), left));
}

/* An id by the rules; scratch has room for 4 (V + LG_VL) floats. */
static lg_size choose(const float *logits, lg_size V, float bottom, float top, double uniform,
                      const lg_sampling *rules, float *scratch) {
    if (rules->temperature <= 0) return place_of(logits, V, top, 0);
    float *x = scratch, *weight = x + V + LG_VL, *spare = weight + V + LG_VL;
    const float inverse = (float)fmin(fmax(1 / rules->temperature, FLT_MIN), FLT_MAX);
    /* below this the weight is 0 in float32: the interval of values can start here */
    double least = fmax((double)bottom, (double)top - 104 * rules->temperature);
    float low = nextafterf((float)fmax(least, -FLT_MAX), -INFINITY);
    lg_entries entries = {logits, NULL, V};
    lg_cut cut = {-INFINITY, 0};
    const int few = rules->top_k > 0 && rules->top_k < V;
    if (few) {
        cut = cut_ranking(entries, low, top, (double)rules->top_k, spare);
        low = nextafterf(cut.last, -INFINITY);
        entries = (lg_entries){x, NULL, gather(entries, low, top, x, NULL)};
    }
    const float least_gathered = cut.last;
    weigh(entries.x, entries.n, top, inverse, weight);
    entries.weight = weight;
    if (rules->top_p < 1) {
        if (cut.surplus) drop_weights(entries, cut, weight);
        double target = rules->top_p * sum_of(weight, entries.n);
        cut = cut_ranking(entries, low, top, fmax(target, DBL_MIN), spare);
    }
    if (rules->min_p > 0) { /* weight e^((x - top) / temperature) >= min_p */
        float least_x = (float)fmin(top, top + rules->temperature * log(rules->min_p));
        if (least_x > cut.last) cut = (lg_cut){least_x, 0};
    }
    if (cut.last > least_gathered || cut.surplus) drop_weights(entries, cut, weight);
    lg_size drawn = draw(weight, entries.n, uniform);
    return few ? place_of(logits, V, least_gathered, drawn) : drawn;
}

struct sample_task {
    const float *logits;
    const double *uniforms;
    lg_sampling rules;
    lg_size V;
    int64_t *ids; /* -1 where nothing can be chosen */
    float *logprobs;
};

static int sample_rows(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct sample_task *t = context;
    float *scratch = lg_scratch(LG_SCRATCH_TASK, 4 * sizeof(float) * (size_t)(t->V + LG_VL));
    if (scratch == NULL) return LG_NO_MEMORY;
    for (lg_size r = begin; r < end; r++) {
        const float *row = t->logits + r * t->V;
        float bottom, top;
        row_range(row, t->V, &bottom, &top);
        const double lse = log_sum_exp(row, t->V, top);
        t->ids[r] = -1;
        if (!isfinite(lse)) continue;
        t->ids[r] = choose(row, t->V, bottom, top, t->uniforms[r], &t->rules, scratch);
        t->logprobs[r] = (float)((double)row[t->ids[r]] - lse);
    }
    return LG_OK;
}

static int sample(const float *logits, const double *uniforms, lg_sampling rules, lg_size rows,
                  lg_size V, int64_t *ids, float *logprobs, lg_size *bad_row) {
    struct sample_task t = {logits, uniforms, rules, V, ids, logprobs};
    int status = lg_parallel(rows, row_grain(V), sample_rows, &t);
    if (status != LG_OK) return status;
    for (*bad_row = 0; *bad_row < rows; ++*bad_row)
        if (ids[*bad_row] < 0) return LG_BAD_VALUE;
    return LG_OK;
}
