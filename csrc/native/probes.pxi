# Probes, for litegpt.kernels.limits: not kernels, but what kernels are held against.

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


def _probe_multiply_pairs(x, y):
    """sum += x[0] * x[1], numbers in bfloat16, many times for each of y, as products in bfloat16
    are added; returns how many operations that was."""
    cdef float *px = vector(x, "x", 2)
    cdef float *py = writable(y, floats(y, "y"), "y")
    cdef size items = cnp.PyArray_SIZE(y)
    cdef double operations = 0
    cdef int status
    with nogil:
        status = chosen.probe_multiply_pairs(px, items, py, &operations)
    finish(status)
    return operations


def _probe_multiply_codes(x, format, y):
    """sum += x[0] * x[1], many times for each of y, as codes of a format are multiplied with codes
    of activations; returns how many operations that was."""
    cdef float *px = vector(x, "x", 2)
    cdef int number = FORMAT_NUMBERS[format]
    cdef float *py = writable(y, floats(y, "y"), "y")
    cdef size items = cnp.PyArray_SIZE(y)
    cdef double operations = 0
    cdef int status
    with nogil:
        status = chosen.probe_multiply_codes(px, number, items, py, &operations)
    finish(status)
    return operations
