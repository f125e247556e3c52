/* Rotary position embedding: pairs (i, i + half) of each head turn by the angle of the position. */
#include "../simd.h"

struct rotary_task {
    lg_heads x;
    const float *cos, *sin; /* (positions, half) */
    const int64_t *offsets; /* (B) */
    lg_size T, H, D, half;
    float direction; /* -1 turns back */
    float *y;        /* (B, T, H, D), dense */
};

/* y = (x1 cos - x2 sin, x2 cos + x1 sin); what lies past the pairs is copied. */
INLINE void rotate_head(const float *x, const float *cos, const float *sin, lg_size D, lg_size half,
                        float direction, float *y) {
    FOR_VECTORS(
        half, i,
        {
            vf first = load(x + i);
            vf second = load(x + half + i);
            vf c = load(cos + i);
            vf s = load(sin + i) * direction;
            store(y + i, first * c - second * s);
            store(y + half + i, second * c + first * s);
        },
        {
            vf first = load_part(x + i, left, 0);
            vf second = load_part(x + half + i, left, 0);
            vf c = load_part(cos + i, left, 0);
            vf s = load_part(sin + i, left, 0) * direction;
            store_part(y + i, first * c - second * s, left);
            store_part(y + half + i, second * c + first * s, left);
        });
    memcpy(y + 2 * half, x + 2 * half, sizeof(float) * (size_t)(D - 2 * half));
}

static int rotary_tokens(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct rotary_task *t = context;
    for (lg_size token = begin; token < end; token++) {
        const lg_size b = token / t->T, time = token % t->T;
        const lg_size place = (t->offsets[b] + time) * t->half;
        const float *x = t->x.data + b * t->x.batch + time * t->x.time;
        float *y = t->y + token * t->H * t->D;
        for (lg_size h = 0; h < t->H; h++)
            rotate_head(x + h * t->x.head, t->cos + place, t->sin + place, t->D, t->half,
                        t->direction, y + h * t->D);
    }
    return LG_OK;
}

static int rotary(lg_heads x, const float *cos, const float *sin, const int64_t *offsets, lg_size B,
                  lg_size T, lg_size H, lg_size D, lg_size half, float direction, float *y) {
    struct rotary_task t = {x, cos, sin, offsets, T, H, D, half, direction, y};
    return lg_parallel(B * T, row_grain(H * D), rotary_tokens, &t);
}
