/* Memory for the arrays that kernels return. */
#ifndef LITEGPT_BLOCKS_H
#define LITEGPT_BLOCKS_H

#include <stddef.h>

/* A block of at least `bytes` bytes (not 0), aligned to 64, content undefined; NULL if there is no
   memory. *capacity is what it really holds, and what lg_give_block wants to know. */
void *lg_take_block(size_t bytes, size_t *capacity);
void lg_give_block(void *memory, size_t capacity);

/* Blocks below this size are better served by malloc. */
#define LG_SMALLEST_BLOCK 32768

#endif
