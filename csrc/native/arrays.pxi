# Arrays that come in are checked, and those that go out are made, by these.

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
        raise wrong_shape(a, name, f"{like.shape}, that of {like_name}")
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
