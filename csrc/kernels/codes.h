/* What a product asks of each format of codes. The format is a constant wherever these are inlined,
   so that nothing is left of the others. */
#ifndef LITEGPT_CODES_H
#define LITEGPT_CODES_H

#include "dot.h"
#include "quantized.h"

enum { GROUP = 32 }; /* inputs that share a scale, in every format of codes */

/* w = scale * code + minimum, codes from 0 on; without one codes have a sign. */
INLINE int has_minimum(const int format) { return weight_formats[format].halves == 2; }

/* The codes of inputs 4 q to 4 q + 3, of LG_VL outputs; `words` are theirs in a packed block. */
INLINE vi quad_of(const int format, const uint8_t *words, int q) {
    if (format == LG_Q8) return load_bytes(words + 4 * q * PANEL);
    const uint8_t *pairs = words + (format == LG_Q5 ? 4 * PANEL : 0);
    const vi low = (load_bytes(pairs + 4 * (q % 4) * PANEL) >> (q < 4 ? 0 : 4)) & 0x0f0f0f0f;
    if (format == LG_Q4) return low;
    const vi fifth = load_bytes(words);
    return low | ((q < 4 ? fifth << (4 - q) : fifth >> (q - 4)) & 0x10101010);
}

/* sum + weights * activations, of a quad; eight of them make a group. */
INLINE vi dot_of(const int format, vi sum, vi weights, vi activations) {
    switch (format) {
        case LG_Q8: return dot_signed(sum, weights, activations);
        case LG_Q5: return dot_unsigned(sum, weights, activations);
        default: return dot_small(sum, weights, activations);
    }
}

/* The sum over a group, in 32 bits. */
INLINE vi whole_of(const int format, vi sum) {
    return format == LG_Q4 ? sum_of_small(sum) : sum;
}

#endif
