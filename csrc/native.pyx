# cython: language_level=3, binding=True, freethreading_compatible=False
# cython: boundscheck=False, wraparound=False
"""The compiled twin of litegpt.kernels.reference: the same names, arguments and results.

Only this file and what it includes know both C and Python. Every array is checked before C sees its
address: type, order, shape, and every index in it. What the kernels do is said in the reference.
"""

cimport numpy as cnp
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.math cimport sqrt

import numpy as np

from litegpt.kernels.reference.embedding import check_ids
from litegpt.kernels.reference.linear import check_activation, check_precision
from litegpt.kernels.reference.loss import kept_targets
from litegpt.kernels.reference.quantized import (
    FARTHEST_ROW,
    check_panels,
    check_weights,
    not_read,
    packed_shape,
)
from litegpt.kernels.reference.rotary import check_positions
from litegpt.kernels.reference.sampling import refusal
from litegpt.kernels.reference.weight_formats import FORMATS, weight_format

cnp.import_array()

ctypedef Py_ssize_t size

cdef extern from "pool.h" nogil:
    int LG_OK, LG_NO_MEMORY, LG_BAD_INDEX, LG_BAD_VALUE, LG_NOT_READ
    int LG_MAX_THREADS
    int lg_num_threads()
    void lg_set_num_threads(int count)

cdef extern from "blocks.h":
    size_t LG_SMALLEST_BLOCK
    void *lg_take_block(size_t bytes, size_t *capacity)
    void lg_give_block(void *memory, size_t capacity)

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident()
    void *PyMem_Realloc(void *memory, size_t bytes)
    void PyMem_Free(void *memory)

