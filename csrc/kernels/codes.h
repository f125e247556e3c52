/* What a product asks of each format of codes. The format is a constant wherever these are inlined,
   so that nothing is left of the others. */
#ifndef LITEGPT_CODES_H
#define LITEGPT_CODES_H

#include "dot.h"
#include "quantized.h"

enum { GROUP = 32 }; /* inputs that share a scale, in every format of codes */

/* w = scale * code + minimum, codes from 0 on; without one codes have a sign. */
INLINE int has_minimum(const int format) { return weight_formats[format].halves == 2; }

/* What is multiplied instead of 0: so many times the sum of a group's activations comes off. */
INLINE int zero_of(const int format) {
    return format == LG_Q4_0 ? 8 : format == LG_Q8 ? SIGNED_EXCESS : 0;
}

/* Codes of four bits, since 32 codes take as many words as one has bits. */
INLINE int is_small(const int format) { return weight_formats[format].words == 4; }

/* The codes of inputs 4 q to 4 q + 3, of LG_VL outputs; `words` are theirs in a packed block. */
INLINE vi quad_of(const int format, const uint8_t *words, int q) {
    if (format == LG_Q8) return load_bytes(words + 4 * q * PANEL);
    const uint8_t *pairs = words + (format == LG_Q5 ? 4 * PANEL : 0);
    const vi low = (load_bytes(pairs + 4 * (q % 4) * PANEL) >> (q < 4 ? 0 : 4)) & 0x0f0f0f0f;
    if (format != LG_Q5) return low;
    const vi fifth = load_bytes(words);
    return low | ((q < 4 ? fifth << (4 - q) : fifth >> (q - 4)) & 0x10101010);
}

/* sum + weights * activations, of a quad; eight of them make a group. */
INLINE vi dot_of(const int format, vi sum, vi weights, vi activations) {
    if (is_small(format)) return dot_small(sum, weights, activations);
    return format == LG_Q8 ? dot_signed(sum, weights, activations)
                           : dot_unsigned(sum, weights, activations);
}

/* What dot_of adds a group to, and what has then become of it: the sum, and `start`, in 32 bits. */
INLINE vi sum_from(const int format, vi start) {
    return SMALL_SUMS && is_small(format) ? (vi){0} : start;
}

INLINE vi whole_of(const int format, vi sum, vi start) {
    return SMALL_SUMS && is_small(format) ? sum_of_small(sum) + start : sum;
}

#endif
