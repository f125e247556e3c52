/* The roster: every compiled kernel with its arguments, once. The struct of function pointers, the
   declarations in each instruction set's unit and its table are all made from this list.

   Arrays are dense unless strides stand beside them; sizes are in elements, checked by the caller
   (native.pyx). Letters: B T S C F H G D V M K N as in litegpt.kernels.reference. Optional arrays
   are NULL. Every kernel returns an lg_status. */
#ifndef LITEGPT_ROSTER_H
#define LITEGPT_ROSTER_H

#include <stddef.h>
#include <stdint.h>

#include "pool.h"

typedef ptrdiff_t lg_size;

/* A (B, T, H, D) array whose last axis is dense; the other strides are in elements. */
typedef struct {
    float *data;
    lg_size batch, time, head;
} lg_heads;

/* How the output of a linear layer is finished: activation(y + bias) + residual. */
enum lg_activation { LG_NONE, LG_GELU, LG_GELU_ERF, LG_RELU };
typedef struct {
    const float *bias;     /* (N) */
    const float *residual; /* (M, N) */
    int activation;
} lg_finish;

/* How weights are stored: the rows of litegpt.kernels.reference.weight_formats, in their order. */
#define LG_NUMBER_FORMATS(F) F(LG_FLOAT32) F(LG_BFLOAT16) F(LG_FLOAT16)
#define LG_CODE_FORMATS(F) F(LG_Q8) F(LG_Q5) F(LG_Q4) F(LG_Q4_0)
#define LG_FORMATS(F) LG_NUMBER_FORMATS(F) LG_CODE_FORMATS(F)
#define LG_NAME(name) name,
enum lg_format { LG_FORMATS(LG_NAME) };
#undef LG_NAME

/* Sampling rules for a row of logits. */
typedef struct {
    double temperature, top_p, min_p;
    lg_size top_k; /* 0: all */
} lg_sampling;

/* An additive mask for rows counted in three axes (outer, middle, inner); strides in elements. */
typedef struct {
    const float *data;
    lg_size middle, inner;                             /* sizes; outer follows from the rows */
    lg_size outer_stride, middle_stride, inner_stride; /* 0 where the mask is broadcast */
} lg_mask;

