/* Causal attention, backward: probabilities are recomputed from the saved log of the sums, a strip
   of queries and a block of keys at a time. A task owns a key/value head with all the query heads
   of its group, so nothing is added up across threads. */
#include "attention.h"

typedef struct {
    const float *dy;
    lg_attention forward; /* what the forward pass took and returned */
    lg_heads dq, dk, dv;
} lg_attention_gradient;

enum { QUERY_BLOCK = 48 / TILE_ROWS * TILE_ROWS + (48 % TILE_ROWS ? TILE_ROWS : 0) };

/* Work arrays of a task; the panels stand behind it, [S / 32][D][32] each. */
typedef struct {
    float weights[QUERY_BLOCK * KEY_BLOCK], slopes[QUERY_BLOCK * KEY_BLOCK];
    float rows[]; /* strips of the queries and of dy, [QUERY_BLOCK][D] each, then the panels */
} lg_gradient_room;

INLINE float dot(const float *a, const float *b, lg_size n) {
    vf sum = splat(0);
    FOR_VECTORS(n, i, sum = fma_vf(load(a + i), load(b + i), sum),
                sum = fma_vf(load_part(a + i, left, 0), load_part(b + i, left, 0), sum));
    return sum_vf(sum);
}

/* From a row's scores s and dP = dy v^T (both overwritten): the dropped probabilities, and
   dS = P (dP - delta) / sqrt(D). Entries from n up to `end` become 0: nobody looks there. */
INLINE void slope_row(float *s, float *dp, lg_size n, lg_size end, float scale, float lse,
                      float delta, const float *mask, const float *multipliers) {
    const vf shift = splat(lse == -INFINITY ? 0 : lse);
    for (lg_size i = 0; i < end; i += LG_VL) {
        const lg_size left = n - i < 0 ? 0 : n - i < LG_VL ? n - i : LG_VL;
        const int whole = left == LG_VL;
        vf v = (whole ? load(s + i) : load_part(s + i, left, -INFINITY)) * scale;
        if (mask) v += whole ? load(mask + i) : load_part(mask + i, left, 0);
        vf p = exp_vf(v - shift), kept = p;
        vf d = whole ? load(dp + i) : load_part(dp + i, left, 0);
        if (multipliers) {
            d *= load(multipliers + i);
            kept *= load(multipliers + i);
        }
        store(s + i, kept);
        store(dp + i, p * (d - delta) * scale);
    }
}

/* out[j] (+)= sum over the queries r < n that see key j of weights[r][j] * rows[r], for the keys
   j < count of a block; query r sees seen + r of them. */
static void add_to_keys(lg_size n, int accumulate, lg_size count, lg_size seen,
                        const float *weights, const float *rows, lg_size row, lg_size D, float *out,
                        lg_size out_row) {
    for (lg_size j = 0; j < count; j += TILE_ROWS) {
        const lg_size skip = j < seen ? 0 : j - seen + 1;
        if (skip < n)
            add_rows(at_most(count - j, TILE_ROWS), accumulate, n - skip,
                     weights + skip * KEY_BLOCK + j, 1, rows + skip * row, row, D,
                     out + j * out_row, out_row);
    }
}

/* Asks for what belongs to position i of the head after head h of row b: rows of one head are far
   apart, which processors don't foresee. */
INLINE void prefetch_next_head(const lg_attention_gradient *t, lg_size b, lg_size h, lg_size i) {
    const lg_attention *f = &t->forward;
    const lg_size next = h + 1 < f->H ? h + 1 : 0, row = h + 1 < f->H ? b : b + 1;
    if (row == f->B) return;
    const lg_size at = ((row * f->T + i) * f->H + next) * f->D, g = next / (f->H / f->G);
    const float *q = f->q.data + row * f->q.batch + i * f->q.time + next * f->q.head;
    const float *k = f->k.data + row * f->k.batch + i * f->k.time + g * f->k.head;
    const float *v = f->v.data + row * f->v.batch + i * f->v.time + g * f->v.head;
    for (lg_size d = 0; d < f->D; d += 16) {
        __builtin_prefetch(q + d, 0, 2);
        __builtin_prefetch(t->dy + at + d, 0, 2);
        __builtin_prefetch(f->y + at + d, 0, 2);
        if (next % (f->H / f->G)) continue; /* this group's keys and values */
        __builtin_prefetch(k + d, 0, 2);
        __builtin_prefetch(v + d, 0, 2);
    }
}

