# cython: language_level=3, binding=True, freethreading_compatible=False
# cython: boundscheck=False, wraparound=False
"""The compiled twin of litegpt.kernels.reference: the same names, arguments and results.

This file alone knows both C and Python. It checks every array before C sees its address: type,
order, shape, and every index in it. What the kernels do is said in the reference.
"""

cimport numpy as cnp
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.math cimport sqrt

import numpy as np

from litegpt.kernels.reference.embedding import check_ids
from litegpt.kernels.reference.loss import kept_targets
from litegpt.kernels.reference.quantized import check_weights, packed_shape
from litegpt.kernels.reference.rotary import check_positions
from litegpt.kernels.reference.sampling import refusal
from litegpt.kernels.reference.weight_formats import FORMATS, weight_format

cnp.import_array()

ctypedef Py_ssize_t size

cdef extern from "pool.h" nogil:
    int LG_OK, LG_NO_MEMORY, LG_BAD_INDEX, LG_BAD_VALUE
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
                                  const float *, size, size, float *, float *,
                                  float *) noexcept nogil
        int (*rmsnorm)(const float *, const float *, float, size, size, float *,
                       float *) noexcept nogil
        int (*rmsnorm_backward)(const float *, const float *, const float *, const float *, size,
                                size, float *, float *) noexcept nogil
        int (*rotary)(lg_heads, const float *, const float *, const int64_t *, size, size, size,
                      size, size, float, float *) noexcept nogil
        int (*linear)(const float *, const float *, int, lg_finish, size, size, size,
                      float *) noexcept nogil
        int (*linear_packed)(const float *, const float *, lg_finish, size, size, size,
                             float *) noexcept nogil
        int (*pack_linear)(const float *, int, size, size, float *) noexcept nogil
        int (*quantize)(const float *, int, int, size, size, uint8_t *) noexcept nogil
        int (*pack_quantized)(const uint8_t *, int, size, size, uint8_t *) noexcept nogil
        int (*linear_quantized)(const float *, const uint8_t *, int, lg_finish, size, size, size,
                                float *) noexcept nogil
        int (*embedding_quantized)(const int64_t *, const uint8_t *, int, size, size, size,
                                   float *) noexcept nogil
        int (*linear_backward)(const float *, const float *, const float *, int, size, size, size,
                               float *, float *, float *) noexcept nogil
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
        int (*sum_of_squares)(const float *, size, double *) noexcept nogil
        int (*sample)(const float *, const double *, lg_sampling, size, size, int64_t *, float *,
                      size *) noexcept nogil
        int (*probe_read)(const float *, size, float *) noexcept nogil
        int (*probe_copy)(const float *, size, float *) noexcept nogil
        int (*probe_multiply_add)(const float *, size, float *, double *) noexcept nogil
    int lg_backend_count()
    const lg_kernels *lg_backend(int index)

cdef const lg_kernels *chosen = lg_backend(lg_backend_count() - 1)


# Backends and threads, for litegpt.kernels

def backends():
    """The compiled rungs that this processor can run, slowest first."""
    return [lg_backend(i).backend.decode() for i in range(lg_backend_count())]


def select(str name):
    """Puts a rung to use; the name is one of backends()."""
    global chosen
    chosen = lg_backend(backends().index(name))


def num_threads():
    """Threads that a kernel may use."""
    return lg_num_threads()


def set_num_threads(int count):
    """Sets the threads that a kernel may use, from 1 on."""
    lg_set_num_threads(count)


# What comes in is checked by these

cdef object wrong_type(object a, str name, str wanted):
    if not isinstance(a, np.ndarray):
        found = type(a).__name__
    else:
        order = "" if a.flags.c_contiguous else " that isn't C-contiguous"
        found = f"{a.dtype} array{order}"
    return TypeError(f"{name} must be a {wanted}, not {found}")


cdef object wrong_shape(object a, str name, str wanted):
    return ValueError(f"{name} must have shape {wanted}, not {a.shape}")


cdef inline bint is_array(object a, int type_number):
    return (cnp.PyArray_Check(a) and cnp.PyArray_TYPE(a) == type_number
            and cnp.PyArray_ISCARRAY_RO(a))


cdef inline float *floats(object a, str name) except NULL:
    """A C-contiguous float32 array of any shape."""
    if not is_array(a, cnp.NPY_FLOAT32):
        raise wrong_type(a, name, "C-contiguous float32 array")
    return <float *>cnp.PyArray_DATA(a)


cdef inline float *floats_like(object a, str name, object like, str like_name) except NULL:
    """One with the shape of another array."""
    cdef float *data = floats(a, name)
    if not cnp.PyArray_SAMESHAPE(a, like):
        raise wrong_shape(a, name, f"{like.shape}, that of {like_name},")
    return data


cdef inline float *vector(object a, str name, size length) except NULL:
    """One with `length` entries along one axis."""
    cdef float *data = floats(a, name)
    if cnp.PyArray_NDIM(a) != 1 or cnp.PyArray_DIM(a, 0) != length:
        raise wrong_shape(a, name, f"({length},)")
    return data


cdef inline float *matrix(object a, str name) except NULL:
    """One with two axes."""
    cdef float *data = floats(a, name)
    if cnp.PyArray_NDIM(a) != 2:
        raise wrong_shape(a, name, "(rows, columns)")
    return data


cdef inline float *writable(object a, float *data, str name) except NULL:
    if not cnp.PyArray_ISWRITEABLE(a):
        raise ValueError(f"{name} is read-only")
    return data


cdef inline int64_t *integers(object a, str name, size length) except NULL:
    """A C-contiguous int64 array with `length` entries in all (-1: any number)."""
    if not is_array(a, cnp.NPY_INT64):
        raise wrong_type(a, name, "C-contiguous int64 array")
    if length >= 0 and (cnp.PyArray_NDIM(a) != 1 or cnp.PyArray_DIM(a, 0) != length):
        raise wrong_shape(a, name, f"({length},)")
    return <int64_t *>cnp.PyArray_DATA(a)


