/* The first part of a ranking, without sorting: larger values first, of equal ones the smaller id.

   Such a part is named by its last value, and by how many of the entries equal to it are left out.
   cut_ranking finds it by halving an interval of values, with one pass over the entries per step
   until few enough are left in the interval to be gathered. Weights are added up in float within a
   block and in double from block to block. */
#ifndef LITEGPT_RANKING_H
#define LITEGPT_RANKING_H

#include "../simd.h"

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
    int32_t halfway = (int32_t)(((int64_t)pattern[0] + pattern[1]) >> 1);
    if (halfway < 0) halfway ^= INT32_MAX;
    memcpy(&middle, &halfway, sizeof middle);
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

#endif