/* A block of n queries of head h, from `first` on: writes dq of these queries, and writes dk and dv
   of all keys that they see or, unless `fresh`, adds to them. */
static void query_block_backward(const lg_attention_gradient *t, lg_gradient_room *room, lg_size b,
                                 lg_size h, lg_size first, lg_size n, int fresh) {
    const lg_attention *f = &t->forward;
    const lg_size D = f->D, S = f->S, g = h / (f->H / f->G), offset = S - f->T;
    const lg_size model = f->H * D, at = ((b * f->T + first) * f->H + h) * D;
    const float *q = f->q.data + b * f->q.batch + first * f->q.time + h * f->q.head;
    const float *k = f->k.data + b * f->k.batch + g * f->k.head;
    const float *dy = t->dy + at, *y = f->y + at;
    const float *lse = f->lse + (b * f->H + h) * f->T + first;
    float *q_strips = room->rows, *dy_strips = q_strips + QUERY_BLOCK * D;
    const float *keys = dy_strips + QUERY_BLOCK * D, *values = keys + round_up(S, PANEL) * D;
    float *dq = t->dq.data + b * t->dq.batch + first * t->dq.time + h * t->dq.head;
    float *dk = t->dk.data + b * t->dk.batch + g * t->dk.head;
    float *dv = t->dv.data + b * t->dv.batch + g * t->dv.head;
    const float scale = 1 / sqrtf((float)D);
    float delta[QUERY_BLOCK], multipliers[KEY_BLOCK];
    for (lg_size r = 0; r < n; r++) delta[r] = dot(dy + r * model, y + r * model, D);
    for (lg_size r = 0; r < n; r += TILE_ROWS) {
        const int strip = at_most(n - r, TILE_ROWS);
        pack_strip((lg_matrix){q + r * f->q.time, f->q.time, 1}, strip, D, q_strips + r * D);
        pack_strip((lg_matrix){dy + r * model, model, 1}, strip, D, dy_strips + r * D);
    }
    const lg_size end = offset + first + n; /* keys that the last of these queries sees */
    for (lg_size s = 0; s < end; s += KEY_BLOCK) {
        const lg_size count = end - s < KEY_BLOCK ? end - s : KEY_BLOCK;
        const lg_size seen = offset + first + 1 - s; /* by the first query; r sees seen + r */
        for (lg_size r = 0; r < n; r += TILE_ROWS) {
            const int strip = at_most(n - r, TILE_ROWS);
            const lg_size keys_seen = at_most(seen + r + strip - 1, (int)count);
            if (keys_seen <= 0) continue;
            panel_products(strip, q_strips + r * D, keys + s * D, keys_seen, D,
                           room->weights + r * KEY_BLOCK);
            panel_products(strip, dy_strips + r * D, values + s * D, keys_seen, D,
                           room->slopes + r * KEY_BLOCK);
        }
        for (lg_size r = 0; r < n; r++) {
            const lg_size width = seen + r < 0 ? 0 : seen + r < count ? seen + r : count;
            if (s == 0) prefetch_next_head(t, b, h, first + r);
            if (f->dropout > 0)
                for (lg_size j = 0; j < count; j += DROPOUT_BLOCK)
                    dropout_multipliers((uint64_t)((b * f->H + h) * f->T + first + r),
                                        (uint64_t)(s + j) / DROPOUT_BLOCK, f->dropout, f->seed,
                                        multipliers + j);
            slope_row(room->weights + r * KEY_BLOCK, room->slopes + r * KEY_BLOCK, width,
                      at_most(width + TILE_ROWS, (int)count), scale, lse[r], delta[r],
                      f->key_mask ? f->key_mask + b * S + s : NULL,
                      f->dropout > 0 ? multipliers : NULL);
        }
        for (lg_size r = 0; r < n; r += TILE_ROWS) {
            const int strip = at_most(n - r, TILE_ROWS);
            const lg_size keys_seen = at_most(seen + r + strip - 1, (int)count);
            if (keys_seen > 0)
                add_rows(strip, s > 0, keys_seen, room->slopes + r * KEY_BLOCK, 0,
                         k + s * f->k.time, f->k.time, D, dq + r * t->dq.time, t->dq.time);
        }
        add_to_keys(n, !fresh, count, seen, room->slopes, q, f->q.time, D, dk + s * t->dk.time,
                    t->dk.time);
        add_to_keys(n, !fresh, count, seen, room->weights, dy, model, D, dv + s * t->dv.time,
                    t->dv.time);
    }
}

