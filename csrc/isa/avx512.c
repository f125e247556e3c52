/* x86-64 with AVX-512 F, BW, VL and DQ. */
#define LG_AVX512 1
#define LG_VL 16
#define LG_TABLE lg_avx512
#include "../kernels/all.h"
