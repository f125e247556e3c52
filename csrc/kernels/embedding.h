/* Rows of a table, by id. */
#include "../simd.h"

enum { COLUMN_GROUP = 16 }; /* columns that a thread takes together: a cache line */

INLINE int ids_within(const int64_t *ids, lg_size count, lg_size V) {
    for (lg_size i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= V) return 0;
    return 1;
}

struct embedding_task {
    const int64_t *ids;
    const float *rows; /* the table; in the backward pass, dy */
    lg_size count, C;
    float *y; /* in the backward pass, dtable */
};

static int embedding_rows(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct embedding_task *t = context;
    for (lg_size i = begin; i < end; i++)
        memcpy(t->y + i * t->C, t->rows + t->ids[i] * t->C, sizeof(float) * (size_t)t->C);
    return LG_OK;
}

static int embedding(const int64_t *ids, const float *table, lg_size count, lg_size V, lg_size C,
                     float *y) {
    if (!ids_within(ids, count, V)) return LG_BAD_INDEX;
    struct embedding_task t = {ids, table, count, C, y};
    return lg_parallel(count, row_grain(C), embedding_rows, &t);
}

/* Two positions may name the same row, so threads share out the columns, and each row of the table
   gets its sums in the order of the positions. */
static int embedding_backward_columns(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct embedding_task *t = context;
    const lg_size first = begin * COLUMN_GROUP, last = end * COLUMN_GROUP;
    const lg_size width = (last < t->C ? last : t->C) - first;
    for (lg_size i = 0; i < t->count; i++) {
        const float *dy = t->rows + i * t->C + first;
        float *sum = t->y + t->ids[i] * t->C + first;
        FOR_VECTORS(width, j, store(sum + j, load(sum + j) + load(dy + j)),
                    store_part(sum + j, load_part(sum + j, left, 0) + load_part(dy + j, left, 0),
                               left));
    }
    return LG_OK;
}

static int embedding_backward(const float *dy, const int64_t *ids, lg_size count, lg_size V,
                              lg_size C, float *dtable) {
    if (!ids_within(ids, count, V)) return LG_BAD_INDEX;
    struct embedding_task t = {ids, dy, count, C, dtable};
    return lg_parallel((C + COLUMN_GROUP - 1) / COLUMN_GROUP, row_grain(COLUMN_GROUP * count),
                       embedding_backward_columns, &t);
}

struct position_task {
    const float *x, *table;
    const int64_t *offsets;
    lg_size T, C;
    float *y;
};

static int add_position_rows(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct position_task *t = context;
    for (lg_size i = begin; i < end; i++) { /* i = (b, t) */
        const float *x = t->x + i * t->C, *p = t->table + (t->offsets[i / t->T] + i % t->T) * t->C;
        float *y = t->y + i * t->C;
        FOR_VECTORS(t->C, c, store(y + c, load(x + c) + load(p + c)),
                    store_part(y + c, load_part(x + c, left, 0) + load_part(p + c, left, 0), left));
    }
    return LG_OK;
}

static int add_positions(const float *x, const float *table, const int64_t *offsets, lg_size B,
                         lg_size T, lg_size C, lg_size rows, float *y) {
    if (T > rows || !ids_within(offsets, B, rows - T + 1)) return LG_BAD_INDEX;
    struct position_task t = {x, table, offsets, T, C, y};
    return lg_parallel(B * T, row_grain(C), add_position_rows, &t);
}
