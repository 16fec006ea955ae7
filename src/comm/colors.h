/* Who is in which group of a split: see split in comm.h. */
#ifndef SY_COMM_COLORS_H
#define SY_COMM_COLORS_H

#include <stdint.h>

struct sy_wish {
    int color, key;
    uint64_t number; /* the transport's own */
};

/* The ranks of `rank`'s color among all [size], in the order of (key, rank): order [their number], which is
 * returned, and in *place where `rank` stands. */
int sy_colors_line_up(const struct sy_wish *all, int size, int rank, int *order, int *place);

#endif
