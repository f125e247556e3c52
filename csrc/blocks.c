/* A training step or a prefill makes and drops the same arrays again and again. malloc gives large
   ones back to the operating system, and every page of the next one costs a fault, which for small
   models is a quarter of the step. So blocks that are given back are kept for the next array of
   about their size: never more than have been in use at once, nor more than KEPT_MOST. */
#define _GNU_SOURCE
#include "blocks.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { PLACES = 256 };
#define KEPT_MOST ((size_t)1 << 29)
#define PAGE ((size_t)4096)
#define HUGE_PAGE ((size_t)1 << 21)

static struct {
    void *memory;
    size_t capacity;
} kept[PLACES];
static int places; /* the first so many are in use */
static size_t kept_bytes;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The smallest kept block that fits without wasting more than a quarter, or -1. */
static int best_fit(size_t bytes) {
    int best = -1;
    for (int i = 0; i < places; i++)
        if (kept[i].capacity >= bytes && kept[i].capacity - bytes <= bytes / 4 &&
            (best < 0 || kept[i].capacity < kept[best].capacity))
            best = i;
    return best;
}

void *lg_take_block(size_t bytes, size_t *capacity) {
    void *memory = NULL;
    pthread_mutex_lock(&lock);
    int place = best_fit(bytes);
    if (place >= 0) {
        memory = kept[place].memory;
        *capacity = kept[place].capacity;
        kept_bytes -= *capacity;
        kept[place] = kept[--places];
    }
    pthread_mutex_unlock(&lock);
    if (memory != NULL || bytes > SIZE_MAX - HUGE_PAGE) return memory;
    const size_t unit = bytes >= 2 * HUGE_PAGE ? HUGE_PAGE : PAGE;
    *capacity = (bytes + unit - 1) / unit * unit;
    memory = aligned_alloc(unit, *capacity);
#ifdef MADV_HUGEPAGE
    if (memory != NULL && unit == HUGE_PAGE) madvise(memory, *capacity, MADV_HUGEPAGE);
#endif
    return memory;
}

void lg_give_block(void *memory, size_t capacity) {
    pthread_mutex_lock(&lock);
    const int room = places < PLACES && capacity <= KEPT_MOST - kept_bytes;
    if (room) {
        kept[places].memory = memory;
        kept[places++].capacity = capacity;
        kept_bytes += capacity;
    }
    pthread_mutex_unlock(&lock);
    if (!room) free(memory);
}
