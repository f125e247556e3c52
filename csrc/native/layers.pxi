# Wrappers of the small layers: norms, positions, tables.

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


def layernorm_backward(dy, x, gamma, mean, rstd, dgamma, dbeta=None, residual=None):
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
    cdef float *presidual = NULL if residual is None \
        else floats_like(residual, "residual", x, "x")
    cdef cnp.ndarray dx = empty_like(x)
    cdef int status
    with nogil:
        status = chosen.layernorm_backward(pdy, px, pgamma, pmean, prstd, presidual, rows, width,
                                           pdgamma, pdbeta, data_of(dx))
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


def rmsnorm_backward(dy, x, gamma, rstd, dgamma, residual=None):
    cdef float *px = floats(x, "x")
    cdef float *pdy = floats_like(dy, "dy", x, "x")
    cdef size width = last(x, "x"), rows = rows_of(x, width)
    cdef float *pgamma = vector(gamma, "gamma", width)
    cdef float *prstd = per_row(rstd, "rstd", rows)
    cdef float *pdgamma = writable(dgamma, vector(dgamma, "dgamma", width), "dgamma")
    cdef float *presidual = NULL if residual is None \
        else floats_like(residual, "residual", x, "x")
    cdef cnp.ndarray dx = empty_like(x)
    cdef int status
    with nogil:
        status = chosen.rmsnorm_backward(pdy, px, pgamma, prstd, presidual, rows, width, pdgamma,
                                         data_of(dx))
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
