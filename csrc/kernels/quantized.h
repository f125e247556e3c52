/* Weight formats: how weights become blocks of bytes and back, and how blocks are packed.

   A block is a row of units of two bytes (numbers), then of four (codes of four inputs, or a
   float); see litegpt.kernels.reference.weight_formats. Packed blocks lie panel by panel of 32 outputs,
   group by group, unit by unit, each unit 32 times, once for each output. The bytes of a unit are
   little-endian, as all processors are that this is built for. */
#ifndef LITEGPT_QUANTIZED_H
#define LITEGPT_QUANTIZED_H

#include <errno.h>
#include <sys/types.h>
#include <unistd.h>

#include "half.h"
#include "tile.h"

enum { SPAN = 32 }; /* inputs that are converted at a time: one group, or as many as a group has */

typedef struct {
    int group;         /* weights in a block */
    int halves, words; /* units of two and of four bytes */
    float largest;     /* magnitude that can be stored */
    void (*encode)(const float *w, uint8_t *blocks); /* SPAN weights to SPAN / group blocks */
    void (*decode)(const uint8_t *blocks, float *w);
} lg_weight_format;

static void encode_float32(const float *w, uint8_t *blocks) { memcpy(blocks, w, 4 * SPAN); }
static void decode_float32(const uint8_t *blocks, float *w) { memcpy(w, blocks, 4 * SPAN); }

static void encode_bfloat16(const float *w, uint8_t *blocks) {
    uint16_t halves[SPAN];
    for (int i = 0; i < SPAN; i++) halves[i] = bfloat_of(w[i]);
    memcpy(blocks, halves, sizeof halves);
}

static void decode_bfloat16(const uint8_t *blocks, float *w) {
    for (int i = 0; i < SPAN; i += LG_VL) store(w + i, load_bfloat16(blocks + 2 * i));
}

static void encode_float16(const float *w, uint8_t *blocks) {
    uint16_t halves[SPAN];
    for (int i = 0; i < SPAN; i++) halves[i] = half_of(w[i]);
    memcpy(blocks, halves, sizeof halves);
}

static void decode_float16(const uint8_t *blocks, float *w) {
    for (int i = 0; i < SPAN; i += LG_VL) store(w + i, load_float16(blocks + 2 * i));
}

/* Numbers to whole ones, of halves the even one; magnitudes below 2^22. */
INLINE vi nearest_vi(vf v) {
    const vf shift = splat(0x1.8p23f);
    return bits(v + shift) - bits(shift);
}

/* scale (rounded up, so that no code is cut), 32 codes in -127..127: w = scale * code */
static void encode_q8(const float *w, uint8_t *block) {
    vf most = splat(0);
    for (int i = 0; i < SPAN; i += LG_VL) most = max_vf(most, (vf)(bits(load(w + i)) & 0x7fffffff));
    const uint16_t half = half_not_below(largest_vf(most) / 127.0f);
    const float inverse = half ? 1.0f / float_of_half(half) : 0.0f;
    int32_t codes[SPAN];
    for (int i = 0; i < SPAN; i += LG_VL) {
        const vi code = nearest_vi(load(w + i) * inverse);
        memcpy(codes + i, &code, sizeof code);
    }
    memcpy(block, &half, 2);
    for (int i = 0; i < SPAN; i++) block[2 + i] = (uint8_t)codes[i];
}

static void decode_q8(const uint8_t *block, float *w) {
    uint16_t half;
    memcpy(&half, block, 2);
    const float scale = float_of_half(half);
    for (int i = 0; i < SPAN; i++) w[i] = scale * (float)(int8_t)block[2 + i];
}

/* scale, minimum (rounded down), as the first two units of a block; codes in 0..last of 32 weights:
   w = scale * code + minimum */
static void codes_above_minimum(const float *w, float last, uint8_t *block, int32_t *codes) {
    vf most = load(w), least = -most;
    for (int i = LG_VL; i < SPAN; i += LG_VL) {
        most = max_vf(most, load(w + i));
        least = max_vf(least, -load(w + i));
    }
    const float lowest = largest_vf(least); /* minus the smallest weight */
    const uint16_t minimum = lowest > 0 ? half_not_below(lowest) | 0x8000 : half_not_above(-lowest);
    const float low = float_of_half(minimum);
    const uint16_t half = half_not_below((largest_vf(most) - low) / last);
    const float inverse = half ? 1.0f / float_of_half(half) : 0.0f;
    for (int i = 0; i < SPAN; i += LG_VL) {
        const vi code = nearest_vi((load(w + i) - low) * inverse);
        memcpy(codes + i, &code, sizeof code);
    }
    memcpy(block, &half, 2);
    memcpy(block + 2, &minimum, 2);
}

