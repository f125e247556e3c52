/* The choice of the next token, without sorting the vocabulary.

   Top-k and top-p both keep the first part of the same ranking: larger logits first, of equal ones
   the smaller id. Such a part is named by its last value, and by how many of the entries equal to
   it are left out; cut_ranking finds it by halving an interval of values, with one pass over the
   row per step until the interval holds few enough entries to be gathered. Sums over many entries
   are taken in float within a block and in double from block to block. */
#include "../vmath.h"

enum { FEW = 32 }; /* entries that are sorted one by one */

/* Entries with their weights; weight NULL: each counts as 1. */
typedef struct {
    const float *x, *weight;
    lg_size n;
} lg_entries;

/* The entries with low < x <= high: how many they are, and what they weigh. */
typedef struct {
    lg_size count;
    double weight;
} lg_share;

INLINE vi between(vf x, float low, float high) { return (x > low) & (x <= high); }

INLINE lg_share share_of(lg_entries entries, float low, float high) {
    lg_share share = {0, 0};
    for (lg_size first = 0; first < entries.n; first += SUM_BLOCK) {
        const float *x = entries.x + first;
        const float *weight = entries.weight ? entries.weight + first : NULL;
        const lg_size size = entries.n - first < SUM_BLOCK ? entries.n - first : SUM_BLOCK;
        vf sum = splat(0);
        vi count = {0};
        FOR_VECTORS(
            size, i,
            {
                vi inside = between(load(x + i), low, high);
                count -= inside;
                if (weight) sum += (vf)(inside & (vi)load(weight + i));
            },
            {
                vi inside = between(load_part(x + i, left, -INFINITY), low, high);
                count -= inside;
                if (weight) sum += (vf)(inside & (vi)load_part(weight + i, left, 0));
            });
        for (int lane = 0; lane < LG_VL; lane++) share.count += count[lane];
        share.weight += (double)sum_vf(sum);
    }
    if (!entries.weight) share.weight = (double)share.count;
    return share;
}

/* Moves the entries with low < x <= high to x (and weight), which may be where they come from;
   room for one vector more than there are entries. Returns how many. */
INLINE lg_size gather(lg_entries entries, float low, float high, float *x, float *weight) {
    lg_size count = 0;
    FOR_VECTORS(
        entries.n, i,
        {
            vf value = load(entries.x + i);
            vi inside = between(value, low, high);
            if (any_vi(inside)) {
                if (weight) store_set_lanes(weight + count, load(entries.weight + i), inside);
                count += store_set_lanes(x + count, value, inside);
            }
        },
        {
            vf value = load_part(entries.x + i, left, -INFINITY);
            vi inside = between(value, low, high);
            if (weight)
                store_set_lanes(weight + count, load_part(entries.weight + i, left, 0), inside);
            count += store_set_lanes(x + count, value, inside);
        });
    return count;
}

/* A place between low and high: the middle of the values at first, which suits logits; then of
   their bit patterns, which ends after 32 steps whatever they are. low itself if nothing lies
   between. */
INLINE float middle_of(float low, float high, int step) {
    float middle = 0.5f * low + 0.5f * high;
    if (step < 24 && low < middle && middle < high) return middle;
    int32_t pattern[2];
    memcpy(&pattern[0], &low, sizeof low);
    memcpy(&pattern[1], &high, sizeof high);
    for (int i = 0; i < 2; i++) /* in the order of the values */
        if (pattern[i] < 0) pattern[i] ^= INT32_MAX;
    int32_t between = (int32_t)(((int64_t)pattern[0] + pattern[1]) >> 1);
    if (between < 0) between ^= INT32_MAX;
    memcpy(&middle, &between, sizeof middle);
    return middle;
}

/* Insertion, largest first; equal ones keep their order. */
INLINE void sort_few(float *x, float *weight, lg_size n) {
    for (lg_size i = 1; i < n; i++) {
        float value = x[i], own = weight ? weight[i] : 0;
        lg_size place = i;
        for (; place > 0 && x[place - 1] < value; place--) {
            x[place] = x[place - 1];
            if (weight) weight[place] = weight[place - 1];
        }
        x[place] = value;
        if (weight) weight[place] = own;
    }
}

/* The first part of a ranking: everything above `last`, and the entries equal to it but for the
   `surplus` ones with the largest ids. */
typedef struct {
    float last;
    lg_size surplus;
} lg_cut;

/* Keeps each entry before which less than `target` is ranked. Entries up to `low` never count,
   `high` is the largest; spare has room for 2 (n + LG_VL) floats. */
INLINE lg_cut cut_ranking(lg_entries entries, float low, float high, double target, float *spare) {
    const int weighted = entries.weight != NULL;
    float *x = spare, *weight = weighted ? spare + entries.n + LG_VL : NULL;
    lg_share inside = share_of(entries, low, high);
    if (inside.weight < target) return (lg_cut){nextafterf(low, INFINITY), 0};
    double before = 0; /* ranked above the interval */
    for (int step = 0; inside.count > FEW; step++) {
        const float middle = middle_of(low, high, step);
        if (middle == low) break; /* all inside are equal */
        const lg_share upper = share_of(entries, middle, high);
        if (before + upper.weight < target && upper.count < inside.count) {
            before += upper.weight;
            inside.count -= upper.count;
            high = middle;
        } else {
            inside = upper;
            low = middle;
        }
        if (inside.count < entries.n / 8)
            entries = (lg_entries){x, weight, gather(entries, low, high, x, weight)};
    }
    const lg_size count = gather(entries, low, high, x, weight);
    if (count <= FEW) sort_few(x, weight, count);
    lg_size kept = 0;
    for (; kept < count && (kept == 0 || before < target); kept++)
        before += weighted ? (double)weight[kept] : 1;
    lg_cut cut = {x[kept - 1], 0};
    while (kept + cut.surplus < count && x[kept + cut.surplus] == cut.last) cut.surplus++;
    return cut;
}

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
    float *scratch =
        lg_scratch(LG_SCRATCH_TASK, 4 * sizeof(float) * (size_t)(t->V + LG_VL));
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
