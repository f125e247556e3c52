/* x86-64 with AVX-512 and its 8-bit dot products (VNNI). */
#define LG_AVX512 1
#define LG_VNNI 1
#define LG_VL 16
#define LG_TABLE lg_avx512vnni
#include "../kernels/all.h"
