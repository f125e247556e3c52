/* Causal attention, forward: queries in strips of TILE_ROWS, keys in blocks of KEY_BLOCK, a running
   maximum and sum per query, no (T, S) array.

   Keys come as panels of 32 positions, [S / 32][D][32], so that scores are tiles of the matrix
   product; a cache keeps them like that. Block borders are multiples of KEY_BLOCK counted from
   position 0, and a query's row goes through the same operations whatever strip it is in: a query
   alone (decoding) gives the same bits as the same query among others (prefill, training). */
#include "../vmath.h"
#include "philox.h"
#include "tile.h"

enum {
    KEY_BLOCK = 8 * PANEL,
    APPEND_GRAIN = 256 /* numbers: each new key touches as many cache lines as a head is wide */
};

/* One head as a strip of queries sees it. */
typedef struct {
    const float *q; /* the strip of queries over sqrt(D), packed by pack_strip */
    const float *keys; /* [S / 32][D][32] */
    const float *values;
    lg_size v_row, D;
    const float *key_mask; /* (S), added, or NULL */
    double dropout;
    uint64_t seed, first_row; /* the dropout generator's row of the strip's first query */
} lg_head;

/* Weights and scores stand in blocks of KEY_BLOCK columns; read by rows, and transposed. */
TILE(tile_block, 0, KEY_BLOCK, 1)
TILE(tile_block_transposed, 0, 1, KEY_BLOCK)

/* What is left of add_rows where D isn't a multiple of 32. */
INLINE void add_rows_edge(lg_size n, int accumulate, lg_size count, lg_matrix weights,
                          const float *rows, lg_size row, lg_size width, float *out,
                          lg_size out_row) {
    for (lg_size c = 0; c < width; c += LG_VL) {
        const lg_size left = width - c < LG_VL ? width - c : LG_VL;
        for (lg_size r = 0; r < n; r++) {
            float *o = out + r * out_row + c;
            vf sum = splat(0);
            if (accumulate) sum = left < LG_VL ? load_part(o, left, 0) : load(o);
            for (lg_size k = 0; k < count; k++) {
                const float *v = rows + k * row + c;
                vf value = left < LG_VL ? load_part(v, left, 0) : load(v);
                sum = fma_vf(splat(weights.data[r * weights.row + k * weights.column]), value, sum);
            }
            if (left < LG_VL) store_part(o, sum, left);
            else store(o, sum);
        }
    }
}

/* out[r][D] (+)= sum over k < count of weights(r, k) * rows[k][D], for r < n; weights is a block, or
   a block transposed. */
static void add_rows(lg_size n, int accumulate, lg_size count, const float *weights, int transposed,
                     const float *rows, lg_size row, lg_size D, float *out, lg_size out_row) {
    const lg_size whole = D / PANEL * PANEL, w_row = transposed ? 1 : KEY_BLOCK;
    for (lg_size r = 0; r < n; r += TILE_ROWS) {
        const int strip = at_most(n - r, TILE_ROWS);
        for (lg_size c = 0; c < whole; c += PANEL)
            (transposed ? tile_block_transposed : tile_block)(
                strip, accumulate, count, weights + r * w_row, rows + c, row,
                out + r * out_row + c, out_row);
    }
    const lg_matrix w = {weights, w_row, transposed ? KEY_BLOCK : 1};
    add_rows_edge(n, accumulate, count, w, rows + whole, row, D - whole, out + whole, out_row);
}

/* add_rows for one row of weights: every row is read whole, so that memory is one stream. */
static void add_rows_for_one(lg_size count, const float *weights, const float *rows, lg_size row,
                             lg_size D, float *out) {
    enum { TOGETHER = 64, VECTORS = TOGETHER / LG_VL };
    const lg_size whole = D / TOGETHER * TOGETHER;
    for (lg_size c = 0; c < whole; c += TOGETHER) {
        vf sum[VECTORS];
        UNROLL for (int j = 0; j < VECTORS; j++) sum[j] = load(out + c + j * LG_VL);
        for (lg_size k = 0; k < count; k++) {
            const vf weight = splat(weights[k]);
            UNROLL for (int j = 0; j < VECTORS; j++)
                sum[j] = fma_vf(weight, load(rows + k * row + c + j * LG_VL), sum[j]);
        }
        UNROLL for (int j = 0; j < VECTORS; j++) store(out + c + j * LG_VL, sum[j]);
    }
    if (whole < D)
        add_rows(1, 1, count, weights, 0, rows + whole, row, D - whole, out + whole, D - whole);
}

/* products[r][s] = x(r) . panel column s, for a strip of n rows x of width D, packed by
   pack_strip, and `count` columns. */
