/* x86-64 with AVX2, FMA and F16C. */
#define LG_AVX2 1
#define LG_VL 8
#define LG_TABLE lg_avx2
#include "../kernels/all.h"
