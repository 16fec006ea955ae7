/* Where a rank keeps the weights that a step reads: of each tensor all elements, or the shard of them that is
 * gathered with those of others when they are used (sharded.h). Whoever updates masters writes there. */
#ifndef SY_PARALLEL_KEEPER_H
#define SY_PARALLEL_KEEPER_H

#include <stddef.h>

#include "parallel/shard.h"

struct sy_kept {
    void *at;       /* NULL: the masters are read as they are */
    size_t element; /* bytes: as matrices are stored; of a vector, fp32 */
    struct sy_range_of range;
};

struct sy_keeper {
    void *self;
    struct sy_kept (*of)(const void *self, int tensor);
};

#endif
