/* The thread pool: one per process, used by every kernel. */
#ifndef LITEGPT_POOL_H
#define LITEGPT_POOL_H

#include <stddef.h>

/* What every kernel and task returns. */
enum lg_status {
    LG_OK = 0,
    LG_NO_MEMORY = 1,
    LG_BAD_INDEX = 2,  /* an id or position outside its table; the kernel says which */
    LG_BAD_VALUE = 3,  /* numbers that the kernel can't work with; the kernel says where */
    LG_NOT_READ = 4    /* a file that ends too early, or can't be read */
};

/* A task works on items [begin, end) of a region. */
typedef int (*lg_task)(void *context, ptrdiff_t begin, ptrdiff_t end);

/* Runs task over [0, count) in pieces of at least `grain` items, on the caller's thread and the
   workers; returns when all is done, with LG_OK or the first bad status. Which thread takes which
   piece is left open, so results must not depend on it. Inside a task, and while another thread of
   the process holds the pool, the whole range runs on the caller's thread. */
int lg_parallel(ptrdiff_t count, ptrdiff_t grain, lg_task task, void *context);

int lg_num_threads(void);
void lg_set_num_threads(int count); /* 1..LG_MAX_THREADS, the caller's own thread included */

#define LG_MAX_THREADS 1024

/* Memory that belongs to the calling thread and is reused from call to call: at least `bytes`
   bytes, aligned to 64, content undefined; NULL if there is none. A kernel may hold one piece per
   slot. */
enum { LG_SCRATCH_REGION, LG_SCRATCH_TASK, LG_SCRATCH_SLOTS };
void *lg_scratch(int slot, size_t bytes);

#endif
