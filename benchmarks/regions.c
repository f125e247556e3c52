/* What a parallel region costs over its work: the kernels' thread pool, or OpenMP.

   gcc -O2 -fopenmp -Icsrc benchmarks/regions.c csrc/pool.c -o build/regions -lpthread
   build/regions pool; build/regions openmp; OMP_WAIT_POLICY=passive build/regions openmp

   Two threads, two pieces of 5 microseconds each, regions one after the other, 20 microseconds
   apart, and 2 milliseconds apart; medians of 201. One of the two at a time, since the threads of
   either spin after a region and would stand in the other's way. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pool.h"

enum { REGIONS = 201 };
static const double PIECE = 5e-6;

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int work(void *context, ptrdiff_t begin, ptrdiff_t end) {
    (void)context;
    for (ptrdiff_t i = begin; i < end; i++)
        for (double start = seconds(); seconds() - start < PIECE;) {}
    return LG_OK;
}

static void wait_for(double time) {
    if (time < 1e-3) {
        for (double start = seconds(); seconds() - start < time;) {}
    } else {
        const struct timespec pause = {0, (long)(time * 1e9)};
        nanosleep(&pause, NULL);
    }
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int count, char **arguments) {
    const int openmp = count > 1 && strcmp(arguments[1], "openmp") == 0;
    const double gaps[] = {0, 20e-6, 2e-3};
    lg_set_num_threads(2);
    for (double start = seconds(); seconds() - start < 0.1;) { /* until both threads have a core */
        if (openmp) {
#pragma omp parallel for schedule(static, 1) num_threads(2)
            for (int i = 0; i < 2; i++) work(NULL, i, i + 1);
        } else {
            lg_parallel(2, 1, work, NULL);
        }
    }
    for (int g = 0; g < 3; g++) {
        double over[REGIONS];
        for (int r = 0; r < REGIONS; r++) {
            wait_for(gaps[g]);
            const double start = seconds();
            if (openmp) {
#pragma omp parallel for schedule(static, 1) num_threads(2)
                for (int i = 0; i < 2; i++) work(NULL, i, i + 1);
            } else {
                lg_parallel(2, 1, work, NULL);
            }
            over[r] = seconds() - start - PIECE;
        }
        qsort(over, REGIONS, sizeof *over, ascending);
        printf("%6.0f us apart: %6.2f us over the work\n", gaps[g] * 1e6, over[REGIONS / 2] * 1e6);
    }
    return 0;
}