cdef lg_heads heads(object a, str name) except *:
    """A float32 array (batch, time, heads, width) whose last axis is dense."""
    cdef lg_heads h
    cdef cnp.npy_intp *strides
    if not cnp.PyArray_Check(a) or cnp.PyArray_TYPE(a) != cnp.NPY_FLOAT32 \
            or not cnp.PyArray_ISBEHAVED_RO(a):
        raise wrong_type(a, name, "float32 array")
    if cnp.PyArray_NDIM(a) != 4 or cnp.PyArray_DIM(a, 3) < 1:
        raise wrong_shape(a, name, "(batch, time, heads, width)")
    strides = cnp.PyArray_STRIDES(a)
    if cnp.PyArray_SIZE(a) > 0 and (
        cnp.PyArray_DIM(a, 3) > 1 and strides[3] != 4
        or strides[0] % 4 or strides[1] % 4 or strides[2] % 4
    ):  # the strides of an array without entries mean nothing
        raise TypeError(f"{name} must be dense along its last axis")
    h.data = <float *>cnp.PyArray_DATA(a)
    h.batch, h.time, h.head = strides[0] // 4, strides[1] // 4, strides[2] // 4
    return h


cdef inline size last(object a, str name) except -1:
    """The length of the last axis."""
    if cnp.PyArray_NDIM(a) < 1:
        raise wrong_shape(a, name, "(..., width)")
    return cnp.PyArray_DIM(a, cnp.PyArray_NDIM(a) - 1)


cdef inline size rows_of(object a, size width):
    """The number of rows, the last axis being `width` long."""
    cdef size rows = 1
    cdef int i
    for i in range(cnp.PyArray_NDIM(a) - 1):
        rows *= cnp.PyArray_DIM(a, i)
    return rows


cdef class Block:
    """Memory of an array, given back when the last view of it is gone."""
    cdef void *memory
    cdef size_t capacity

    def __dealloc__(self):
        if self.memory != NULL:
            lg_give_block(self.memory, self.capacity)


cdef cnp.ndarray new_array(int axes, cnp.npy_intp *dims):
    """A new float32 array, content undefined; a large one stands in memory used before."""
    cdef size_t count = 1
    cdef int i
    for i in range(axes):
        if dims[i] > 0 and count > (<size_t>1 << 60) // <size_t>dims[i]:
            raise MemoryError("an array of more than 2^60 entries")
        count *= <size_t>dims[i]
    if count * 4 < LG_SMALLEST_BLOCK:
        return cnp.PyArray_SimpleNew(axes, dims, cnp.NPY_FLOAT32)
    cdef Block block = Block()
    block.memory = lg_take_block(count * 4, &block.capacity)
    if block.memory == NULL:
        raise MemoryError(f"no memory for an array of {count * 4} bytes")
    cdef cnp.ndarray a = cnp.PyArray_SimpleNewFromData(axes, dims, cnp.NPY_FLOAT32, block.memory)
    cnp.set_array_base(a, block)
    return a


cdef inline cnp.ndarray empty_like(object a):
    return new_array(cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a))


cdef cnp.ndarray empty_with(object a, int kept, size length):
    """A new array: the first `kept` axes of a, then, unless it is -1, one of `length`."""
    cdef cnp.npy_intp dims[33]
    cdef int i
    if kept > 32:
        raise ValueError("arrays of more than 32 axes are not supported")
    for i in range(kept):
        dims[i] = cnp.PyArray_DIM(a, i)
    dims[kept] = length
    return new_array(kept + (length >= 0), dims)


cdef inline float *data_of(cnp.ndarray a) noexcept nogil:
    return <float *>cnp.PyArray_DATA(a)


cdef inline int finish(int status) except -1:
    """An exception for a status that says something is wrong."""
    if recording is not None and PyThread_get_thread_ident() == recording.thread:
        recording.met += 1
    if status == LG_OK:
        return 0
    if status == LG_NO_MEMORY:
        raise MemoryError("no memory for a kernel's work arrays")
    raise ValueError("a kernel met an index or a value that it can't work with")


cdef inline bint inside(const int64_t *values, size count, int64_t low,
                        int64_t high) noexcept nogil:
    """Whether all values are from low to high - 1."""
    cdef size i
    for i in range(count):
        if not low <= values[i] < high:
            return False
    return True


cdef int room_for(object offsets, const int64_t *values, size count, size length,
                  size rows) except -1:
    """IndexError unless `length` positions from each offset on are below rows."""
    if length > 0 and not (length <= rows and inside(values, count, 0, rows - length + 1)):
        check_positions(offsets, length, rows)
    return 0


# Programs: kernel calls recorded once, then made again without Python

cdef enum Recorded:
    ADD_POSITIONS
    CACHE_APPEND
    CACHED_ATTENTION
    EMBEDDING
    EMBEDDING_QUANTIZED
    LAYERNORM
    LINEAR_PACKED
    LINEAR_QUANTIZED
    RMSNORM
    ROTARY
    SWIGLU

cdef struct Call:
    Recorded kernel
    lg_heads q, k, v
    const float *x
    const float *weight
    const float *bias
    const int64_t *ids
    const uint8_t *packed
    int format
    lg_finish finish
    float eps
    float *y
    float *y2
    float *y3
    size B, T, S, H, G, D  # or, of fewer axes: the first ones


cdef int call_kernel(const Call *c) noexcept nogil:
    """What the wrappers of the recorded kernels do once their arguments are checked."""
    if c.kernel == LINEAR_PACKED:
        return chosen.linear_packed(c.x, c.weight, c.finish, c.B, c.T, c.S, c.y)
    if c.kernel == LINEAR_QUANTIZED:
        return chosen.linear_quantized(c.x, c.packed, c.format, c.finish, c.B, c.T, c.S, c.y)
    if c.kernel == LAYERNORM:
        return chosen.layernorm(c.x, c.weight, c.bias, c.eps, c.B, c.T, c.y, c.y2, c.y3)
    if c.kernel == RMSNORM:
        return chosen.rmsnorm(c.x, c.weight, c.eps, c.B, c.T, c.y, c.y2)
    if c.kernel == SWIGLU:
        return chosen.swiglu(c.x, c.B, c.T, c.y)
    if c.kernel == EMBEDDING:
        return chosen.embedding(c.ids, c.x, c.B, c.T, c.S, c.y)
    if c.kernel == EMBEDDING_QUANTIZED:
        return chosen.embedding_quantized(c.ids, c.packed, c.format, c.B, c.T, c.S, c.y)
    if c.kernel == ADD_POSITIONS:
        return chosen.add_positions(c.x, c.weight, c.ids, c.B, c.T, c.S, c.H, c.y)
    # The others leave positions to their caller: in a program they move on from run to run.
    if c.T > 0 and not (c.T <= c.S and inside(c.ids, c.B, 0, c.S - c.T + 1)):
        return LG_BAD_INDEX
    if c.kernel == ROTARY:
        return chosen.rotary(c.q, c.weight, c.bias, c.ids, c.B, c.T, c.H, c.D, c.G, c.eps, c.y)
    if c.kernel == CACHE_APPEND:
        return chosen.cache_append(c.k, c.v, c.y, c.y2, c.ids, c.B, c.T, c.S, c.G, c.D)
    return chosen.cached_attention(c.q, c.x, c.weight, c.ids, c.B, c.T, c.S, c.H, c.G, c.D, c.y)