/* The low four bits of 32 codes. */
static void store_pairs(const int32_t *codes, uint8_t *pairs) {
    for (int i = 0; i < 16; i++) pairs[i] = (uint8_t)((codes[i] & 15) | codes[16 + i] << 4);
}

static void encode_q5(const float *w, uint8_t *block) {
    int32_t codes[SPAN];
    uint32_t fifth = 0; /* bit q of byte j: of code 4 q + j */
    codes_above_minimum(w, 31, block, codes);
    for (int i = 0; i < SPAN; i++) fifth |= (uint32_t)(codes[i] >> 4) << (8 * (i % 4) + i / 4);
    memcpy(block + 4, &fifth, 4);
    store_pairs(codes, block + 8);
}

static void decode_q5(const uint8_t *block, float *w) {
    uint16_t half, minimum;
    uint32_t fifth;
    memcpy(&half, block, 2);
    memcpy(&minimum, block + 2, 2);
    memcpy(&fifth, block + 4, 4);
    const float scale = float_of_half(half), low = float_of_half(minimum);
    for (int i = 0; i < SPAN; i++) {
        const uint32_t pair = block[8 + i % 16], bit = fifth >> (8 * (i % 4) + i / 4) & 1;
        w[i] = scale * (float)((i < 16 ? pair & 15 : pair >> 4) | bit << 4) + low;
    }
}

static void encode_q4(const float *w, uint8_t *block) {
    int32_t codes[SPAN];
    codes_above_minimum(w, 15, block, codes);
    store_pairs(codes, block + 4);
}

static void decode_q4(const uint8_t *block, float *w) {
    uint16_t half, minimum;
    memcpy(&half, block, 2);
    memcpy(&minimum, block + 2, 2);
    const float scale = float_of_half(half), low = float_of_half(minimum);
    for (int i = 0; i < 16; i++) {
        w[i] = scale * (float)(block[4 + i] & 15) + low;
        w[16 + i] = scale * (float)(block[4 + i] >> 4) + low;
    }
}

/* scale, for which the weight farthest from 0 is -8; codes in 0..15: w = scale * (code - 8) */
static void encode_q4_0(const float *w, uint8_t *block) {
    float farthest = w[0];
    for (int i = 1; i < SPAN; i++)
        if (fabsf(w[i]) > fabsf(farthest)) farthest = w[i];
    const float scale = farthest / -8.0f;
    float inverse = 1.0f / scale;
    if (!(fabsf(inverse) <= FLT_MAX)) inverse = 0.0f;
    int32_t codes[SPAN];
    for (int i = 0; i < SPAN; i++) {
        const int32_t code = (int32_t)(w[i] * inverse + 8.5f);
        codes[i] = code < 15 ? code : 15;
    }
    const uint16_t half = half_of(scale);
    memcpy(block, &half, 2);
    store_pairs(codes, block + 2);
}

static void decode_q4_0(const uint8_t *block, float *w) {
    uint16_t half;
    memcpy(&half, block, 2);
    const float scale = float_of_half(half);
    for (int i = 0; i < 16; i++) {
        w[i] = scale * (float)((block[2 + i] & 15) - 8);
        w[16 + i] = scale * (float)((block[2 + i] >> 4) - 8);
    }
}

static const lg_weight_format weight_formats[] = {
    [LG_FLOAT32] = {1, 0, 1, FLT_MAX, encode_float32, decode_float32},
    [LG_BFLOAT16] = {1, 1, 0, 0x1.fep127f, encode_bfloat16, decode_bfloat16},
    [LG_FLOAT16] = {1, 1, 0, 65504, encode_float16, decode_float16},
    [LG_Q8] = {32, 1, 8, 127 * 65504.0f, encode_q8, decode_q8},
    [LG_Q5] = {32, 2, 5, 65504, encode_q5, decode_q5},
    [LG_Q4] = {32, 2, 4, 65504, encode_q4, decode_q4},
    [LG_Q4_0] = {32, 1, 4, 8 * 65504.0f, encode_q4_0, decode_q4_0},
};

