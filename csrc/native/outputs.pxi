# Wrappers of what is done with logits and gradients.

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


def lion(param, grad, m, double lr, double beta1=0.9, double beta2=0.99,
         double weight_decay=0.01, double scale=1.0):
    cdef float *pparam = writable(param, floats(param, "param"), "param")
    cdef float *pgrad = floats_like(grad, "grad", param, "param")
    cdef float *pm = writable(m, floats_like(m, "m", param, "param"), "m")
    cdef size count = cnp.PyArray_SIZE(param)
    cdef int status
    with nogil:
        status = chosen.lion(pparam, pgrad, pm, count, lr, beta1, beta2, weight_decay, scale)
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
