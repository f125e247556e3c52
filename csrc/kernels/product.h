/* The matrix product behind dense layers and batched products: how it is cut up and shared out. */
#ifndef LITEGPT_PRODUCT_H
#define LITEGPT_PRODUCT_H

#include <stdatomic.h>

#include "finish.h"
#include "half.h"
#include "pairs.h"

enum {
    K_BLOCK = 768,         /* terms that are added in one go: rows of a panel, values of a strip */
    BLOCK_FLOATS = 196608, /* of an operand that stays in the second-level cache meanwhile */
    NEAR = 640,            /* distance of rows up to which caches do without packed strips, */
    NEAR_COLUMN = 400,     /* and of columns */
    PRODUCT_GRAIN = 32768  /* multiplications below which a piece isn't worth a thread */
};

/* c (M, N) (+)= a (M, K) * b (K, N), then finish. b comes packed (pack_linear), packed in a format
   of 16 bits, or with strides; in the last case both may be rounded to bfloat16. */
typedef struct {
    lg_matrix a;
    const float *b;
    const uint8_t *halves; /* b in `format` */
    lg_size b_row, b_column;
    int packed, format, accumulate, rounds;
    lg_size M, K, N;
    lg_finish finish;
    float *c;

    /* the part that is under way */
    int pairs;              /* words hold two terms each, else one */
    lg_size k, depth;       /* terms [k, k + depth) */
    lg_size words;          /* that these make */
    lg_size panel, panels;  /* these panels of columns */
    lg_size rows_per_block; /* by columns: rows are shared out in such blocks */
    uint64_t number;        /* no other part has it */
} lg_product;

INLINE lg_size words_of(const lg_product *p, lg_size terms) {
    return p->pairs ? (terms + 1) / 2 : terms;
}

/* One tile: rows from `row` on, the columns of one panel. `strip` holds the rows packed, or is NULL;
   b is the panel. */
INLINE void product_tile(const lg_product *p, lg_size row, int rows, lg_size panel,
                         const float *strip, const float *b) {
    const lg_size column = panel * PANEL;
    const int columns = at_most(p->N - column, PANEL);
    float *c = p->c + row * p->N + column;
    const int accumulate = p->accumulate || p->k > 0;
    /* A tile that is cut or still to be finished stands alone: rows of c that are a multiple of 4 KB
       apart look alike to a processor, which would not read one before the other is written. */
    const int finishes = p->k + p->depth == p->K && has_finish(&p->finish);
    const int alone = columns < PANEL || finishes;
    float tile[TILE_ROWS * PANEL];
    float *out = c;
    lg_size out_row = p->N;
    if (alone) {
        out = tile;
        out_row = PANEL;
        for (int r = 0; accumulate && r < rows; r++) {
            if (columns == PANEL) { /* a copy of constant size is a few instructions */
                memcpy(tile + r * PANEL, c + r * p->N, sizeof(float) * PANEL);
                continue;
            }
            memset(tile + r * PANEL, 0, sizeof(float) * PANEL);
            memcpy(tile + r * PANEL, c + r * p->N, sizeof(float) * (size_t)columns);
        }
    }
    if (HAS_PAIRS && p->pairs) {
        tile_pairs(rows, accumulate, p->words, strip, b, PANEL, out, out_row);
    } else if (strip) {
        tile_strip(rows, accumulate, p->depth, strip, b, PANEL, out, out_row);
    } else {
        const float *a = p->a.data + row * p->a.row + p->k * p->a.column;
        tile_loose(rows, accumulate, p->depth, a, p->a.row, p->a.column, b, PANEL, out, out_row);
    }
    if (finishes)
        finish_tile(&p->finish, p->N, row, rows, column, columns, tile, PANEL, c);
    else if (alone)
        for (int r = 0; r < rows; r++)
            memcpy(c + r * p->N, tile + r * PANEL, sizeof(float) * (size_t)columns);
}

