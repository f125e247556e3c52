/* What every 64-bit processor of the platform can run: no intrinsics, four floats at a time. */
#define LG_VL 4
#define LG_TABLE lg_baseline
#include "../kernels/all.h"
