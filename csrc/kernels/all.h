/* All kernel bodies, and the table of them: what a unit of csrc/isa consists of. */
#define _POSIX_C_SOURCE 200809L /* pread */
#include "../roster.h"
#include "../simd.h"

#define LG_DECLARE(name, arguments) static int name arguments;
LG_ROSTER(LG_DECLARE)
#undef LG_DECLARE

/* Work below these sizes isn't worth waking a thread for. */
enum { ELEMENT_GRAIN = 4096 };
INLINE lg_size row_grain(lg_size width) { return 1 + ELEMENT_GRAIN / (width + 1); }

#include "activation.h"
#include "attention_backward.h"
#include "dropout.h"
#include "embedding.h"
#include "linear.h"
#include "linear_quantized.h"
#include "loss.h"
#include "norm.h"
#include "optimizer.h"
#include "probe.h"
#include "rotary.h"
#include "sampling.h"
#include "softmax.h"

#define LG_STRING(text) LG_STRING_OF(text)
#define LG_STRING_OF(text) #text
#define LG_ENTRY(name, arguments) .name = name,
const lg_kernels LG_TABLE = {
    .backend = &LG_STRING(LG_TABLE)[3], /* without "lg_" */
    LG_ROSTER(LG_ENTRY)
};