INLINE void panel_products(int n, const float *strip, const float *panels, lg_size count,
                           lg_size D, float *products) {
    for (lg_size s = 0; s < count; s += PANEL)
        tile_strip(n, 0, D, strip, panels + s * D, PANEL, products + s, KEY_BLOCK);
}

/* The corner on the diagonal: out[r][D] += sum over k < r of weights[r][k] * rows[k][D]. Queries
   never touch what stands past their own place, so that NaN there can't reach them. */
static void add_corner(int n, const float *weights, const float *rows, lg_size row, lg_size D,
                       float *out, lg_size out_row) {
    lg_size done = 0;
    if (n == TILE_ROWS)
        for (; done + TILE_COLUMNS <= D; done += TILE_COLUMNS) {
            enum { VECTORS = TILE_COLUMNS / LG_VL };
            vf sum[TILE_ROWS][VECTORS];
            UNROLL for (int r = 1; r < TILE_ROWS; r++)
                UNROLL for (int j = 0; j < VECTORS; j++)
                    sum[r][j] = load(out + r * out_row + done + j * LG_VL);
            UNROLL for (int k = 0; k < TILE_ROWS - 1; k++)
                UNROLL for (int r = k + 1; r < TILE_ROWS; r++)
                    UNROLL for (int j = 0; j < VECTORS; j++)
                        sum[r][j] = fma_vf(splat(weights[r * KEY_BLOCK + k]),
                                           load(rows + k * row + done + j * LG_VL), sum[r][j]);
            UNROLL for (int r = 1; r < TILE_ROWS; r++)
                UNROLL for (int j = 0; j < VECTORS; j++)
                    store(out + r * out_row + done + j * LG_VL, sum[r][j]);
        }
    for (int r = 1; r < n && done < D; r++)
        add_rows(1, 1, r, weights + r * KEY_BLOCK, 0, rows + done, row, D - done,
                 out + r * out_row + done, out_row);
}

/* A block of one query's scores becomes weights e^(s - top), added to `sum`; returns what the sums
   so far are to be multiplied with, since `top` may have grown. */
INLINE float weigh_block(float *s, lg_size n, const float *mask, float *top, vf *sum) {
    if (mask)
        FOR_VECTORS(n, i, store(s + i, load(s + i) + load(mask + i)),
                    store_part(s + i, load_part(s + i, left, 0) + load_part(mask + i, left, 0),
                               left));
    vf largest = splat(-INFINITY);
    FOR_VECTORS(n, i, largest = max_vf(largest, load(s + i)),
                largest = max_vf(largest, load_part(s + i, left, -INFINITY)));
    const float before = *top, block = largest_vf(largest);
    *top = block > before ? block : before;
    const vf shift = splat(*top == -INFINITY ? 0 : *top);
    float grown = 1; /* before the first block there is nothing to grow */
    if (*top != before) grown = before == -INFINITY ? 0 : exp_vf(splat(before - *top))[0];
    vf total = *sum * grown;
    FOR_VECTORS(
        n, i,
        {
            vf e = exp_vf(load(s + i) - shift);
            total += e;
            store(s + i, e);
        },
        {
            vf e = exp_vf(load_part(s + i, left, -INFINITY) - shift);
            total += e;
            store_part(s + i, e, left);
        });
    *sum = total;
    return grown;
}

INLINE void scale_row(float *x, lg_size n, float scale) {
    FOR_VECTORS(n, i, store(x + i, load(x + i) * scale),
                store_part(x + i, load_part(x + i, left, 0) * scale, left));
}

/* weights[j] *= 0 or 1 / (1 - p), for keys first + j; first is a multiple of 64. */
INLINE void drop_row(float *weights, lg_size n, const lg_head *h, uint64_t row, lg_size first) {
    float multipliers[DROPOUT_BLOCK];
    for (lg_size j = 0; j < n; j += DROPOUT_BLOCK) {
        const int count = n - j < DROPOUT_BLOCK ? (int)(n - j) : DROPOUT_BLOCK;
        const uint64_t block = (uint64_t)(first + j) / DROPOUT_BLOCK;
        dropout_multipliers(row, block, h->dropout, h->seed, multipliers);
        for (int i = 0; i < count; i++) weights[j + i] *= multipliers[i];
    }
}

