/* Which instruction sets this processor and its operating system can run. */
#include <pthread.h>

#include "roster.h"

extern const lg_kernels lg_baseline;

static const lg_kernels *ladder[4];
static int rungs;
static int multiplies_bfloat16;

#if defined(__x86_64__)

#include <cpuid.h>

extern const lg_kernels lg_avx2, lg_avx512, lg_avx512vnni;

/* Bits of cpuid leaves 1 and 7 and of the extended control register 0: Intel's Software
   Developer's Manual, volume 1, chapter 14, and volume 2, CPUID. */
enum {
    LEAF1C_FMA = 1 << 12,
    LEAF1C_OSXSAVE = 1 << 27,
    LEAF1C_AVX = 1 << 28,
    LEAF1C_F16C = 1 << 29,
    LEAF7B_AVX2 = 1 << 5,
    LEAF7B_AVX512 = 1 << 16 | 1 << 17 | 1 << 30 | (int)(1u << 31), /* F, DQ, BW, VL */
    LEAF7C_VNNI = 1 << 11,
    LEAF7_1A_BF16 = 1 << 5, /* of subleaf 1 */
    XCR0_AVX = 0x6,
    XCR0_AVX512 = 0xE6
};

static unsigned saved_registers(void) {
    unsigned low, high;
    __asm__ __volatile__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static void find_rungs(void) {
    ladder[rungs++] = &lg_baseline;
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return;
    unsigned need = LEAF1C_FMA | LEAF1C_OSXSAVE | LEAF1C_AVX | LEAF1C_F16C;
    if ((c & need) != need) return;
    unsigned saved = saved_registers();
    if ((saved & XCR0_AVX) != XCR0_AVX) return;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & LEAF7B_AVX2)) return;
    ladder[rungs++] = &lg_avx2;
    if ((saved & XCR0_AVX512) != XCR0_AVX512) return;
    if ((b & (unsigned)LEAF7B_AVX512) != (unsigned)LEAF7B_AVX512) return;
    ladder[rungs++] = &lg_avx512;
    if (!(c & LEAF7C_VNNI)) return;
    ladder[rungs++] = &lg_avx512vnni;
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d))
        multiplies_bfloat16 = (a & LEAF7_1A_BF16) != 0;
}

#elif defined(__aarch64__)

extern const lg_kernels lg_neon;

static void find_rungs(void) {
    ladder[rungs++] = &lg_baseline;
    ladder[rungs++] = &lg_neon; /* every 64-bit Arm processor has it */
}

#else

static void find_rungs(void) { ladder[rungs++] = &lg_baseline; }

#endif

static pthread_once_t once = PTHREAD_ONCE_INIT;

int lg_backend_count(void) {
    pthread_once(&once, find_rungs);
    return rungs;
}

const lg_kernels *lg_backend(int index) { return ladder[index]; }

int lg_multiplies_bfloat16(void) { return multiplies_bfloat16; }
