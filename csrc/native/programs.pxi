# Programs: kernel calls recorded once, then made again without Python.

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

    def step(self, ids, into, lengths):
        """run(), with ids written `into` before, and 1 added to lengths after: int64, (B,) each."""
        cdef size B = cnp.PyArray_DIM(lengths, 0) if is_array(lengths, cnp.NPY_INT64) else -1
        cdef int64_t *plengths = integers(lengths, "lengths", B)
        cdef int64_t *pinto = integers(into, "into", B)
        ids = cnp.PyArray_GETCONTIGUOUS(ids)
        cdef const int64_t *pids = integers(ids, "ids", B)
        cdef size b
        for b in range(B):
            pinto[b] = pids[b]
        self.run()
        for b in range(B):
            plengths[b] += 1


cdef int perform(const Call *call, tuple arrays) except -1:
    """Calls a kernel, and records the call if this thread is recording."""
    cdef int status
    with nogil:
        status = call_kernel(call)
    finish(status)
    if recording is not None:
        recording.add(call, arrays)
    return 0