/* y[r][D] for n queries, of which the first sees `visible` keys, the next one more, and so on. */
static void attend_strip(const lg_head *h, int n, lg_size visible, float *y, lg_size y_row,
                         float *lse) {
    float scores[TILE_ROWS * KEY_BLOCK];
    float top[TILE_ROWS];
    vf sum[TILE_ROWS];
    const lg_size D = h->D, end = visible + n - 1;
    for (int r = 0; r < n; r++) {
        top[r] = -INFINITY;
        sum[r] = splat(0);
    }
    for (lg_size first = 0; first < end; first += KEY_BLOCK) {
        lg_size count = end - first < KEY_BLOCK ? end - first : KEY_BLOCK;
        panel_products(n, h->q, h->keys + first * D, count, D, scores);
        for (int r = 0; r < n; r++) {
            lg_size seen = visible + r - first;
            seen = seen < 0 ? 0 : seen < count ? seen : count;
            float *s = scores + r * KEY_BLOCK;
            const float *mask = h->key_mask ? h->key_mask + first : NULL;
            float grown = weigh_block(s, seen, mask, top + r, sum + r);
            if (first > 0 && grown != 1) scale_row(y + r * y_row, D, grown);
            if (h->dropout > 0) drop_row(s, seen, h, h->first_row + (uint64_t)r, first);
        }
        /* What all queries see goes as one tile, which the first block writes; the rest query by
           query. */
        lg_size shared = visible - first < 0 ? 0 : visible - first < count ? visible - first : count;
        const float *v = h->values + first * h->v_row;
        if (n == 1 && first == 0) memset(y, 0, sizeof(float) * (size_t)D);
        if (n == 1) add_rows_for_one(shared, scores, v, h->v_row, D, y);
        else add_rows(n, first > 0, shared, scores, 0, v, h->v_row, D, y, y_row);
        if (count - shared == n - 1) {
            add_corner(n, scores + shared, v + shared * h->v_row, h->v_row, D, y, y_row);
            continue;
        }
        for (int r = 1; r < n; r++) { /* the diagonal crosses into the next block of keys */
            lg_size seen = visible + r - first < count ? visible + r - first : count;
            if (seen > shared)
                add_rows(1, 1, seen - shared, scores + r * KEY_BLOCK + shared, 0,
                         v + shared * h->v_row, h->v_row, D, y + r * y_row, y_row);
        }
    }
    for (int r = 0; r < n; r++) {
        const float total = sum_vf(sum[r]);
        scale_row(y + r * y_row, D, total == 0 ? 0 : 1 / total);
        if (lse) lse[r] = total == 0 ? -INFINITY : top[r] + logf(total);
    }
}

/* Rows [count][D] as panels of 32 rows side by side: [count / 32][D][32]. */
INLINE void pack_rows(const float *rows, lg_size row, lg_size count, lg_size D, float *panels) {
    for (lg_size s = 0; s < count; s += PANEL)
        pack_panel(rows + s * row, 1, row, D, count - s < PANEL ? (int)(count - s) : PANEL,
                   panels + s * D);
}

typedef struct {
    lg_heads q, k, v;
    const float *keys, *values; /* panels; values of a cache, else NULL */
    const int64_t *lengths;     /* of a cache, else NULL */
    const float *key_mask;
    double dropout;
    uint64_t seed;
    lg_size B, T, S, H, G, D;
    float *y, *lse;
} lg_attention;

static int pack_all_keys(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const lg_attention *t = context;
    for (lg_size i = begin; i < end; i++) { /* i = (b, g) */
        const float *k = t->k.data + i / t->G * t->k.batch + i % t->G * t->k.head;
        pack_rows(k, t->k.time, t->S, t->D,
                  (float *)t->keys + i * round_up(t->S, PANEL) * t->D);
    }
    return LG_OK;
}

static int attend_strips(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const lg_attention *t = context;
    const lg_size strips = (t->T + TILE_ROWS - 1) / TILE_ROWS;
    float *strip = lg_scratch(LG_SCRATCH_TASK, sizeof(float) * TILE_ROWS * (size_t)t->D);
    if (strip == NULL) return LG_NO_MEMORY;
    for (lg_size i = begin; i < end; i++) { /* i = (b, h, strip) */
        lg_size first = i % strips * TILE_ROWS, h = i / strips % t->H, b = i / strips / t->H;
        lg_size g = h / (t->H / t->G), bg = b * t->G + g;
        const int n = at_most(t->T - first, TILE_ROWS);
        lg_size offset = t->lengths ? (lg_size)t->lengths[b] : t->S - t->T;
        const float *q = t->q.data + b * t->q.batch + first * t->q.time + h * t->q.head;
        pack_strip((lg_matrix){q, t->q.time, 1}, n, t->D, strip);
        for (int r = 0; r < at_most(t->T - first - TILE_ROWS, TILE_ROWS); r++) /* the next strip's */
            for (lg_size d = 0; d < t->D; d += 16)
                __builtin_prefetch(q + (TILE_ROWS + r) * t->q.time + d, 0, 2);
        scale_row(strip, TILE_ROWS * t->D, 1 / sqrtf((float)t->D));
        lg_head head = {.q = strip,
                        .keys = t->keys + bg * round_up(t->S, PANEL) * t->D,
                        .values = t->values ? t->values + bg * t->S * t->D
                                            : t->v.data + b * t->v.batch + g * t->v.head,
                        .v_row = t->values ? t->D : t->v.time,
                        .D = t->D,
                        .key_mask = t->key_mask ? t->key_mask + b * t->S : NULL,
                        .dropout = t->dropout,
                        .seed = t->seed,
                        .first_row = (uint64_t)((b * t->H + h) * t->T + first)};
        attend_strip(&head, n, offset + first + 1,
                     t->y + ((b * t->T + first) * t->H + h) * t->D, t->H * t->D,
                     t->lse ? t->lse + (b * t->H + h) * t->T + first : NULL);
    }
    return LG_OK;
}

