/* 64-bit Arm. */
#define LG_NEON 1
#define LG_VL 4
#define LG_TABLE lg_neon
#include "../kernels/all.h"
