/* What the machine itself can do, with this instruction set and all threads: the limits that
   benchmarks put beside their figures. */
#include <string.h>

enum { PROBE_BLOCK = 1 << 14, PROBE_ROUNDS = 1 << 12 };

/* Sums that don't wait for each other: as many as stay in registers. */
#if defined(LG_AVX512) || defined(LG_NEON)
enum { PROBE_SUMS = 16 };
#else
enum { PROBE_SUMS = 12 };
#endif

struct probe_task {
    const float *x;
    float *y;
};

static int probe_read_part(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct probe_task *t = context;
    for (ptrdiff_t block = begin; block < end; block++) {
        const float *x = t->x + block * PROBE_BLOCK;
        vf sums[8] = {{0}};
        for (int i = 0; i < PROBE_BLOCK; i += 8 * LG_VL)
            for (int s = 0; s < 8; s++) sums[s] += load(x + i + s * LG_VL);
        for (int s = 1; s < 8; s++) sums[0] += sums[s];
        t->y[block] = sum_vf(sums[0]);
    }
    return LG_OK;
}

/* Reads x once: y[i] is the sum of its i-th PROBE_BLOCK floats. */
static int probe_read(const float *x, lg_size blocks, float *y) {
    struct probe_task t = {x, y};
    return lg_parallel(blocks, 1, probe_read_part, &t);
}

static int probe_copy_part(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct probe_task *t = context;
    memcpy(t->y + begin, t->x + begin, (size_t)(end - begin) * sizeof *t->x);
    return LG_OK;
}

static int probe_copy(const float *x, lg_size count, float *y) {
    struct probe_task t = {x, y};
    return lg_parallel(count, ELEMENT_GRAIN, probe_copy_part, &t);
}

static int probe_multiply_add_part(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct probe_task *t = context;
    const vf slope = splat(t->x[0]), step = splat(t->x[1]);
    for (ptrdiff_t item = begin; item < end; item++) {
        vf sums[PROBE_SUMS]; /* which differ, so that no compiler takes them for one */
        for (int s = 0; s < PROBE_SUMS; s++) sums[s] = splat((float)s);
        for (int round = 0; round < PROBE_ROUNDS; round++)
            for (int s = 0; s < PROBE_SUMS; s++) sums[s] = fma_vf(sums[s], slope, step);
        for (int s = 1; s < PROBE_SUMS; s++) sums[0] += sums[s];
        t->y[item] = sum_vf(sums[0]);
    }
    return LG_OK;
}

/* sum = sum * x[0] + x[1], again and again in registers, for each of y's items; `operations` is
   how many multiplications and additions that is in all. */
static int probe_multiply_add(const float *x, lg_size items, float *y, double *operations) {
    struct probe_task t = {x, y};
    *operations = 2.0 * LG_VL * PROBE_SUMS * PROBE_ROUNDS * (double)items;
    return lg_parallel(items, 1, probe_multiply_add_part, &t);
}
