# Wrappers of the matrix product in its forms.

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
        check_activation(activation)
    return f


cdef inline int precision_number(object precision) except -1:
    if precision == "float32":
        return LG_FLOAT32
    check_precision(precision)
    return LG_BFLOAT16


def linear(x, weight, bias=None, residual=None, activation=None, bint transposed=False,
           precision="float32"):
    cdef float *px = floats(x, "x")
    cdef float *pweight = matrix(weight, "weight")
    cdef size K = last(x, "x"), M = rows_of(x, K)
    cdef size N = cnp.PyArray_DIM(weight, 0 if transposed else 1)
    if cnp.PyArray_DIM(weight, 1 if transposed else 0) != K:
        raise wrong_shape(weight, "weight", f"(outputs, {K})" if transposed else f"({K}, outputs)")
    cdef lg_finish f = finish_of(bias, residual, activation, M, N)
    cdef int number = precision_number(precision)
    cdef cnp.ndarray y = empty_with(x, cnp.PyArray_NDIM(x) - 1, N)
    cdef int status
    with nogil:
        status = chosen.linear(px, pweight, transposed, f, number, M, K, N, data_of(y))
    finish(status)
    return y


def linear_backward(dy, x, weight, dweight, dbias=None, bint transposed=False,
                    bint accumulate=True, precision="float32"):
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
    cdef int number = precision_number(precision)
    cdef cnp.ndarray dx = empty_like(x)
    cdef int status
    with nogil:
        status = chosen.linear_backward(pdy, px, pweight, transposed, number, M, K, N, accumulate,
                                        pdweight, pdbias, data_of(dx))
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

cdef int64_t FARTHEST = FARTHEST_ROW
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


def pack_quantized(blocks, format, packed=None):
    form = weight_format(format)
    cdef int number = FORMAT_NUMBERS[format]
    cdef uint8_t *pblocks = bytes_of(blocks, "blocks")
    if cnp.PyArray_NDIM(blocks) != 3 or cnp.PyArray_DIM(blocks, 2) != <size>form.block_bytes:
        raise wrong_shape(blocks, "blocks", f"(outputs, groups, {form.block_bytes})")
    cdef size N = cnp.PyArray_DIM(blocks, 0), groups = cnp.PyArray_DIM(blocks, 1)
    cdef size inputs = groups * <size>form.group
    if packed is None:
        rows, width = packed_shape(form, inputs, N)
        # from a cache line's border on, so that no vector of weights crosses one
        room = np.empty(rows * width + 64, np.uint8)
        first = -room.ctypes.data % 64
        packed = room[first:first + rows * width].reshape(rows, width)
    cdef uint8_t *ppacked = panels_of(packed, form, inputs, N)
    if not cnp.PyArray_ISWRITEABLE(packed):
        raise ValueError("packed is read-only")
    cdef int status
    with nogil:
        status = chosen.pack_quantized(pblocks, number, groups, N, ppacked)
    finish(status)
    return packed


cdef bint panels_fit(const int64_t *rows, const int64_t *groups, size panels, size group_bytes,
                     size packed) noexcept nogil:
    """What check_panels says of these, but without Python, for which it might have to wait."""
    cdef size panel, i
    for panel in range(panels):
        if not 1 <= groups[panel] <= packed // group_bytes:
            return False
        packed -= groups[panel] * group_bytes
        for i in range(32):
            if rows[i] > FARTHEST or rows[i] >= 0 and i > 0 and rows[i - 1] < 0:
                return False
        rows += 32
    return packed == 0


def read_quantized(file, rows, groups, format, packed):
    form = weight_format(format)
    cdef int number = FORMAT_NUMBERS[format], descriptor = file.fileno()
    cdef int64_t *prows = integers(rows, "rows", -1)
    cdef int64_t *pgroups = integers(groups, "groups", -1)
    cdef uint8_t *ppacked = bytes_of(packed, "packed")
    cdef size panels = cnp.PyArray_SIZE(groups), bytes = cnp.PyArray_SIZE(packed)
    cdef size group_bytes = 32 * <size>form.block_bytes
    cdef bint fits = cnp.PyArray_NDIM(groups) == cnp.PyArray_NDIM(packed) == 1 \
        and cnp.PyArray_NDIM(rows) == 2 and cnp.PyArray_DIM(rows, 0) == panels \
        and cnp.PyArray_DIM(rows, 1) == 32 and cnp.PyArray_ISWRITEABLE(packed)
    cdef int status = LG_BAD_VALUE
    with nogil:
        if fits and panels_fit(prows, pgroups, panels, group_bytes, bytes):
            status = chosen.read_quantized(descriptor, prows, pgroups, number, panels, ppacked)
    if status == LG_BAD_VALUE:
        check_panels(rows, groups, form, packed)
    if status == LG_NOT_READ:
        raise not_read()
    finish(status)


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