cdef extern from "roster.h" nogil:
    int LG_NONE, LG_GELU, LG_GELU_ERF, LG_RELU
    int LG_FLOAT32, LG_BFLOAT16
    ctypedef struct lg_heads:
        float *data
        size batch, time, head
    ctypedef struct lg_finish:
        const float *bias
        const float *residual
        int activation
    ctypedef struct lg_sampling:
        double temperature, top_p, min_p
        size top_k
    ctypedef struct lg_mask:
        const float *data
        size middle, inner
        size outer_stride, middle_stride, inner_stride
    ctypedef struct lg_kernels:
        const char *backend
        int (*softmax)(const float *, lg_mask, size, size, float *) noexcept nogil
        int (*softmax_backward)(const float *, const float *, size, size, float *) noexcept nogil
        int (*gelu)(const float *, size, float *) noexcept nogil
        int (*gelu_backward)(const float *, const float *, size, float *) noexcept nogil
        int (*gelu_erf)(const float *, size, float *) noexcept nogil
        int (*gelu_erf_backward)(const float *, const float *, size, float *) noexcept nogil
        int (*relu)(const float *, size, float *) noexcept nogil
        int (*relu_backward)(const float *, const float *, size, float *) noexcept nogil
        int (*swiglu)(const float *, size, size, float *) noexcept nogil
        int (*swiglu_backward)(const float *, const float *, size, size, float *) noexcept nogil
        int (*layernorm)(const float *, const float *, const float *, float, size, size, float *,
                         float *, float *) noexcept nogil
        int (*layernorm_backward)(const float *, const float *, const float *, const float *,
                                  const float *, const float *, size, size, float *, float *,
                                  float *) noexcept nogil
        int (*rmsnorm)(const float *, const float *, float, size, size, float *,
                       float *) noexcept nogil
        int (*rmsnorm_backward)(const float *, const float *, const float *, const float *,
                                const float *, size, size, float *, float *) noexcept nogil
        int (*rotary)(lg_heads, const float *, const float *, const int64_t *, size, size, size,
                      size, size, float, float *) noexcept nogil
        int (*linear)(const float *, const float *, int, lg_finish, int, size, size, size,
                      float *) noexcept nogil
        int (*linear_packed)(const float *, const float *, lg_finish, size, size, size,
                             float *) noexcept nogil
        int (*pack_linear)(const float *, int, size, size, float *) noexcept nogil
        int (*quantize)(const float *, int, int, size, size, uint8_t *) noexcept nogil
        int (*pack_quantized)(const uint8_t *, int, size, size, uint8_t *) noexcept nogil
        int (*read_quantized)(int, const int64_t *, const int64_t *, int, size,
                              uint8_t *) noexcept nogil
        int (*linear_quantized)(const float *, const uint8_t *, int, lg_finish, size, size, size,
                                float *) noexcept nogil
        int (*embedding_quantized)(const int64_t *, const uint8_t *, int, size, size, size,
                                   float *) noexcept nogil
        int (*linear_backward)(const float *, const float *, const float *, int, int, size, size,
                               size, int, float *, float *, float *) noexcept nogil
        int (*matmul)(const float *, const float *, int, int, size, size, size, size,
                      float *) noexcept nogil
        int (*embedding)(const int64_t *, const float *, size, size, size, float *) noexcept nogil
        int (*add_positions)(const float *, const float *, const int64_t *, size, size, size,
                             size, float *) noexcept nogil
        int (*embedding_backward)(const float *, const int64_t *, size, size, size,
                                  float *) noexcept nogil
        int (*dropout)(const float *, double, uint64_t, size, float *) noexcept nogil
        int (*causal_attention)(lg_heads, lg_heads, lg_heads, const float *, double, uint64_t,
                                size, size, size, size, size, size, float *,
                                float *) noexcept nogil
        int (*causal_attention_backward)(const float *, lg_heads, lg_heads, lg_heads,
                                         const float *, const float *, const float *, double,
                                         uint64_t, size, size, size, size, size, size, lg_heads,
                                         lg_heads, lg_heads) noexcept nogil
        int (*cache_append)(lg_heads, lg_heads, float *, float *, const int64_t *, size, size,
                            size, size, size) noexcept nogil
        int (*cached_attention)(lg_heads, const float *, const float *, const int64_t *, size,
                                size, size, size, size, size, float *) noexcept nogil
        int (*cross_entropy)(const float *, const int64_t *, int64_t, size, size, double *,
                             float *) noexcept nogil
        int (*cross_entropy_backward)(const float *, const int64_t *, const float *, int64_t,
                                      double, size, size, float *) noexcept nogil
        int (*adamw)(float *, const float *, float *, float *, size, double, double, double,
                     double, double, double, double) noexcept nogil
        int (*lion)(float *, const float *, float *, size, double, double, double, double,
                    double) noexcept nogil
        int (*sum_of_squares)(const float *, size, double *) noexcept nogil
        int (*sample)(const float *, const double *, lg_sampling, size, size, int64_t *, float *,
                      size *) noexcept nogil
        int (*probe_read)(const float *, size, float *) noexcept nogil
        int (*probe_copy)(const float *, size, float *) noexcept nogil
        int (*probe_multiply_add)(const float *, size, float *, double *) noexcept nogil
        int (*probe_multiply_pairs)(const float *, size, float *, double *) noexcept nogil
        int (*probe_multiply_codes)(const float *, int, size, float *, double *) noexcept nogil
    int lg_backend_count()
    const lg_kernels *lg_backend(int index)
    int lg_multiplies_bfloat16()

cdef const lg_kernels *chosen = lg_backend(lg_backend_count() - 1)


# Backends and threads, for litegpt.kernels

def backends():
    """The compiled rungs that this processor can run, slowest first."""
    return [lg_backend(i).backend.decode() for i in range(lg_backend_count())]


def select(str name):
    """Puts a rung to use; the name is one of backends()."""
    global chosen
    chosen = lg_backend(backends().index(name))


def multiplies_bfloat16():
    """Whether the rung in use has an instruction for products of bfloat16."""
    return bool(chosen == lg_backend(lg_backend_count() - 1) and lg_multiplies_bfloat16())


def num_threads():
    """Threads that a kernel may use."""
    return lg_num_threads()


def set_num_threads(int count):
    """Sets the threads that a kernel may use, from 1 on."""
    lg_set_num_threads(count)


include "native/arrays.pxi"
include "native/programs.pxi"
include "native/elementwise.pxi"
include "native/layers.pxi"
include "native/products.pxi"
include "native/attention.pxi"
include "native/outputs.pxi"
include "native/probes.pxi"