/* Whether a's rows are to be packed by strips. */
INLINE int is_far(const lg_product *p) {
    return p->rounds || p->a.row > NEAR || p->a.column > NEAR_COLUMN;
}

/* The part's rows of a from `row` on, as a strip. */
INLINE void product_strip(const lg_product *p, lg_size row, float *strip) {
    const lg_matrix a = {p->a.data + row * p->a.row + p->k * p->a.column, p->a.row, p->a.column};
    const int rows = at_most(p->M - row, TILE_ROWS);
    if (p->rounds)
        pack_rounded(p->pairs, a.data, a.row, a.column, rows, TILE_ROWS, p->depth, strip);
    else
        pack_strip(a, rows, p->depth, strip);
}

/* The part's terms of one panel of b. */
INLINE void product_panel(const lg_product *p, lg_size panel, float *words) {
    if (p->halves) {
        widen(p->format, p->halves + 2 * (panel * p->K + p->k) * PANEL, p->depth * PANEL, words);
        return;
    }
    const float *b = p->b + p->k * p->b_row + panel * PANEL * p->b_column;
    const int columns = at_most(p->N - panel * PANEL, PANEL);
    if (p->rounds)
        pack_rounded(p->pairs, b, p->b_column, p->b_row, columns, PANEL, p->depth, words);
    else
        pack_panel(b, p->b_row, p->b_column, p->depth, columns, words);
}

/* Threads pack what they share each for themselves: what another has packed would come from that
   one's cache, which takes longer. These two do it once per thread and part. */

/* Whether the strips of a block of rows are still to be packed by this thread, which then does it. */
INLINE int meets_block(const lg_product *p, lg_size first) {
    static _Thread_local uint64_t number;
    static _Thread_local lg_size block;
    if (number == p->number && block == first) return 0;
    number = p->number;
    block = first;
    return 1;
}

/* The part's panels. */
INLINE void part_panels(const lg_product *p, float *panels) {
    static _Thread_local uint64_t number;
    if (number == p->number) return;
    for (lg_size i = 0; i < p->panels; i++)
        product_panel(p, p->panel + i, panels + i * PANEL * p->words);
    number = p->number;
}

INLINE uint64_t new_part(void) {
    static atomic_uint_fast64_t parts;
    return 1 + atomic_fetch_add_explicit(&parts, 1, memory_order_relaxed);
}

/* The terms [k, k + depth) of the part of one panel of b, to their place in it; k is even. */
INLINE void product_panel_slice(const lg_product *p, lg_size panel, lg_size k, lg_size depth,
                                float *words) {
    lg_product slice = *p;
    slice.k += k;
    slice.depth = depth;
    product_panel(&slice, panel, words + words_of(p, k) * PANEL);
}

/* Asks for the memory that product_panel_slice will read. */
INLINE void prefetch_panel_slice(const lg_product *p, lg_size panel, lg_size k, lg_size depth) {
    if (p->halves) return; /* one stream, which processors foresee */
    const float *b = p->b + (p->k + k) * p->b_row + panel * PANEL * p->b_column;
    const lg_size columns = at_most(p->N - panel * PANEL, PANEL);
    const int along = p->b_column == 1; /* panels are cut from b's rows */
    const lg_size lines = along ? depth : columns, length = along ? columns : depth;
    const lg_size apart = along ? p->b_row : p->b_column;
    for (lg_size i = 0; i < lines; i++)
        for (lg_size j = 0; j < length; j += 16) __builtin_prefetch(b + i * apart + j, 0, 2);
}

/* Asks for the rows of c that the tile at (row, panel) will write. */
INLINE void prefetch_output(const lg_product *p, lg_size row, lg_size panel) {
    const float *c = p->c + row * p->N + panel * PANEL;
    for (int r = 0; r < at_most(p->M - row, TILE_ROWS); r++)
        for (int j = 0; j < PANEL; j += 16) __builtin_prefetch(c + r * p->N + j, 1, 3);
}