cdef Program recording = None


cdef class Program:
    """`with program:` records the kernels that this thread calls; run() calls them again.

    They read and write the arrays of the recording, which the program keeps: what is to differ
    is written into these arrays beforehand. `complete` says that all the kernels called were of a
    kind that can be recorded; NumPy's own work in between is not seen. One program records at a
    time, another stays incomplete.
    """
    cdef Call *calls
    cdef size count, room
    cdef list arrays
    cdef unsigned long thread
    cdef size met  # kernels called while recording
    cdef readonly bint complete

    def __cinit__(self):
        self.arrays = []

    def __dealloc__(self):
        PyMem_Free(self.calls)

    def __enter__(self):
        global recording
        self.complete = False
        self.count = self.met = 0
        self.arrays.clear()
        if recording is None:
            self.thread = PyThread_get_thread_ident()
            recording = self
        return self

    def __exit__(self, error, *_):
        global recording
        if recording is self:
            recording = None
            self.complete = error is None and 0 < self.count == self.met

    cdef int add(self, const Call *call, tuple arrays) except -1:
        cdef Call *calls
        if PyThread_get_thread_ident() != self.thread:
            return 0
        if self.count == self.room:
            calls = <Call *>PyMem_Realloc(self.calls, 2 * (self.room + 16) * sizeof(Call))
            if calls == NULL:
                raise MemoryError
            self.calls, self.room = calls, 2 * (self.room + 16)
        self.calls[self.count] = call[0]
        self.count += 1
        self.arrays.append(arrays)
        return 0

    def run(self):
        """Calls the recorded kernels again; IndexError where an id or a position is outside."""
        if not self.complete:
            raise RuntimeError("the program is not complete")
        cdef int status = LG_OK
        cdef size i
        with nogil:
            for i in range(self.count):
                status = call_kernel(&self.calls[i])
                if status != LG_OK:
                    break
        if status == LG_BAD_INDEX:
            raise IndexError("a recorded step met an id outside its table or a full cache")
        finish(status)


cdef int perform(const Call *call, tuple arrays) except -1:
    """Calls a kernel, and records the call if this thread is recording."""
    cdef int status
    with nogil:
        status = call_kernel(call)
    finish(status)
    if recording is not None:
        recording.add(call, arrays)
    return 0


# Softmax

def softmax(x, mask=None):
    cdef float *px = floats(x, "x")
    cdef size width = last(x, "x"), rows = rows_of(x, width)
    cdef int axes = cnp.PyArray_NDIM(x)
    cdef lg_mask m
    cdef cnp.npy_intp *strides
    m.data = NULL
    m.middle = m.inner = 1
    m.outer_stride = m.middle_stride = m.inner_stride = 0
    if mask is not None:
        if axes > 4:
            raise wrong_shape(x, "x", "of at most four axes, with a mask,")
        floats(mask, "mask")
        if last(mask, "mask") != width:
            raise wrong_shape(mask, "mask", f"(..., {width})")
        mask = np.broadcast_to(mask, x.shape)
        strides = cnp.PyArray_STRIDES(mask)
        m.data = <float *>cnp.PyArray_DATA(mask)
        if axes > 1:
            m.inner, m.inner_stride = cnp.PyArray_DIM(x, axes - 2), strides[axes - 2] // 4
        if axes > 2:
            m.middle, m.middle_stride = cnp.PyArray_DIM(x, axes - 3), strides[axes - 3] // 4
        if axes > 3:
            m.outer_stride = strides[0] // 4
    cdef cnp.ndarray y = empty_like(x)
    cdef int status
    with nogil:
        status = chosen.softmax(px, m, rows, width, data_of(y))
    finish(status)
    return y


def softmax_backward(dy, y):
    cdef float *py = floats(y, "y")
    cdef float *pdy = floats_like(dy, "dy", y, "y")
    cdef size width = last(y, "y"), rows = rows_of(y, width)
    cdef cnp.ndarray dx = empty_like(y)
    cdef int status
    with nogil:
        status = chosen.softmax_backward(pdy, py, rows, width, data_of(dx))
    finish(status)
    return dx


# Activations

ctypedef int (*value_kernel)(const float *, size, float *) noexcept nogil
ctypedef int (*slope_kernel)(const float *, const float *, size, float *) noexcept nogil


cdef cnp.ndarray elementwise(value_kernel kernel, object x):
    cdef float *px = floats(x, "x")
    cdef size count = cnp.PyArray_SIZE(x)
    cdef cnp.ndarray y = empty_like(x)
    cdef int status
    with nogil:
        status = kernel(px, count, data_of(y))
    finish(status)
    return y


cdef cnp.ndarray elementwise_backward(slope_kernel kernel, object dy, object x):
    cdef float *px = floats(x, "x")
    cdef float *pdy = floats_like(dy, "dy", x, "x")
    cdef size count = cnp.PyArray_SIZE(x)
    cdef cnp.ndarray dx = empty_like(x)
    cdef int status
    with nogil:
        status = kernel(pdy, px, count, data_of(dx))
    finish(status)
    return dx


def gelu(x):
    return elementwise(chosen.gelu, x)


def gelu_backward(dy, x):
    return elementwise_backward(chosen.gelu_backward, dy, x)


def gelu_erf(x):
    return elementwise(chosen.gelu_erf, x)


def gelu_erf_backward(dy, x):
    return elementwise_backward(chosen.gelu_erf_backward, dy, x)


def relu(x):
    return elementwise(chosen.relu, x)


def relu_backward(dy, x):
    return elementwise_backward(chosen.relu_backward, dy, x)


