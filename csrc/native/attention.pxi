# Wrappers of attention and its cache.

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
    cdef cnp.npy_intp shape[4]
    shape[0], shape[1], shape[2], shape[3] = B, T, H + 2 * G, D
    if S == T:
        joint = new_array(4, shape)
        dq, dk, dv = joint[:, :, :H], joint[:, :, H:H + G], joint[:, :, H + G:]
    else:
        dq, dk, dv = empty_like(q), empty_like(k), empty_like(v)
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
        raise wrong_shape(v, "v", f"{k.shape}, that of k")
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