INLINE lg_size block_bytes(const lg_weight_format *f) { return 2 * f->halves + 4 * f->words; }
INLINE lg_size groups_of(const lg_weight_format *f, lg_size K) {
    return (K + f->group - 1) / f->group;
}

enum { SPAN_BYTES = 4 * SPAN }; /* the blocks of a span, in the largest format */

struct quantize_task {
    const lg_weight_format *format;
    const float *weight;
    lg_size row, column; /* weight (k, n) stands at weight[k * row + n * column] */
    lg_size K, N;
    uint8_t *blocks;
};

/* Panels of 32 outputs, 32 inputs at a time: a piece of the matrix that stays in cache. */
static int quantize_panels(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct quantize_task *t = context;
    const lg_weight_format *f = t->format;
    const lg_size bytes = block_bytes(f), groups = groups_of(f, t->K);
    const lg_size last = end * PANEL < t->N ? end * PANEL : t->N;
    int bad = 0;
    for (lg_size first = begin * PANEL; first < last; first += PANEL)
        for (lg_size k = 0; k < t->K; k += SPAN)
            for (lg_size n = first; n < last && n < first + PANEL; n++) {
                const float *from = t->weight + k * t->row + n * t->column;
                const lg_size count = t->K - k < SPAN ? t->K - k : SPAN;
                float w[SPAN] = {0};
                for (lg_size i = 0; i < count; i++) {
                    w[i] = from[i * t->row];
                    bad |= !(fabsf(w[i]) <= f->largest);
                }
                if (bad) return LG_BAD_VALUE;
                uint8_t encoded[SPAN_BYTES];
                f->encode(w, encoded);
                memcpy(t->blocks + (n * groups + k / f->group) * bytes, encoded,
                       (size_t)(groups_of(f, count) * bytes));
            }
    return LG_OK;
}

static int quantize(const float *weight, int format, int transposed, lg_size K, lg_size N,
                    uint8_t *blocks) {
    struct quantize_task t = {.format = &weight_formats[format],
                              .weight = weight,
                              .row = transposed ? 1 : N,
                              .column = transposed ? K : 1,
                              .K = K,
                              .N = N,
                              .blocks = blocks};
    return lg_parallel((N + PANEL - 1) / PANEL, row_grain(PANEL * K), quantize_panels, &t);
}

struct interleave_task {
    int format;
    const uint8_t *blocks;
    lg_size groups, N;
    uint8_t *packed;
};

/* A group of a panel: blocks of `rows` outputs, `stride` bytes apart, unit by unit; zeros for the
   outputs that there aren't. halves and words are constants wherever this is inlined. */
INLINE void interleave_units(const int halves, const int words, const uint8_t *blocks,
                             lg_size stride, int rows, uint8_t *to) {
    const int bytes = 2 * halves + 4 * words;
    if (rows < PANEL) memset(to, 0, (size_t)(bytes * PANEL));
    for (int j = 0; j < rows; j++, blocks += stride) {
        for (int i = 0; i < halves; i++) memcpy(to + 2 * (i * PANEL + j), blocks + 2 * i, 2);
        for (int i = 0; i < words; i++)
            memcpy(to + 2 * halves * PANEL + 4 * (i * PANEL + j), blocks + 2 * halves + 4 * i, 4);
    }
}

#define INTERLEAVE_CASE(format)                                                                \
    case format:                                                                               \
        interleave_units(weight_formats[format].halves, weight_formats[format].words, blocks,  \
                         stride, rows, to);                                                    \
        break;

/* A panel: `rows` outputs (32, or fewer at the end), each so many blocks one after the other. */
static void interleave_panel(int format, const uint8_t *blocks, lg_size groups, int rows,
                             uint8_t *to) {
    const lg_size bytes = block_bytes(&weight_formats[format]), stride = groups * bytes;
    for (lg_size g = 0; g < groups; g++, blocks += bytes, to += bytes * PANEL)
        switch (format) { LG_FORMATS(INTERLEAVE_CASE) }
}

static int interleave_panels(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct interleave_task *t = context;
    const lg_size bytes = t->groups * block_bytes(&weight_formats[t->format]) * PANEL;
    for (lg_size panel = begin; panel < end; panel++)
        interleave_panel(t->format, t->blocks + panel * bytes, t->groups,
                         at_most(t->N - panel * PANEL, PANEL), t->packed + panel * bytes);
    return LG_OK;
}

