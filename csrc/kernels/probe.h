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
    const int8_t *codes; /* a group of LG_VL outputs, a quad of INTEGER_SUMS rows of activations */
    int format, pairs;
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
    struct probe_task t = {.x = x, .y = y};
    return lg_parallel(blocks, 1, probe_read_part, &t);
}

static int probe_copy_part(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct probe_task *t = context;
    memcpy(t->y + begin, t->x + begin, (size_t)(end - begin) * sizeof *t->x);
    return LG_OK;
}

static int probe_copy(const float *x, lg_size count, float *y) {
    struct probe_task t = {.x = x, .y = y};
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
    struct probe_task t = {.x = x, .y = y};
    *operations = 2.0 * LG_VL * PROBE_SUMS * PROBE_ROUNDS * (double)items;
    return lg_parallel(items, 1, probe_multiply_add_part, &t);
}

INLINE float probe_pairs(const int pairs, vf a, vf b) {
    vf sums[PROBE_SUMS]; /* which differ at first */
    for (int s = 0; s < PROBE_SUMS; s++) sums[s] = splat((float)s);
    for (int round = 0; round < PROBE_ROUNDS; round++)
        for (int s = 0; s < PROBE_SUMS; s++)
            sums[s] = pairs ? fma_pairs_vf(a, b, sums[s]) : fma_vf(a, b, sums[s]);
    vf total = splat(0);
    for (int s = 0; s < PROBE_SUMS; s++) total += sums[s] - (float)s;
    return sum_vf(total);
}

static int probe_multiply_pairs_part(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct probe_task *t = context;
    vf operands[2];
    for (int i = 0; i < 2; i++) {
        const vu number = (vu)splat(t->x[i]);
        operands[i] = (vf)(t->pairs ? number | number >> 16 : number);
    }
    for (ptrdiff_t item = begin; item < end; item++)
        t->y[item] = HAS_PAIRS && t->pairs ? probe_pairs(1, operands[0], operands[1])
                                           : probe_pairs(0, operands[0], operands[1]);
    return LG_OK;
}

/* sum += x[0] * x[1], which are numbers in bfloat16, again and again for each of y's items, as
   products of such numbers are added in registers: in pairs where the processor can. */
static int probe_multiply_pairs(const float *x, lg_size items, float *y, double *operations) {
    struct probe_task t = {.x = x, .y = y, .pairs = HAS_PAIRS && lg_multiplies_bfloat16()};
    *operations = 2.0 * (1 + t.pairs) * LG_VL * PROBE_SUMS * PROBE_ROUNDS * (double)items;
    return lg_parallel(items, 1, probe_multiply_pairs_part, &t);
}

enum { PROBE_CODES = 4 * LG_VL * QUADS, PROBE_GROUPS = PROBE_ROUNDS / QUADS };

INLINE float probe_codes(const int format, const int8_t *codes) {
    const int8_t *activations = codes + PROBE_CODES;
    /* the sum runs on from group to group, if it has the bits for it */
    const int runs_on = format == LG_Q8;
    vi sums[INTEGER_SUMS];
    UNROLL for (int s = 0; s < INTEGER_SUMS; s++)
        sums[s] = (vi){0} - (runs_on ? SIGNED_EXCESS * activations[4 * s] * 4 * PROBE_ROUNDS : 0);
    for (int group = 0; group < PROBE_GROUPS; group++) {
        KEEP_APART; /* which multiplies anew what it reads anew */
        vi dots[INTEGER_SUMS];
        UNROLL for (int s = 0; s < INTEGER_SUMS; s++) dots[s] = runs_on ? sums[s] : (vi){0};
        UNROLL for (int q = 0; q < QUADS; q++) {
            const vi weights = load_bytes(codes + 4 * LG_VL * q);
            UNROLL for (int s = 0; s < INTEGER_SUMS; s++)
                dots[s] = dot_of(format, dots[s], weights, splat_bytes(activations + 4 * s));
        }
        UNROLL for (int s = 0; s < INTEGER_SUMS; s++)
            sums[s] = whole_of(format, dots[s], (vi){0}) + (runs_on ? (vi){0} : sums[s]);
    }
    double total = 0;
    UNROLL for (int s = 0; s < INTEGER_SUMS; s++) total += sum_vi(sums[s]);
    return (float)total;
}

#define PROBE_FORMAT_CASE(format) \
    case format: t->y[item] = probe_codes(format, t->codes); break;

static int probe_multiply_codes_part(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct probe_task *t = context;
    for (ptrdiff_t item = begin; item < end; item++)
        switch (t->format) { LG_CODE_FORMATS(PROBE_FORMAT_CASE) }
    return LG_OK;
}

/* sum += x[0] * x[1], again and again for each of y's items, as products of codes in this format
   are multiplied and added to sums in registers; x[0] is a weight's code. */
static int probe_multiply_codes(const float *x, int format, lg_size items, float *y,
                                double *operations) {
    int8_t codes[PROBE_CODES + 4 * INTEGER_SUMS];
    memset(codes, (int)x[0], PROBE_CODES);
    memset(codes + PROBE_CODES, (int)x[1], 4 * INTEGER_SUMS);
    struct probe_task t = {.x = x, .y = y, .codes = codes, .format = format};
    *operations = 2.0 * 4 * LG_VL * INTEGER_SUMS * PROBE_ROUNDS * (double)items;
    return lg_parallel(items, 1, probe_multiply_codes_part, &t);
}
