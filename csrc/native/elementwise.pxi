# Wrappers of kernels that work entry by entry, or row by row without parameters.

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
            raise wrong_shape(x, "x", "of at most four axes, with a mask")
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
        raise wrong_shape(dy, "dy", f"(..., {width // 2}), half of x's {x.shape}")
    cdef cnp.ndarray dx = empty_like(x)
    cdef int status
    with nogil:
        status = chosen.swiglu_backward(pdy, px, rows, width // 2, data_of(dx))
    finish(status)
    return dx


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
