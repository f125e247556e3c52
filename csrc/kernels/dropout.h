/* Dropout; its backward pass is dropout of dy with the same seed. */
#include "philox.h"

struct dropout_task {
    const float *x;
    uint32_t threshold;
    float scale;
    uint64_t seed;
    lg_size count;
    float *y;
};

static int dropout_blocks(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct dropout_task *t = context;
    const uint32_t threshold = t->threshold;
    const float scale = t->scale;
    for (lg_size block = begin; block < end; block++) {
        uint32_t words[DROPOUT_BLOCK];
        philox_block(0, (uint64_t)block, t->seed, words);
        const float *x = t->x + block * DROPOUT_BLOCK;
        float *y = t->y + block * DROPOUT_BLOCK;
        const lg_size left = t->count - block * DROPOUT_BLOCK;
        for (lg_size i = 0; i < (left < DROPOUT_BLOCK ? left : DROPOUT_BLOCK); i++) {
            float scaled = x[i] * scale;
            y[i] = words[i] >= threshold ? scaled : 0;
        }
    }
    return LG_OK;
}

static int dropout(const float *x, double p, uint64_t seed, lg_size count, float *y) {
    const uint64_t threshold = dropout_threshold(p);
    if (threshold > UINT32_MAX) {
        memset(y, 0, sizeof(float) * (size_t)count);
        return LG_OK;
    }
    struct dropout_task t = {x, (uint32_t)threshold, (float)(1 / (1 - p)), seed, count, y};
    const lg_size blocks = (count + DROPOUT_BLOCK - 1) / DROPOUT_BLOCK;
    return lg_parallel(blocks, row_grain(DROPOUT_BLOCK), dropout_blocks, &t);
}
