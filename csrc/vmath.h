/* exp and its relatives on vectors. Polynomials fitted here, by interpolation in Chebyshev points
   in 40-digit arithmetic; the errors stated are measured by tests/kernels against float64. */
#ifndef LITEGPT_VMATH_H
#define LITEGPT_VMATH_H

#include "simd.h"

/* 2^n for whole n in -126..127 (given as floats). */
INLINE vf power_of_two(vi n) { return (vf)((n + 127) << 23); }

/* e^x, within 1 ulp, subnormal results included: x = n ln 2 + r, e^x = 2^n (1 + r + r^2 P(r)).
   NaN stays NaN, -inf gives 0, and what is too large gives inf. */
INLINE vf exp_vf(vf x) {
    const vf shift = splat(0x1.8p23f); /* adding it rounds to a whole number */
    x = min_vf(splat(89.0f), max_vf(splat(-105.0f), x));
    vf n = fma_vf(x, splat(0x1.715476p0f), shift) - shift;
    vf r = fma_vf(n, splat(-0x1.62e400p-1f), x); /* ln 2, leading bits: exact product */
    r = fma_vf(n, splat(-0x1.7f7d1cp-20f), r);
    vf p = splat(0.001392617612f);
    p = fma_vf(p, r, splat(0.008363173075f));
    p = fma_vf(p, r, splat(0.04166655466f));
    p = fma_vf(p, r, splat(0.1666657703f));
    p = fma_vf(p, r, splat(0.5f));
    p = fma_vf(p * r, r, r) + 1.0f;
#if defined(LG_AVX512)
    return _mm512_scalef_ps(p, n);
#else
    vi whole = __builtin_convertvector(n, vi);
    vi half = whole >> 1; /* in two steps: 2^n itself may be subnormal or too large */
    return p * power_of_two(half) * power_of_two(whole - half);
#endif
}

/* 1 / (1 + e^-x) */
INLINE vf sigmoid_vf(vf x) { return 1.0f / (1.0f + exp_vf(-x)); }

/* The normal distribution function Phi(x) and e^(-x^2/2), within 4 ulp each down to x = -13: with
   z = |x| / sqrt 2 and u = (z - 3) / (z + 3), erfc(z) = e^(-z^2) P(u) / (1 + 2 z). The square is
   taken in two parts, since its rounding error would grow with e^(-z^2). */
INLINE vf normal_cdf_vf(vf x, vf *bell) {
    const vf size = (vf)((vi)x & 0x7fffffff);
    vf z = min_vf(splat(15.0f), size) * 0x1.6a09e6p-1f;
    vf x2 = min_vf(splat(21.0f), size);
    vf high = x2 * x2;
    vf low = fma_vf(x2, x2, -high);
    vf e = exp_vf(-0.5f * high);
    e = fma_vf(e, -0.5f * low, e);
    vf u = (z - 3.0f) / (z + 3.0f);
    vf p = splat(-0.0002690068022f);
    p = fma_vf(p, u, splat(-0.000775897423f));
    p = fma_vf(p, u, splat(0.002009782327f));
    p = fma_vf(p, u, splat(0.00257290446f));
    p = fma_vf(p, u, splat(-0.02380005901f));
    p = fma_vf(p, u, splat(0.06829274811f));
    p = fma_vf(p, u, splat(-0.119270944f));
    p = fma_vf(p, u, splat(0.1296468575f));
    p = fma_vf(p, u, splat(-0.04756237295f));
    p = fma_vf(p, u, splat(-0.1356211556f));
    p = fma_vf(p, u, splat(1.253008059f));
    vf tail = 0.5f * e * p / fma_vf(splat(2.0f), z, splat(1.0f)); /* Phi(-|x|) */
    *bell = e;
    return select_vf(x < 0.0f, tail, 1.0f - tail);
}

#endif