/* clang-format off */
#define LG_ROSTER(K)                                                                               \
    K(softmax, (const float *x, lg_mask mask, lg_size rows, lg_size width, float *y))              \
    K(softmax_backward, (const float *dy, const float *y, lg_size rows, lg_size width, float *dx)) \
    K(gelu, (const float *x, lg_size count, float *y))                                             \
    K(gelu_backward, (const float *dy, const float *x, lg_size count, float *dx))                  \
    K(gelu_erf, (const float *x, lg_size count, float *y))                                         \
    K(gelu_erf_backward, (const float *dy, const float *x, lg_size count, float *dx))              \
    K(relu, (const float *x, lg_size count, float *y))                                             \
    K(relu_backward, (const float *dy, const float *x, lg_size count, float *dx))                  \
    K(swiglu, (const float *x, lg_size rows, lg_size width, float *y))                             \
    K(swiglu_backward, (const float *dy, const float *x, lg_size rows, lg_size width, float *dx))  \
    K(layernorm, (const float *x, const float *gamma, const float *beta, float eps, lg_size rows,  \
                  lg_size width, float *y, float *mean, float *rstd))                              \
    K(layernorm_backward, (const float *dy, const float *x, const float *gamma, const float *mean, \
                           const float *rstd, const float *residual, lg_size rows,                 \
                           lg_size width, float *dgamma, float *dbeta, float *dx))                 \
    K(rmsnorm, (const float *x, const float *gamma, float eps, lg_size rows, lg_size width,        \
                float *y, float *rstd))                                                            \
    K(rmsnorm_backward, (const float *dy, const float *x, const float *gamma, const float *rstd,   \
                         const float *residual, lg_size rows, lg_size width, float *dgamma,        \
                         float *dx))                                                               \
    K(rotary, (lg_heads x, const float *cos, const float *sin, const int64_t *offsets, lg_size B,  \
               lg_size T, lg_size H, lg_size D, lg_size half, float direction, float *y))          \
    K(linear, (const float *x, const float *weight, int transposed, lg_finish finish,              \
               int precision, lg_size M, lg_size K, lg_size N, float *y))                          \
    K(linear_packed, (const float *x, const float *packed, lg_finish finish, lg_size M, lg_size K, \
                      lg_size N, float *y))                                                        \
    K(pack_linear, (const float *weight, int transposed, lg_size K, lg_size N, float *packed))     \
    K(quantize, (const float *weight, int format, int transposed, lg_size K, lg_size N,            \
                 uint8_t *blocks))                                                                 \
    K(pack_quantized, (const uint8_t *blocks, int format, lg_size groups, lg_size N,               \
                       uint8_t *packed))                                                           \
    K(read_quantized, (int file, const int64_t *rows, const int64_t *groups, int format,           \
                       lg_size panels, uint8_t *packed))                                           \
    K(linear_quantized, (const float *x, const uint8_t *packed, int format, lg_finish finish,      \
                         lg_size M, lg_size K, lg_size N, float *y))                               \
    K(embedding_quantized, (const int64_t *ids, const uint8_t *packed, int format, lg_size count,  \
                            lg_size V, lg_size C, float *y))                                       \
    K(linear_backward, (const float *dy, const float *x, const float *weight, int transposed,      \
                        int precision, lg_size M, lg_size K, lg_size N, int accumulate,            \
                        float *dweight, float *dbias, float *dx))                                  \
    K(matmul, (const float *a, const float *b, int transpose_a, int transpose_b, lg_size batch,    \
               lg_size M, lg_size K, lg_size N, float *c))                                         \
    K(embedding, (const int64_t *ids, const float *table, lg_size count, lg_size V, lg_size C,     \
                  float *y))                                                                       \
    K(add_positions, (const float *x, const float *table, const int64_t *offsets, lg_size B,       \
                      lg_size T, lg_size C, lg_size rows, float *y))                               \
    K(embedding_backward, (const float *dy, const int64_t *ids, lg_size count, lg_size V,          \
                           lg_size C, float *dtable))                                              \
    K(dropout, (const float *x, double p, uint64_t seed, lg_size count, float *y))                 \
    K(causal_attention, (lg_heads q, lg_heads k, lg_heads v, const float *key_mask, double dropout, \
                         uint64_t seed, lg_size B, lg_size T, lg_size S, lg_size H, lg_size G,     \
                         lg_size D, float *y, float *lse))                                         \
    K(causal_attention_backward, (const float *dy, lg_heads q, lg_heads k, lg_heads v,             \
                                  const float *y, const float *lse, const float *key_mask,         \
                                  double dropout, uint64_t seed, lg_size B, lg_size T, lg_size S,   \
                                  lg_size H, lg_size G, lg_size D, lg_heads dq, lg_heads dk,       \
                                  lg_heads dv))                                                    \
    K(cache_append, (lg_heads k, lg_heads v, float *keys, float *values, const int64_t *lengths,   \
                     lg_size B, lg_size T, lg_size S, lg_size G, lg_size D))                       \
    K(cached_attention, (lg_heads q, const float *keys, const float *values,                       \
                         const int64_t *lengths, lg_size B, lg_size T, lg_size S, lg_size H,       \
                         lg_size G, lg_size D, float *y))                                          \
    K(cross_entropy, (const float *logits, const int64_t *targets, int64_t ignore_index,           \
                      lg_size M, lg_size V, double *loss, float *lse))                             \
    K(cross_entropy_backward, (const float *logits, const int64_t *targets, const float *lse,      \
                               int64_t ignore_index, double scale, lg_size M, lg_size V,           \
                               float *dlogits))                                                    \
    K(adamw, (float *param, const float *grad, float *m, float *v, lg_size count, double step,     \
              double lr, double beta1, double beta2, double eps, double weight_decay,              \
              double scale))                                                                       \
    K(lion, (float *param, const float *grad, float *m, lg_size count, double lr, double beta1,     \
             double beta2, double weight_decay, double scale))                                     \
    K(sum_of_squares, (const float *x, lg_size count, double *sum))                                \
    K(sample, (const float *logits, const double *uniforms, lg_sampling rules, lg_size rows,       \
               lg_size V, int64_t *ids, float *logprobs, lg_size *bad_row))                        \
    K(probe_read, (const float *x, lg_size blocks, float *sums))                                   \
    K(probe_copy, (const float *x, lg_size count, float *y))                                       \
    K(probe_multiply_add, (const float *x, lg_size items, float *y, double *operations))           \
    K(probe_multiply_pairs, (const float *x, lg_size items, float *y, double *operations))         \
    K(probe_multiply_codes, (const float *x, int format, lg_size items, float *y,                  \
                             double *operations))
/* clang-format on */

#define LG_FIELD(name, arguments) int(*name) arguments;
typedef struct {
    const char *backend;
    LG_ROSTER(LG_FIELD)
} lg_kernels;
#undef LG_FIELD

/* dispatch.c: the tables that this processor can run, slowest first; and whether it multiplies
   numbers in bfloat16, which the last of them then does (kernels/pairs.h). */
int lg_backend_count(void);
const lg_kernels *lg_backend(int index);
int lg_multiplies_bfloat16(void);

#endif