/* Asks for rows of a from `row` on: the given share of `shares` of a strip. */
INLINE void prefetch_input(const lg_product *p, lg_size row, lg_size share, lg_size shares) {
    const lg_size rows = row < p->M ? at_most(p->M - row, TILE_ROWS) : 0;
    const float *a = p->a.data + row * p->a.row + p->k * p->a.column;
    if (p->a.column == 1)
        for (lg_size r = rows * share / shares; r < rows * (share + 1) / shares; r++)
            for (lg_size k = 0; k < p->depth; k += 16) __builtin_prefetch(a + r * p->a.row + k, 0, 2);
    else if (rows > 0)
        for (lg_size k = p->depth * share / shares; k < p->depth * (share + 1) / shares; k++)
            __builtin_prefetch(a + k * p->a.column + rows - 1, 0, 2);
}

/* Items are (block of rows, panel): a panel is packed by whoever works on it and meets all rows of
   the block, whose strips stay in cache from panel to panel. Between the tiles of one panel the
   next is packed, slice by slice, so that memory is read while the processor multiplies. */
static int product_columns_part(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const lg_product *p = context;
    const int many = p->M >= 2 * TILE_ROWS, far = p->rounds || (many && is_far(p));
    const int packs = !p->packed || p->halves; /* 16 bits are widened once for all rows */
    const lg_size room = packs ? K_BLOCK * PANEL : 0;
    const lg_size strips_size = far ? p->rows_per_block * p->words : 0;
    float *strips = lg_scratch(LG_SCRATCH_TASK, sizeof(float) * (size_t)(strips_size + 2 * room));
    if (strips == NULL) return LG_NO_MEMORY;
    float *rooms = strips + strips_size; /* of the panel under work and of the next, in turn */
    const lg_size tiles = (p->rows_per_block + TILE_ROWS - 1) / TILE_ROWS;
    const lg_size slice = round_up(p->depth / tiles + 1, 16); /* whole lines */
    if (packs) product_panel(p, begin % p->panels, rooms);
    for (lg_size i = begin; i < end; i++) {
        const lg_size panel = i % p->panels, next = (i + 1) % p->panels;
        const lg_size first = i / p->panels * p->rows_per_block;
        const lg_size last = first + p->rows_per_block < p->M ? first + p->rows_per_block : p->M;
        const float *b = rooms + (i - begin) % 2 * room;
        float *next_b = rooms + (i - begin + 1) % 2 * room;
        if (!packs) b = p->b + (panel * p->K + p->k) * PANEL;
        const int meets = (many || far) && meets_block(p, first);
        lg_size k = packs && i + 1 < end ? 0 : p->depth; /* so far of the next panel */
        for (lg_size row = first; row < last; row += TILE_ROWS) {
            const lg_size depth = p->depth - k < slice ? p->depth - k : slice;
            if (depth) prefetch_panel_slice(p, next, k, depth);
            if (many) prefetch_output(p, row + TILE_ROWS, panel);
            if (meets) prefetch_input(p, row + TILE_ROWS, 0, 1);
            if (meets && far) product_strip(p, row, strips + (row - first) * p->words);
            product_tile(p, row, at_most(last - row, TILE_ROWS), panel,
                         far ? strips + (row - first) * p->words : NULL, b);
            if (depth) product_panel_slice(p, next, k, depth, next_b);
            k += depth;
        }
        if (k < p->depth) product_panel_slice(p, next, k, p->depth - k, next_b);
    }
    return LG_OK;
}

