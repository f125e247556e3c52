/* A training step or a prefill makes and drops the same arrays again and again. malloc gives large
   ones back to the operating system, and every page of the next one costs a fault, which for small
   models is a quarter of the step. So blocks that are given back are kept, KEPT_MOST bytes at most,
   for the next array of about their size; when there are more, the last ones given. */
#define _GNU_SOURCE
#include "blocks.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
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

/* The smallest kept block that holds `bytes` and is at most a quarter larger, or -1; of equal ones
   the last that was given back, which is the likeliest to be in cache. */
static int best_fit(size_t bytes) {
    int best = -1;
    for (int i = 0; i < places; i++)
        if (kept[i].capacity >= bytes && kept[i].capacity - bytes <= bytes / 4 &&
            (best < 0 || kept[i].capacity <= kept[best].capacity))
            best = i;
    return best;
}

void *lg_take_block(size_t bytes, size_t *capacity) {
    if (bytes > SIZE_MAX - HUGE_PAGE) return NULL;
    const size_t unit = bytes >= 2 * HUGE_PAGE ? HUGE_PAGE : PAGE;
    bytes = (bytes + unit - 1) / unit * unit;
    void *memory = NULL;
    pthread_mutex_lock(&lock);
    int place = best_fit(bytes);
    if (place >= 0) {
        memory = kept[place].memory;
        *capacity = kept[place].capacity;
        kept_bytes -= *capacity;
        places--;
        memmove(kept + place, kept + place + 1, sizeof *kept * (size_t)(places - place));
    }
    pthread_mutex_unlock(&lock);
    if (memory != NULL) return memory;
    *capacity = bytes;
    memory = aligned_alloc(unit, bytes);
#ifdef MADV_HUGEPAGE
    if (memory != NULL && unit == HUGE_PAGE) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return memory;
}

void lg_give_block(void *memory, size_t capacity) {
    if (capacity > KEPT_MOST) {
        free(memory);
        return;
    }
    pthread_mutex_lock(&lock);
    int out = 0; /* so many of those that have waited longest make room */
    for (; places - out == PLACES || kept_bytes > KEPT_MOST - capacity; out++) {
        free(kept[out].memory);
        kept_bytes -= kept[out].capacity;
    }
    places -= out;
    memmove(kept, kept + out, sizeof *kept * (size_t)places);
    kept[places].memory = memory;
    kept[places++].capacity = capacity;
    kept_bytes += capacity;
    pthread_mutex_unlock(&lock);
}