static int pack_quantized(const uint8_t *blocks, int format, lg_size groups, lg_size N,
                          uint8_t *packed) {
    struct interleave_task t = {format, blocks, groups, N, packed};
    return lg_parallel((N + PANEL - 1) / PANEL, row_grain(PANEL * groups), interleave_panels, &t);
}

/* All of a piece of a file; LG_NOT_READ if it isn't there. */
static int read_piece(int file, int64_t start, lg_size bytes, uint8_t *to) {
    while (bytes > 0) {
        const ssize_t count = pread(file, to, (size_t)bytes, start);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return LG_NOT_READ;
        to += count, start += count, bytes -= count;
    }
    return LG_OK;
}

enum { TOGETHER = 4 * PANEL }; /* rows apart, up to which those of a panel are read at once */

/* The rows of a panel, to `blocks`; `room` takes what lies between the first and the last of them:
   the rows of a rotary head alternate with those of its other half. */
static int read_rows(int file, const int64_t *rows, int count, lg_size stride, uint8_t *blocks,
                     uint8_t *room) {
    int64_t first = rows[0], last = rows[0];
    int side_by_side = 1;
    for (int i = 1; i < count; i++) {
        if (rows[i] < first) first = rows[i];
        if (rows[i] > last) last = rows[i];
        side_by_side &= rows[i] == rows[i - 1] + stride;
    }
    if (side_by_side) return read_piece(file, first, count * stride, blocks);
    const int near = last - first <= TOGETHER * stride;
    int status = near ? read_piece(file, first, last - first + stride, room) : LG_OK;
    for (int i = 0; i < count && status == LG_OK; i++, blocks += stride)
        if (near) memcpy(blocks, room + (rows[i] - first), (size_t)stride);
        else status = read_piece(file, rows[i], stride, blocks);
    return status;
}

/* Not in parallel: it runs beside the reading of a vocabulary, which has a processor of its own. */
static int read_quantized(int file, const int64_t *rows, const int64_t *groups, int format,
                          lg_size panels, uint8_t *packed) {
    for (lg_size panel = 0; panel < panels; panel++, rows += PANEL) {
        const lg_size stride = groups[panel] * block_bytes(&weight_formats[format]);
        int count = 0;
        while (count < PANEL && rows[count] >= 0) count++;
        uint8_t *blocks = lg_scratch(LG_SCRATCH_TASK, (size_t)(stride * (PANEL + TOGETHER + 1)));
        if (blocks == NULL) return LG_NO_MEMORY;
        const int status = read_rows(file, rows, count, stride, blocks, blocks + PANEL * stride);
        if (status != LG_OK) return status;
        interleave_panel(format, blocks, groups[panel], count, packed);
        packed += PANEL * stride;
    }
    return LG_OK;
}

struct lookup_task {
    const lg_weight_format *format;
    const int64_t *ids;
    const uint8_t *packed;
    lg_size C;
    float *y;
};

static int decode_rows(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const struct lookup_task *t = context;
    const lg_weight_format *f = t->format;
    const lg_size bytes = block_bytes(f), groups = groups_of(f, t->C);
    for (lg_size row = begin; row < end; row++)
        for (lg_size k = 0; k < t->C; k += SPAN) {
            const lg_size count = t->C - k < SPAN ? t->C - k : SPAN, j = t->ids[row] % PANEL;
            const uint8_t *from =
                t->packed + (t->ids[row] / PANEL * groups + k / f->group) * bytes * PANEL;
            uint8_t blocks[SPAN_BYTES] = {0}, *to = blocks;
            for (lg_size g = 0; g < groups_of(f, count); g++) {
                for (int i = 0; i < f->halves; i++, to += 2, from += 2 * PANEL)
                    memcpy(to, from + 2 * j, 2);
                for (int i = 0; i < f->words; i++, to += 4, from += 4 * PANEL)
                    memcpy(to, from + 4 * j, 4);
            }
            float w[SPAN];
            f->decode(blocks, w);
            memcpy(t->y + row * t->C + k, w, sizeof(float) * (size_t)count);
        }
    return LG_OK;
}

static int embedding_quantized(const int64_t *ids, const uint8_t *packed, int format,
                               lg_size count, lg_size V, lg_size C, float *y) {
    if (!ids_within(ids, count, V)) return LG_BAD_INDEX;
    struct lookup_task t = {&weight_formats[format], ids, packed, C, y};
    return lg_parallel(count, row_grain(C), decode_rows, &t);
}

#endif
