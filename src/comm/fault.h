/* What transports say of ranks that failed and of ranks that did not come. */
#ifndef SY_COMM_FAULT_H
#define SY_COMM_FAULT_H

#include <stddef.h>

#include "base/status.h"

enum { SY_FAULT_MESSAGE_BYTES = 2048 }; /* all that base/status.c keeps */

/* Of the ranks that came with a failure the lowest one's. */
struct sy_fault {
    sy_status status; /* OK: none */
    int rank;
    char message[SY_FAULT_MESSAGE_BYTES];
};

/* A rank comes with `mine` and its message; *fault stays that of the lowest that did. */
void sy_fault_add(struct sy_fault *fault, int rank, sy_status mine, const char *message);

/* "rank 3", "ranks 1, 2 and 5", "ranks 1, 2, 3, 4, 5, 6, 7, 8 and 90 more": the ranks of 0 .. size-1 for
 * which `name` returns a number, and not -1. Returns how many. */
int sy_fault_name(int size, int (*name)(int rank, const void *arg), const void *arg, char *text,
                  size_t bytes);

#endif