static int attention_backward_groups(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const lg_attention_gradient *t = context;
    const lg_attention *f = &t->forward;
    const lg_size D = f->D, S = f->S, panels = round_up(S, PANEL) * D;
    lg_gradient_room *room = lg_scratch(
        LG_SCRATCH_TASK, sizeof *room + sizeof(float) * 2 * (size_t)(panels + QUERY_BLOCK * D));
    if (room == NULL) return LG_NO_MEMORY;
    float *keys = room->rows + 2 * QUERY_BLOCK * D, *values = keys + panels;
    for (lg_size i = begin; i < end; i++) { /* i = (b, g) */
        const lg_size b = i / f->G, g = i % f->G, group = f->H / f->G;
        pack_rows(f->k.data + b * f->k.batch + g * f->k.head, f->k.time, S, D, keys);
        pack_rows(f->v.data + b * f->v.batch + g * f->v.head, f->v.time, S, D, values);
        for (lg_size s = 0; f->T == 0 && s < S; s++) {
            memset(t->dk.data + b * t->dk.batch + s * t->dk.time + g * t->dk.head, 0,
                   sizeof(float) * (size_t)D);
            memset(t->dv.data + b * t->dv.batch + s * t->dv.time + g * t->dv.head, 0,
                   sizeof(float) * (size_t)D);
        }
        if (f->T == 0) continue;
        /* The last queries first: they see all keys, and so write what the others add to. */
        const lg_size last = (f->T - 1) / QUERY_BLOCK * QUERY_BLOCK;
        for (lg_size h = g * group; h < (g + 1) * group; h++)
            for (lg_size first = last; first >= 0; first -= QUERY_BLOCK)
                query_block_backward(t, room, b, h, first,
                                     f->T - first < QUERY_BLOCK ? f->T - first : QUERY_BLOCK,
                                     first == last && h == g * group);
    }
    return LG_OK;
}

static int causal_attention_backward(const float *dy, lg_heads q, lg_heads k, lg_heads v,
                                     const float *y, const float *lse, const float *key_mask,
                                     double dropout, uint64_t seed, lg_size B, lg_size T, lg_size S,
                                     lg_size H, lg_size G, lg_size D, lg_heads dq, lg_heads dk,
                                     lg_heads dv) {
    lg_attention_gradient t = {.dy = dy,
                               .forward = {.q = q,
                                           .k = k,
                                           .v = v,
                                           .key_mask = key_mask,
                                           .dropout = dropout,
                                           .seed = seed,
                                           .B = B,
                                           .T = T,
                                           .S = S,
                                           .H = H,
                                           .G = G,
                                           .D = D,
                                           .y = (float *)y,
                                           .lse = (float *)lse},
                               .dq = dq,
                               .dk = dk,
                               .dv = dv};
    return lg_parallel(B * G, 1 + 4096 / (1 + T * S * D), attention_backward_groups, &t);
}