static int product_by_columns(lg_product p) {
    const lg_size strips = (p.M + TILE_ROWS - 1) / TILE_ROWS;
    lg_size blocks = 1;
    p.panels = (p.N + PANEL - 1) / PANEL;
    if (p.M >= 2 * TILE_ROWS) {
        /* A narrow product on many threads is cut by rows too, and, where panels needn't be packed
           again for each, rows are cut into blocks that stay in cache. */
        const lg_size narrow = (4 * lg_num_threads() + p.panels - 1) / p.panels;
        const lg_size near = p.packed ? 1 + p.M * p.words / (BLOCK_FLOATS + 1) : 1;
        blocks = narrow > near ? narrow : near;
        if (blocks > strips / 4) blocks = strips / 4 + 1;
    }
    p.number = new_part();
    p.rows_per_block = (strips + blocks - 1) / blocks * TILE_ROWS;
    blocks = (p.M + p.rows_per_block - 1) / p.rows_per_block;
    lg_size work = (p.words + 1) * PANEL * (p.rows_per_block < p.M ? p.rows_per_block : p.M);
    return lg_parallel(p.panels * blocks, 1 + PRODUCT_GRAIN / work, product_columns_part, &p);
}

/* Items are strips: each is packed by whoever works on it and meets all the part's panels, which
   stay in cache from strip to strip. */
static int product_rows_part(void *context, ptrdiff_t begin, ptrdiff_t end) {
    const lg_product *p = context;
    const int far = p->rounds || (p->panels > 1 && is_far(p));
    float *strip = lg_scratch(LG_SCRATCH_TASK, sizeof(float) * (size_t)p->words *
                                                   (size_t)(TILE_ROWS + p->panels * PANEL));
    if (strip == NULL) return LG_NO_MEMORY;
    float *panels = strip + TILE_ROWS * p->words;
    part_panels(p, panels);
    for (lg_size row = begin * TILE_ROWS; row < end * TILE_ROWS && row < p->M; row += TILE_ROWS) {
        if (far) product_strip(p, row, strip);
        for (lg_size i = 0; i < p->panels; i++) {
            if (i + 1 < p->panels) prefetch_output(p, row, p->panel + i + 1);
            else prefetch_output(p, row + TILE_ROWS, p->panel);
            prefetch_input(p, row + TILE_ROWS, i, p->panels);
            product_tile(p, row, at_most(p->M - row, TILE_ROWS), p->panel + i, far ? strip : NULL,
                         panels + i * PANEL * p->words);
        }
    }
    return LG_OK;
}

static int product_by_rows(lg_product p) {
    const lg_size all = (p.N + PANEL - 1) / PANEL, strips = (p.M + TILE_ROWS - 1) / TILE_ROWS;
    const lg_size most = 1 + BLOCK_FLOATS / (PANEL * (p.words + 1));
    for (p.panel = 0; p.panel < all; p.panel += most) {
        p.panels = all - p.panel < most ? all - p.panel : most;
        p.number = new_part();
        const lg_size work = TILE_ROWS * PANEL * (p.words + 1) * p.panels;
        int status = lg_parallel(strips, 1 + PRODUCT_GRAIN / work, product_rows_part, &p);
        if (status != LG_OK) return status;
    }
    return LG_OK;
}

static int product(lg_product p) {
    if (p.M == 0 || p.N == 0) return LG_OK;
    const int many = p.M >= 2 * TILE_ROWS;
    p.pairs = p.rounds && HAS_PAIRS && lg_multiplies_bfloat16();
    for (p.k = 0; p.k == 0 || p.k < p.K; p.k += K_BLOCK) {
        p.depth = p.K - p.k < K_BLOCK ? p.K - p.k : K_BLOCK;
        p.words = words_of(&p, p.depth);
        /* By rows where b stays in cache, or where the output, larger than the operands, is what
           comes from memory. */
        const int by_rows = !p.packed && many && p.M >= 4 * TILE_ROWS * lg_num_threads() &&
                            (p.N * p.words <= BLOCK_FLOATS || p.M * p.words > BLOCK_FLOATS ||
                             p.M * p.N > p.K * (p.M + p.N));
        int status = by_rows ? product_by_rows(p) : product_by_columns(p);
        if (status != LG_OK) return status;
    }
    return LG_OK;
}

#endif
