/* A region is opened by its caller and closed when no piece is left. Workers enter an open region
   if they come in time, and the caller waits only for those inside: a worker that sleeps or has
   lost its processor delays nobody. Workers spin for a moment after a region, since the next one
   of the same layer is microseconds away, then sleep.

   Every thread has a share of the items, side by side, so that it reads memory as one stream and
   meets what it left in its caches before. It takes half of what is left of its share at a time,
   then half of what is left of another's: large pieces first, small ones to even out the end
   (Markatos and LeBlanc, 1994, affinity scheduling). */
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define SPIN_NANOSECONDS 100000

#if defined(__x86_64__)
#define RELAX() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define RELAX() __asm__ __volatile__("yield")
#else
#define RELAX() ((void)0)
#endif

#define OPEN (UINT32_C(1) << 31)

typedef struct {
    _Alignas(64) atomic_ptrdiff_t next; /* the first item that nobody has taken */
    ptrdiff_t end;
} lg_share;

static lg_share shares[LG_MAX_THREADS];

static struct {
    pthread_mutex_t entry; /* held by the one caller that has a region open */
    pthread_mutex_t sleep;
    pthread_cond_t wake;
    int threads; /* wanted, the caller included */
    int started; /* workers that run */

    lg_task task;
    void *context;
    ptrdiff_t grain;
    int shares;
    atomic_int status;

    _Alignas(64) atomic_uint gate;  /* OPEN, plus the number of workers inside */
    _Alignas(64) atomic_uint epoch; /* regions opened so far */
    atomic_int sleepers;
    atomic_int wanted; /* workers numbered from here on leave */
} pool = {
    .entry = PTHREAD_MUTEX_INITIALIZER,
    .sleep = PTHREAD_MUTEX_INITIALIZER,
    .wake = PTHREAD_COND_INITIALIZER,
    .threads = 1,
};

static _Thread_local int inside_region;

static int64_t nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Works on a share until nothing of it is left. */
static void work_on(lg_share *share) {
    ptrdiff_t begin = atomic_load_explicit(&share->next, memory_order_relaxed);
    while (begin < share->end) {
        ptrdiff_t piece = (share->end - begin) / 2;
        if (piece < pool.grain) piece = pool.grain;
        if (piece > share->end - begin) piece = share->end - begin;
        if (!atomic_compare_exchange_weak_explicit(&share->next, &begin, begin + piece,
                                                   memory_order_relaxed, memory_order_relaxed))
            continue;
        int status = pool.task(pool.context, begin, begin + piece);
        if (status != LG_OK) {
            int none = LG_OK;
            atomic_compare_exchange_strong(&pool.status, &none, status);
        }
        begin = atomic_load_explicit(&share->next, memory_order_relaxed);
    }
}

/* Works on the thread's own share, then on those after it. */
static void work(int thread) {
    for (int i = 0; i < pool.shares; i++) work_on(&shares[(thread + i) % pool.shares]);
}

static void enter_if_open(int thread) {
    unsigned gate = atomic_load_explicit(&pool.gate, memory_order_acquire);
    while (gate & OPEN) {
        if (atomic_compare_exchange_weak_explicit(&pool.gate, &gate, gate + 1,
                                                  memory_order_acquire, memory_order_acquire)) {
            work(thread);
            atomic_fetch_sub_explicit(&pool.gate, 1, memory_order_release);
            return;
        }
    }
}

/* Returns once the epoch is another than `seen`, or the worker is to leave. */
static void await_region(unsigned seen) {
    int64_t until = nanoseconds() + SPIN_NANOSECONDS;
    do {
        for (int i = 0; i < 64; i++) {
            if (atomic_load_explicit(&pool.epoch, memory_order_acquire) != seen) return;
            RELAX();
        }
    } while (nanoseconds() < until);
    pthread_mutex_lock(&pool.sleep);
    atomic_fetch_add(&pool.sleepers, 1);
    while (atomic_load(&pool.epoch) == seen) pthread_cond_wait(&pool.wake, &pool.sleep);
    atomic_fetch_sub(&pool.sleepers, 1);
    pthread_mutex_unlock(&pool.sleep);
}

static void *worker(void *number) {
    inside_region = 1;
    unsigned seen = 0;
    while ((int)(intptr_t)number < atomic_load(&pool.wanted)) {
        enter_if_open((int)(intptr_t)number + 1); /* 0 is the caller */
        await_region(seen);
        seen = atomic_load(&pool.epoch);
    }
    return NULL;
}