static int attend_all(lg_attention *t) {
    lg_size strips = (t->T + TILE_ROWS - 1) / TILE_ROWS;
    lg_size work = (t->D + 8) * t->S * (t->T < TILE_ROWS ? t->T : TILE_ROWS);
    return lg_parallel(t->B * t->H * strips, 1 + 16384 / (work + 1), attend_strips, t);
}

static int causal_attention(lg_heads q, lg_heads k, lg_heads v, const float *key_mask,
                            double dropout, uint64_t seed, lg_size B, lg_size T, lg_size S,
                            lg_size H, lg_size G, lg_size D, float *y, float *lse) {
    size_t bytes = sizeof(float) * (size_t)(B * G * D) * (size_t)round_up(S, PANEL);
    lg_attention t = {.q = q,
                      .k = k,
                      .v = v,
                      .keys = lg_scratch(LG_SCRATCH_REGION, bytes),
                      .key_mask = key_mask,
                      .dropout = dropout,
                      .seed = seed,
                      .B = B,
                      .T = T,
                      .S = S,
                      .H = H,
                      .G = G,
                      .D = D,
                      .y = y,
                      .lse = lse};
    if (t.keys == NULL) return LG_NO_MEMORY;
    int status = lg_parallel(B * G, row_grain(S * D), pack_all_keys, &t);
    return status == LG_OK ? attend_all(&t) : status;
}

static int cached_attention(lg_heads q, const float *keys, const float *values,
                            const int64_t *lengths, lg_size B, lg_size T, lg_size S, lg_size H,
                            lg_size G, lg_size D, float *y) {
    lg_attention t = {.q = q,
                      .keys = keys,
                      .values = values,
                      .lengths = lengths,
                      .B = B,
                      .T = T,
                      .S = S,
                      .H = H,
                      .G = G,
                      .D = D,
                      .y = y};
    return attend_all(&t);
}

struct append_task {
    lg_heads k, v;
    float *keys, *values;
    const int64_t *lengths;
    lg_size T, S, G, D;
};

/* New positions of some heads, one by one to where a panel of keys begins, then panel by panel. */
static int append_heads(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct append_task *a = context;
    const lg_size T = a->T, D = a->D;
    for (lg_size i = begin; i < end; i++) { /* i = (b, g) */
        const lg_size b = i / a->G, g = i % a->G, length = (lg_size)a->lengths[b];
        const float *k = a->k.data + b * a->k.batch + g * a->k.head;
        const float *v = a->v.data + b * a->v.batch + g * a->v.head;
        float *keys = a->keys + i * a->S * D, *values = a->values + (i * a->S + length) * D;
        for (lg_size t = 0; t < T; t++, values += D)
            memcpy(values, v + t * a->v.time, sizeof(float) * (size_t)D);
        for (lg_size t = 0, count; t < T; t += count) {
            const lg_size s = length + t;
            float *panel = keys + s / PANEL * PANEL * D + s % PANEL;
            count = s % PANEL == 0 && T - t >= PANEL ? PANEL : 1;
            if (count == PANEL) pack_panel(k + t * a->k.time, 1, a->k.time, D, PANEL, panel);
            else for (lg_size d = 0; d < D; d++) panel[d * PANEL] = k[t * a->k.time + d];
        }
    }
    return LG_OK;
}

static int cache_append(lg_heads k, lg_heads v, float *keys, float *values,
                        const int64_t *lengths, lg_size B, lg_size T, lg_size S, lg_size G,
                        lg_size D) {
    for (lg_size b = 0; b < B; b++)
        if (T > 0 && (lengths[b] < 0 || lengths[b] > S - T)) return LG_BAD_INDEX;
    struct append_task a = {k, v, keys, values, lengths, T, S, G, D};
    return lg_parallel(B * G, 1 + APPEND_GRAIN / (T * D + 1), append_heads, &a);
}