def swiglu(x):
    cdef float *px = floats(x, "x")
    cdef size width = last(x, "x"), rows = rows_of(x, width)
    if width % 2:
        raise wrong_shape(x, "x", "(..., an even number)")
    cdef cnp.ndarray y = empty_with(x, cnp.PyArray_NDIM(x) - 1, width // 2)
    cdef Call c
    c.kernel, c.x, c.B, c.T, c.y = SWIGLU, px, rows, width // 2, data_of(y)
    perform(&c, (x, y))
    return y


def swiglu_backward(dy, x):
    cdef float *px = floats(x, "x")
    cdef float *pdy = floats(dy, "dy")
    cdef size width = last(x, "x"), rows = rows_of(x, width)
    if last(dy, "dy") * 2 != width or rows_of(dy, width // 2) != rows:
        raise wrong_shape(dy, "dy", f"(..., {width // 2}), half of x's {x.shape},")
    cdef cnp.ndarray dx = empty_like(x)
    cdef int status
    with nogil:
        status = chosen.swiglu_backward(pdy, px, rows, width // 2, data_of(dx))
    finish(status)
    return dx


# Normalisation

def layernorm(x, gamma, beta=None, double eps=1e-5):
    cdef float *px = floats(x, "x")
    cdef size width = last(x, "x"), rows = rows_of(x, width)
    cdef float *pgamma = vector(gamma, "gamma", width)
    cdef float *pbeta = NULL if beta is None else vector(beta, "beta", width)
    cdef cnp.ndarray y = empty_like(x)
    cdef cnp.ndarray mean = empty_with(x, cnp.PyArray_NDIM(x) - 1, -1)
    cdef cnp.ndarray rstd = empty_like(mean)
    cdef Call c
    c.kernel, c.x, c.weight, c.bias, c.eps = LAYERNORM, px, pgamma, pbeta, <float>eps
    c.B, c.T, c.y, c.y2, c.y3 = rows, width, data_of(y), data_of(mean), data_of(rstd)
    perform(&c, (x, gamma, beta, y, mean, rstd))
    return y, mean, rstd


def layernorm_backward(dy, x, gamma, mean, rstd, dgamma, dbeta=None):
    cdef float *px = floats(x, "x")
    cdef float *pdy = floats_like(dy, "dy", x, "x")
    cdef size width = last(x, "x"), rows = rows_of(x, width)
    cdef float *pgamma = vector(gamma, "gamma", width)
    cdef float *pmean = per_row(mean, "mean", rows)
    cdef float *prstd = per_row(rstd, "rstd", rows)
    cdef float *pdgamma = writable(dgamma, vector(dgamma, "dgamma", width), "dgamma")
    cdef float *pdbeta = NULL
    if dbeta is not None:
        pdbeta = writable(dbeta, vector(dbeta, "dbeta", width), "dbeta")
    cdef cnp.ndarray dx = empty_like(x)
    cdef int status
    with nogil:
        status = chosen.layernorm_backward(pdy, px, pgamma, pmean, prstd, rows, width, pdgamma,
                                           pdbeta, data_of(dx))
    finish(status)
    return dx


cdef float *per_row(object a, str name, size rows) except NULL:
    cdef float *data = floats(a, name)
    if cnp.PyArray_SIZE(a) != rows:
        raise ValueError(f"{name} must have one value for each of the {rows} rows, "
                         f"not {cnp.PyArray_SIZE(a)}")
    return data


def rmsnorm(x, gamma, double eps=1e-5):
    cdef float *px = floats(x, "x")
    cdef size width = last(x, "x"), rows = rows_of(x, width)
    cdef float *pgamma = vector(gamma, "gamma", width)
    cdef cnp.ndarray y = empty_like(x)
    cdef cnp.ndarray rstd = empty_with(x, cnp.PyArray_NDIM(x) - 1, -1)
    cdef Call c
    c.kernel, c.x, c.weight, c.eps = RMSNORM, px, pgamma, <float>eps
    c.B, c.T, c.y, c.y2 = rows, width, data_of(y), data_of(rstd)
    perform(&c, (x, gamma, y, rstd))
    return y, rstd


def rmsnorm_backward(dy, x, gamma, rstd, dgamma):
    cdef float *px = floats(x, "x")
    cdef float *pdy = floats_like(dy, "dy", x, "x")
    cdef size width = last(x, "x"), rows = rows_of(x, width)
    cdef float *pgamma = vector(gamma, "gamma", width)
    cdef float *prstd = per_row(rstd, "rstd", rows)
    cdef float *pdgamma = writable(dgamma, vector(dgamma, "dgamma", width), "dgamma")
    cdef cnp.ndarray dx = empty_like(x)
    cdef int status
    with nogil:
        status = chosen.rmsnorm_backward(pdy, px, pgamma, prstd, rows, width, pdgamma, data_of(dx))
    finish(status)
    return dx


# Rotary positions

cdef cnp.ndarray rotate(object x, str name, object cos, object sin, object offsets,
                        float direction):
    cdef lg_heads px = heads(x, name)
    cdef float *pcos = matrix(cos, "cos")
    cdef float *psin = floats_like(sin, "sin", cos, "cos")
    cdef size B = cnp.PyArray_DIM(x, 0), T = cnp.PyArray_DIM(x, 1)
    cdef size H = cnp.PyArray_DIM(x, 2), D = cnp.PyArray_DIM(x, 3)
    cdef size half = cnp.PyArray_DIM(cos, 1)
    cdef int64_t *poffsets = integers(offsets, "offsets", B)
    if 2 * half > D:
        raise wrong_shape(cos, "cos", f"(positions, at most {D // 2})")
    cdef size rows = cnp.PyArray_DIM(cos, 0)
    room_for(offsets, poffsets, B, T, rows)
    cdef cnp.ndarray y = empty_like(x)
    cdef Call c
    c.kernel, c.q, c.weight, c.bias, c.ids, c.eps = ROTARY, px, pcos, psin, poffsets, direction
    c.B, c.T, c.S, c.H, c.G, c.D, c.y = B, T, rows, H, half, D, data_of(y)
    perform(&c, (x, cos, sin, offsets, y))
    return y


def rotary(x, cos, sin, offsets):
    return rotate(x, "x", cos, sin, offsets, 1)


def rotary_backward(dy, cos, sin, offsets):
    return rotate(dy, "dy", cos, sin, offsets, -1)


# Matrix products

cdef lg_finish finish_of(object bias, object residual, object activation, size rows,
                         size outputs) except *:
    cdef lg_finish f
    f.bias = NULL if bias is None else vector(bias, "bias", outputs)
    f.residual = NULL
    if residual is not None:
        f.residual = floats(residual, "residual")
        if last(residual, "residual") != outputs or rows_of(residual, outputs) != rows:
            raise wrong_shape(residual, "residual", f"of {rows} rows of {outputs}")
    if activation is None:
        f.activation = LG_NONE
    elif activation == "gelu":
        f.activation = LG_GELU
    elif activation == "gelu_erf":
        f.activation = LG_GELU_ERF
    elif activation == "relu":
        f.activation = LG_RELU
    else:
        raise KeyError(activation)
    return f


def linear(x, weight, bias=None, residual=None, activation=None, bint transposed=False):
    cdef float *px = floats(x, "x")
    cdef float *pweight = matrix(weight, "weight")
    cdef size K = last(x, "x"), M = rows_of(x, K)
    cdef size N = cnp.PyArray_DIM(weight, 0 if transposed else 1)
    if cnp.PyArray_DIM(weight, 1 if transposed else 0) != K:
        raise wrong_shape(weight, "weight", f"(outputs, {K})" if transposed else f"({K}, outputs)")
    cdef lg_finish f = finish_of(bias, residual, activation, M, N)
    cdef cnp.ndarray y = empty_with(x, cnp.PyArray_NDIM(x) - 1, N)
    cdef int status
    with nogil:
        status = chosen.linear(px, pweight, transposed, f, M, K, N, data_of(y))
    finish(status)
    return y


def linear_backward(dy, x, weight, dweight, dbias=None, bint transposed=False):
    cdef float *px = floats(x, "x")
    cdef float *pdy = floats(dy, "dy")
    cdef float *pweight = matrix(weight, "weight")
    cdef size K = last(x, "x"), M = rows_of(x, K)
    cdef size N = cnp.PyArray_DIM(weight, 0 if transposed else 1)
    if cnp.PyArray_DIM(weight, 1 if transposed else 0) != K:
        raise wrong_shape(weight, "weight", f"(outputs, {K})" if transposed else f"({K}, outputs)")
    if last(dy, "dy") != N or rows_of(dy, N) != M:
        raise wrong_shape(dy, "dy", f"of {M} rows of {N}")
    cdef float *pdweight = writable(dweight, floats_like(dweight, "dweight", weight, "weight"),
                                    "dweight")
    cdef float *pdbias = NULL
    if dbias is not None:
        pdbias = writable(dbias, vector(dbias, "dbias", N), "dbias")
    cdef cnp.ndarray dx = empty_like(x)
    cdef int status
    with nogil:
        status = chosen.linear_backward(pdy, px, pweight, transposed, M, K, N, pdweight, pdbias,
                                        data_of(dx))
    finish(status)
    return dx


def pack_linear(weight, bint transposed=False):
    cdef float *pweight = matrix(weight, "weight")
    cdef size N = cnp.PyArray_DIM(weight, 0 if transposed else 1)
    cdef size K = cnp.PyArray_DIM(weight, 1 if transposed else 0)
    cdef cnp.npy_intp dims[3]
    dims[0], dims[1], dims[2] = (N + 31) // 32, K, 32
    cdef cnp.ndarray packed = new_array(3, dims)
    cdef int status
    with nogil:
        status = chosen.pack_linear(pweight, transposed, K, N, data_of(packed))
    finish(status)
    return packed


def linear_packed(x, packed, size outputs, bias=None, residual=None, activation=None):
    cdef float *px = floats(x, "x")
    cdef float *ppacked = floats(packed, "packed")
    cdef size K = last(x, "x"), M = rows_of(x, K)
    if cnp.PyArray_NDIM(packed) != 3 or cnp.PyArray_DIM(packed, 0) != (outputs + 31) // 32 \
            or cnp.PyArray_DIM(packed, 1) != K or cnp.PyArray_DIM(packed, 2) != 32:
        raise wrong_shape(packed, "packed", f"({(outputs + 31) // 32}, {K}, 32)")
    cdef lg_finish f = finish_of(bias, residual, activation, M, outputs)
    cdef cnp.ndarray y = empty_with(x, cnp.PyArray_NDIM(x) - 1, outputs)
    cdef Call c
    c.kernel, c.x, c.weight, c.finish = LINEAR_PACKED, px, ppacked, f
    c.B, c.T, c.S, c.y = M, K, outputs, data_of(y)
    perform(&c, (x, packed, bias, residual, y))
    return y


def matmul(a, b, bint transpose_a=False, bint transpose_b=False):
    cdef float *pa = floats(a, "a")
    cdef float *pb = floats(b, "b")
    cdef int axes = cnp.PyArray_NDIM(a), i
    if axes < 2:
        raise wrong_shape(a, "a", "(..., rows, columns)")
    cdef size M = cnp.PyArray_DIM(a, axes - 1 if transpose_a else axes - 2)
    cdef size K = cnp.PyArray_DIM(a, axes - 2 if transpose_a else axes - 1)
    cdef bint fits = cnp.PyArray_NDIM(b) == axes \
        and cnp.PyArray_DIM(b, axes - 1 if transpose_b else axes - 2) == K
    cdef size batch = 1
    for i in range(axes - 2):
        batch *= cnp.PyArray_DIM(a, i)
        fits = fits and cnp.PyArray_DIM(a, i) == cnp.PyArray_DIM(b, i)
    if not fits:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} don't fit "
                         f"(transpose_a={transpose_a}, transpose_b={transpose_b})")
    cdef size N = cnp.PyArray_DIM(b, axes - 2 if transpose_b else axes - 1)
    cdef cnp.npy_intp dims[32]
    for i in range(axes - 2):
        dims[i] = cnp.PyArray_DIM(a, i)
    dims[axes - 2], dims[axes - 1] = M, N
    cdef cnp.ndarray c = new_array(axes, dims)
    cdef int status
    with nogil:
        status = chosen.matmul(pa, pb, transpose_a, transpose_b, batch, M, K, N, data_of(c))
    finish(status)
    return c


# Weights in fewer bits

FORMAT_NUMBERS = {name: number for number, name in enumerate(FORMATS)}  # as in roster.h


cdef inline uint8_t *bytes_of(object a, str name) except NULL:
    """A C-contiguous uint8 array of any shape."""
    if not is_array(a, cnp.NPY_UINT8):
        raise wrong_type(a, name, "C-contiguous uint8 array")
    return <uint8_t *>cnp.PyArray_DATA(a)


cdef uint8_t *panels_of(object packed, object form, size inputs, size outputs) except NULL:
    """Weights that pack_quantized made for a layer of these sizes."""
    cdef uint8_t *data = bytes_of(packed, "packed")
    cdef size rows, width
    rows, width = packed_shape(form, inputs, outputs)
    if cnp.PyArray_NDIM(packed) != 2 or cnp.PyArray_DIM(packed, 0) != rows \
            or cnp.PyArray_DIM(packed, 1) != width:
        raise wrong_shape(packed, "packed", f"({rows}, {width})")
    return data


def quantize(weight, format, bint transposed=False):
    form = weight_format(format)
    cdef int number = FORMAT_NUMBERS[format]
    cdef float *pweight = matrix(weight, "weight")
    cdef size N = cnp.PyArray_DIM(weight, 0 if transposed else 1)
    cdef size K = cnp.PyArray_DIM(weight, 1 if transposed else 0)
    cdef cnp.ndarray blocks = np.empty((N, form.groups(K), form.block_bytes), np.uint8)
    cdef int status
    with nogil:
        status = chosen.quantize(pweight, number, transposed, K, N,
                                 <uint8_t *>cnp.PyArray_DATA(blocks))
    if status == LG_BAD_VALUE:
        check_weights(weight, form)
    finish(status)
    return blocks


def pack_quantized(blocks, format):
    form = weight_format(format)
    cdef int number = FORMAT_NUMBERS[format]
    cdef uint8_t *pblocks = bytes_of(blocks, "blocks")
    if cnp.PyArray_NDIM(blocks) != 3 or cnp.PyArray_DIM(blocks, 2) != <size>form.block_bytes:
        raise wrong_shape(blocks, "blocks", f"(outputs, groups, {form.block_bytes})")
    cdef size N = cnp.PyArray_DIM(blocks, 0), groups = cnp.PyArray_DIM(blocks, 1)
    cdef size rows, width
    rows, width = packed_shape(form, groups * <size>form.group, N)
    # from a cache line's border on, so that no vector of weights crosses one
    room = np.empty(rows * width + 64, np.uint8)
    first = -room.ctypes.data % 64
    cdef cnp.ndarray packed = room[first:first + rows * width].reshape(rows, width)
    cdef int status
    with nogil:
        status = chosen.pack_quantized(pblocks, number, groups, N,
                                       <uint8_t *>cnp.PyArray_DATA(packed))
    finish(status)
    return packed


def linear_quantized(x, packed, format, size outputs, bias=None, residual=None, activation=None):
    form = weight_format(format)
    cdef int number = FORMAT_NUMBERS[format]
    cdef float *px = floats(x, "x")
    cdef size K = last(x, "x"), M = rows_of(x, K)
    cdef uint8_t *ppacked = panels_of(packed, form, K, outputs)
    cdef lg_finish f = finish_of(bias, residual, activation, M, outputs)
    cdef cnp.ndarray y = empty_with(x, cnp.PyArray_NDIM(x) - 1, outputs)
    cdef Call c
    c.kernel, c.x, c.packed, c.format, c.finish = LINEAR_QUANTIZED, px, ppacked, number, f
    c.B, c.T, c.S, c.y = M, K, outputs, data_of(y)
    perform(&c, (x, packed, bias, residual, y))
    return y


def embedding_quantized(ids, packed, format, size inputs, size outputs):
    form = weight_format(format)
    cdef int number = FORMAT_NUMBERS[format]
    cdef int64_t *pids = integers(ids, "ids", -1)
    cdef uint8_t *ppacked = panels_of(packed, form, inputs, outputs)
    cdef size count = cnp.PyArray_SIZE(ids)
    if not inside(pids, count, 0, outputs):
        check_ids(ids, outputs)
    cdef cnp.ndarray y = empty_with(ids, cnp.PyArray_NDIM(ids), inputs)
    cdef Call c
    c.kernel, c.ids, c.packed, c.format = EMBEDDING_QUANTIZED, pids, ppacked, number
    c.B, c.T, c.S, c.y = count, outputs, inputs, data_of(y)
    perform(&c, (ids, packed, y))
    return y


# Embedding

def embedding(ids, table):
    cdef int64_t *pids = integers(ids, "ids", -1)
    cdef float *ptable = matrix(table, "table")
    cdef size count = cnp.PyArray_SIZE(ids)
    cdef size V = cnp.PyArray_DIM(table, 0), C = cnp.PyArray_DIM(table, 1)
    if not inside(pids, count, 0, V):
        check_ids(ids, V)
    cdef cnp.ndarray y = empty_with(ids, cnp.PyArray_NDIM(ids), C)
    cdef Call c
    c.kernel, c.ids, c.x, c.B, c.T, c.S, c.y = EMBEDDING, pids, ptable, count, V, C, data_of(y)
    perform(&c, (ids, table, y))
    return y


def add_positions(x, table, offsets):
    cdef float *px = floats(x, "x")
    cdef float *ptable = matrix(table, "table")
    cdef size C = cnp.PyArray_DIM(table, 1)
    if cnp.PyArray_NDIM(x) != 3 or cnp.PyArray_DIM(x, 2) != C:
        raise wrong_shape(x, "x", f"(batch, time, {C})")
    cdef size B = cnp.PyArray_DIM(x, 0), T = cnp.PyArray_DIM(x, 1)
    cdef size rows = cnp.PyArray_DIM(table, 0)
    cdef int64_t *poffsets = integers(offsets, "offsets", B)
    room_for(offsets, poffsets, B, T, rows)
    cdef cnp.ndarray y = empty_like(x)
    cdef Call c
    c.kernel, c.x, c.weight, c.ids = ADD_POSITIONS, px, ptable, poffsets
    c.B, c.T, c.S, c.H, c.y = B, T, C, rows, data_of(y)
    perform(&c, (x, table, offsets, y))
    return y


def embedding_backward(dy, ids, dtable):
    cdef float *pdy = floats(dy, "dy")
    cdef int64_t *pids = integers(ids, "ids", -1)
    cdef float *pdtable = writable(dtable, matrix(dtable, "dtable"), "dtable")
    cdef size count = cnp.PyArray_SIZE(ids)
    cdef size V = cnp.PyArray_DIM(dtable, 0), C = cnp.PyArray_DIM(dtable, 1)
    if last(dy, "dy") != C or rows_of(dy, C) != count:
        raise wrong_shape(dy, "dy", f"of {count} rows of {C}")
    if not inside(pids, count, 0, V):
        check_ids(ids, V)
    cdef int status
    with nogil:
        status = chosen.embedding_backward(pdy, pids, count, V, C, pdtable)
    finish(status)


# Dropout

def dropout(x, double p, uint64_t seed):
    cdef float *px = floats(x, "x")
    cdef size count = cnp.PyArray_SIZE(x)
    cdef cnp.ndarray y = empty_like(x)
    cdef int status
    with nogil:
        status = chosen.dropout(px, p, seed, count, data_of(y))
    finish(status)
    return y


# Attention

cdef object refuse_heads(object q, object k, object v):
    return ValueError(
        f"q (B, T, H, D), k and v (B, S, G, D) with S >= T and H a multiple of G don't fit: "
        f"{q.shape}, {k.shape}, {v.shape}"
    )


cdef inline bint same_shape(object a, object b):
    return cnp.PyArray_SAMESHAPE(a, b)


cdef float *mask_over_keys(object key_mask, size B, size S) except? NULL:
    if key_mask is None:
        return NULL
    cdef float *data = matrix(key_mask, "key_mask")
    if cnp.PyArray_DIM(key_mask, 0) != B or cnp.PyArray_DIM(key_mask, 1) != S:
        raise wrong_shape(key_mask, "key_mask", f"({B}, {S})")
    return data


def causal_attention(q, k, v, key_mask=None, double dropout=0.0, uint64_t seed=0):
    cdef lg_heads pq = heads(q, "q"), pk = heads(k, "k"), pv = heads(v, "v")
    cdef cnp.npy_intp *dims = cnp.PyArray_DIMS(q)
    cdef size B = dims[0], T = dims[1], H = dims[2], D = dims[3]
    cdef size S = cnp.PyArray_DIM(k, 1), G = cnp.PyArray_DIM(k, 2)
    if not same_shape(k, v) or cnp.PyArray_DIM(k, 0) != B or cnp.PyArray_DIM(k, 3) != D \
            or S < T or G < 1 or H % G:
        raise refuse_heads(q, k, v)
    cdef float *pmask = mask_over_keys(key_mask, B, S)
    cdef cnp.npy_intp shape[3]
    shape[0], shape[1], shape[2] = B, H, T
    cdef cnp.ndarray y = empty_like(q)
    cdef cnp.ndarray lse = new_array(3, shape)
    cdef int status
    with nogil:
        status = chosen.causal_attention(pq, pk, pv, pmask, dropout, seed, B, T, S, H, G, D,
                                         data_of(y), data_of(lse))
    finish(status)
    return y, lse


def causal_attention_backward(dy, q, k, v, y, lse, key_mask=None, double dropout=0.0,
                              uint64_t seed=0):
    cdef lg_heads pq = heads(q, "q"), pk = heads(k, "k"), pv = heads(v, "v")
    cdef float *pdy = floats_like(dy, "dy", q, "q")
    cdef float *py = floats_like(y, "y", q, "q")
    cdef cnp.npy_intp *dims = cnp.PyArray_DIMS(q)
    cdef size B = dims[0], T = dims[1], H = dims[2], D = dims[3]
    cdef size S = cnp.PyArray_DIM(k, 1), G = cnp.PyArray_DIM(k, 2)
    if not same_shape(k, v) or cnp.PyArray_DIM(k, 0) != B or cnp.PyArray_DIM(k, 3) != D \
            or S < T or G < 1 or H % G:
        raise refuse_heads(q, k, v)
    cdef float *plse = floats(lse, "lse")
    if cnp.PyArray_SIZE(lse) != B * H * T:
        raise wrong_shape(lse, "lse", f"({B}, {H}, {T})")
    cdef float *pmask = mask_over_keys(key_mask, B, S)
    cdef cnp.ndarray dq = empty_like(q), dk = empty_like(k), dv = empty_like(v)
    cdef lg_heads pdq = heads(dq, "dq"), pdk = heads(dk, "dk"), pdv = heads(dv, "dv")
    cdef int status
    with nogil:
        status = chosen.causal_attention_backward(pdy, pq, pk, pv, py, plse, pmask, dropout, seed,
                                                  B, T, S, H, G, D, pdq, pdk, pdv)
    finish(status)
    return dq, dk, dv


cdef int check_cache(object keys, object values, size B, size G, size D) except -1:
    """keys (B, G, S / 32, D, 32) and values (B, G, S, D)."""
    cdef cnp.npy_intp *v = cnp.PyArray_DIMS(values)
    cdef cnp.npy_intp *k = cnp.PyArray_DIMS(keys)
    if cnp.PyArray_NDIM(values) != 4 or v[0] != B or v[1] != G or v[3] != D or v[2] % 32:
        raise wrong_shape(values, "values", f"({B}, {G}, a multiple of 32, {D})")
    if cnp.PyArray_NDIM(keys) != 5 or k[0] != B or k[1] != G or k[2] != v[2] // 32 \
            or k[3] != D or k[4] != 32:
        raise wrong_shape(keys, "keys", f"({B}, {G}, {v[2] // 32}, {D}, 32)")
    return 0


def cache_append(k, v, keys, values, lengths):
    cdef lg_heads pk = heads(k, "k"), pv = heads(v, "v")
    cdef float *pkeys = writable(keys, floats(keys, "keys"), "keys")
    cdef float *pvalues = writable(values, floats(values, "values"), "values")
    cdef cnp.npy_intp *dims = cnp.PyArray_DIMS(k)
    cdef size B = dims[0], T = dims[1], G = dims[2], D = dims[3]
    if not same_shape(k, v):
        raise wrong_shape(v, "v", f"{k.shape}, that of k,")
    check_cache(keys, values, B, G, D)
    cdef size S = cnp.PyArray_DIM(values, 2)
    cdef int64_t *plengths = integers(lengths, "lengths", B)
    room_for(lengths, plengths, B, T, S)
    cdef Call c
    c.kernel, c.k, c.v, c.y, c.y2, c.ids = CACHE_APPEND, pk, pv, pkeys, pvalues, plengths
    c.B, c.T, c.S, c.G, c.D = B, T, S, G, D
    perform(&c, (k, v, keys, values, lengths))


def cached_attention(q, keys, values, lengths):
    cdef lg_heads pq = heads(q, "q")
    cdef float *pkeys = floats(keys, "keys")
    cdef float *pvalues = floats(values, "values")
    cdef cnp.npy_intp *dims = cnp.PyArray_DIMS(q)
    cdef size B = dims[0], T = dims[1], H = dims[2], D = dims[3]
    if cnp.PyArray_NDIM(values) != 4:
        raise wrong_shape(values, "values", "(batch, heads, positions, width)")
    cdef size G = cnp.PyArray_DIM(values, 1), S = cnp.PyArray_DIM(values, 2)
    check_cache(keys, values, B, G, D)
    if G < 1 or H % G:
        raise ValueError(f"{H} query heads are not a multiple of {G} key/value heads")
    cdef int64_t *plengths = integers(lengths, "lengths", B)
    room_for(lengths, plengths, B, T, S)
    cdef cnp.ndarray y = empty_like(q)
    cdef Call c
    c.kernel, c.q, c.x, c.weight, c.ids = CACHED_ATTENTION, pq, pkeys, pvalues, plengths
    c.B, c.T, c.S, c.H, c.G, c.D, c.y = B, T, S, H, G, D, data_of(y)
    perform(&c, (q, keys, values, lengths, y))
    return y


# Loss

cdef int check_targets(object targets, const int64_t *values, size count, size V,
                       int64_t ignore_index) except -1:
    cdef size i
    for i in range(count):
        if values[i] != ignore_index and not 0 <= values[i] < V:
            kept_targets(targets, V, ignore_index)
    return 0


def cross_entropy(logits, targets, int64_t ignore_index=-100):
    cdef float *plogits = matrix(logits, "logits")
    cdef size M = cnp.PyArray_DIM(logits, 0), V = cnp.PyArray_DIM(logits, 1)
    cdef int64_t *ptargets = integers(targets, "targets", M)
    if V < 1:
        raise wrong_shape(logits, "logits", "(rows, at least one column)")
    check_targets(targets, ptargets, M, V, ignore_index)
    cdef cnp.ndarray lse = empty_with(logits, 1, -1)
    cdef double loss = 0
    cdef int status
    with nogil:
        status = chosen.cross_entropy(plogits, ptargets, ignore_index, M, V, &loss, data_of(lse))
    finish(status)
    return loss, lse


def cross_entropy_backward(logits, targets, lse, int64_t ignore_index=-100, double scale=1.0):
    cdef float *plogits = matrix(logits, "logits")
    cdef size M = cnp.PyArray_DIM(logits, 0), V = cnp.PyArray_DIM(logits, 1)
    cdef int64_t *ptargets = integers(targets, "targets", M)
    cdef float *plse = vector(lse, "lse", M)
    check_targets(targets, ptargets, M, V, ignore_index)
    cdef cnp.ndarray dlogits = empty_like(logits)
    cdef int status
    with nogil:
        status = chosen.cross_entropy_backward(plogits, ptargets, plse, ignore_index, scale, M, V,
                                               data_of(dlogits))
    finish(status)
    return dlogits


# Optimizer

def grad_norm(grads):
    cdef double total = 0, part
    cdef float *data
    cdef size count
    cdef int status
    for grad in grads:
        data = floats(grad, "gradient")
        count = cnp.PyArray_SIZE(grad)
        part = 0
        with nogil:
            status = chosen.sum_of_squares(data, count, &part)
        finish(status)
        total += part
    return sqrt(total)


def adamw(param, grad, m, v, size step, double lr, double beta1=0.9, double beta2=0.999,
          double eps=1e-8, double weight_decay=0.01, double scale=1.0):
    cdef float *pparam = writable(param, floats(param, "param"), "param")
    cdef float *pgrad = floats_like(grad, "grad", param, "param")
    cdef float *pm = writable(m, floats_like(m, "m", param, "param"), "m")
    cdef float *pv = writable(v, floats_like(v, "v", param, "param"), "v")
    cdef size count = cnp.PyArray_SIZE(param)
    cdef int status
    with nogil:
        status = chosen.adamw(pparam, pgrad, pm, pv, count, step, lr, beta1, beta2, eps,
                              weight_decay, scale)
    finish(status)


# Sampling

def sample(logits, uniforms, double temperature=1.0, size top_k=0, double top_p=1.0,
           double min_p=0.0):
    cdef float *plogits = matrix(logits, "logits")
    cdef size rows = cnp.PyArray_DIM(logits, 0), V = cnp.PyArray_DIM(logits, 1)
    if not is_array(uniforms, cnp.NPY_FLOAT64):
        raise wrong_type(uniforms, "uniforms", "C-contiguous float64 array")
    if cnp.PyArray_NDIM(uniforms) != 1 or cnp.PyArray_DIM(uniforms, 0) != rows:
        raise wrong_shape(uniforms, "uniforms", f"({rows},)")
    cdef double *puniforms = <double *>cnp.PyArray_DATA(uniforms)
    cdef lg_sampling rules
    rules.temperature, rules.top_p, rules.min_p = temperature, top_p, min_p
    rules.top_k = top_k
    cdef cnp.npy_intp count = rows
    cdef cnp.ndarray ids = cnp.PyArray_SimpleNew(1, &count, cnp.NPY_INT64)
    cdef cnp.ndarray logprobs = cnp.PyArray_SimpleNew(1, &count, cnp.NPY_FLOAT32)
    cdef size bad_row = 0
    cdef int status
    with nogil:
        status = chosen.sample(plogits, puniforms, rules, rows, V,
                               <int64_t *>cnp.PyArray_DATA(ids), data_of(logprobs), &bad_row)
    if status == LG_BAD_VALUE:
        raise refusal(bad_row)
    finish(status)
    return ids, logprobs


# Probes, for litegpt.kernels.limits: not kernels, but what kernels are held against

def _probe_read(x):
    """The sums of x's rows of 16,384: x is read once."""
    cdef float *px = matrix(x, "x")
    if cnp.PyArray_DIM(x, 1) != 16384:
        raise wrong_shape(x, "x", "(blocks, 16384)")
    cdef size blocks = cnp.PyArray_DIM(x, 0)
    cdef cnp.ndarray sums = empty_with(x, 1, -1)
    cdef int status
    with nogil:
        status = chosen.probe_read(px, blocks, data_of(sums))
    finish(status)
    return sums


def _probe_copy(x, y):
    """Copies x to y."""
    cdef float *px = floats(x, "x")
    cdef float *py = writable(y, floats_like(y, "y", x, "x"), "y")
    cdef size count = cnp.PyArray_SIZE(x)
    cdef int status
    with nogil:
        status = chosen.probe_copy(px, count, py)
    finish(status)


def _probe_multiply_add(x, y):
    """sum = sum * x[0] + x[1], many times for each of y; returns how many operations that was."""
    cdef float *px = vector(x, "x", 2)
    cdef float *py = writable(y, floats(y, "y"), "y")
    cdef size items = cnp.PyArray_SIZE(y)
    cdef double operations = 0
    cdef int status
    with nogil:
        status = chosen.probe_multiply_add(px, items, py, &operations)
    finish(status)
    return operations