static void call_workers(void) {
    atomic_fetch_add(&pool.epoch, 1);
    if (atomic_load(&pool.sleepers) == 0) return;
    pthread_mutex_lock(&pool.sleep);
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.sleep);
}

/* After fork only the calling thread lives on: the child starts with no workers. */
static void forget_workers(void) {
    pthread_mutex_init(&pool.entry, NULL);
    pthread_mutex_init(&pool.sleep, NULL);
    pthread_cond_init(&pool.wake, NULL);
    pool.started = 0;
    atomic_store(&pool.gate, 0);
    atomic_store(&pool.sleepers, 0);
}

static void before_fork(void) { pthread_mutex_lock(&pool.entry); }
static void after_fork_in_parent(void) { pthread_mutex_unlock(&pool.entry); }
static void handle_forks(void) {
    pthread_atfork(before_fork, after_fork_in_parent, forget_workers);
}

static void start_workers(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, handle_forks);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    while (pool.started < pool.threads - 1) {
        pthread_t thread;
        atomic_store(&pool.wanted, pool.started + 1);
        if (pthread_create(&thread, &attributes, worker, (void *)(intptr_t)pool.started)) break;
        pool.started++;
    }
    pthread_attr_destroy(&attributes);
}

int lg_num_threads(void) { return pool.threads; }

void lg_set_num_threads(int count) {
    pthread_mutex_lock(&pool.entry);
    pool.threads = count < 1 ? 1 : count > LG_MAX_THREADS ? LG_MAX_THREADS : count;
    if (pool.started > pool.threads - 1) {
        pool.started = pool.threads - 1;
        atomic_store(&pool.wanted, pool.started);
        call_workers();
    }
    pthread_mutex_unlock(&pool.entry);
}

int lg_parallel(ptrdiff_t count, ptrdiff_t grain, lg_task task, void *context) {
    if (count <= 0) return LG_OK;
    if (grain < 1) grain = 1;
    if (count <= grain || pool.threads == 1 || inside_region || pthread_mutex_trylock(&pool.entry))
        return task(context, 0, count);
    if (pool.started < pool.threads - 1) start_workers();

    const ptrdiff_t grains = (count + grain - 1) / grain;
    pool.shares = grains < pool.threads ? (int)grains : pool.threads;
    for (int i = 0; i < pool.shares; i++) {
        ptrdiff_t begin = grains * i / pool.shares * grain, end = grains * (i + 1) / pool.shares * grain;
        atomic_store_explicit(&shares[i].next, begin, memory_order_relaxed);
        shares[i].end = end < count ? end : count;
    }
    pool.grain = grain;
    pool.task = task;
    pool.context = context;
    atomic_store_explicit(&pool.status, LG_OK, memory_order_relaxed);
    atomic_store_explicit(&pool.gate, OPEN, memory_order_release);
    call_workers();

    inside_region = 1;
    work(0);
    inside_region = 0;
    atomic_fetch_and_explicit(&pool.gate, ~OPEN, memory_order_acquire);
    for (int turns = 0; atomic_load_explicit(&pool.gate, memory_order_acquire) != 0; turns++) {
        if (turns < 10000) RELAX();
        else sched_yield();
    }
    int status = atomic_load_explicit(&pool.status, memory_order_relaxed);
    pthread_mutex_unlock(&pool.entry);
    return status;
}

/* Scratch memory: freed with its thread. */

struct scratch {
    void *memory[LG_SCRATCH_SLOTS];
    size_t bytes[LG_SCRATCH_SLOTS];
};

static pthread_key_t scratch_key;

static void free_scratch(void *owned) {
    struct scratch *s = owned;
    for (int slot = 0; slot < LG_SCRATCH_SLOTS; slot++) free(s->memory[slot]);
    free(s);
}

static void make_scratch_key(void) { pthread_key_create(&scratch_key, free_scratch); }

void *lg_scratch(int slot, size_t bytes) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_scratch_key);
    struct scratch *s = pthread_getspecific(scratch_key);
    if (s == NULL) {
        s = calloc(1, sizeof *s);
        if (s == NULL || pthread_setspecific(scratch_key, s)) {
            free(s);
            return NULL;
        }
    }
    if (s->bytes[slot] < bytes || s->memory[slot] == NULL) {
        size_t rounded = (bytes / 4096 + 1) * 4096;
        free(s->memory[slot]);
        s->bytes[slot] = 0;
        s->memory[slot] = rounded > bytes ? aligned_alloc(64, rounded) : NULL;
        if (s->memory[slot]) s->bytes[slot] = rounded;
    }
    return s->memory[slot];
}
