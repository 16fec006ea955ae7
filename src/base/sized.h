/* Structs of options that a caller made, perhaps with a header of another version: their first member is
 * their size, and what they lack is 0. */
#ifndef SY_BASE_SIZED_H
#define SY_BASE_SIZED_H

#include "base/status.h"

/* Local. *own, of `known` bytes, is what was given. A size of 0 is that of version 0.1, `first` bytes.
 * Errors: ERR_USAGE a size that is none; members that this version does not know and that are not 0. */
sy_status sy_sized_read(const char *name, const void *given, size_t known, size_t first, void *own);

/* The same of a struct of version 0.1. */
#define SY_OPTIONS(type, given, own) \
    sy_sized_read("struct " #type, (given), sizeof(struct type), sizeof(struct type), (own))

#endif
