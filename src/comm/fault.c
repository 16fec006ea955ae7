/* Faults of ranks, and their names: see fault.h. */
#include "comm/fault.h"

#include <stdio.h>

void sy_fault_add(struct sy_fault *fault, int rank, sy_status mine, const char *message) {
    if (mine == SY_OK || (fault->status != SY_OK && fault->rank < rank))
        return;
    fault->status = mine;
    fault->rank = rank;
    snprintf(fault->message, sizeof fault->message, "%s", message);
}

int sy_fault_name(int size, int (*name)(int rank, const void *arg), const void *arg, char *text,
                  size_t bytes) {
    enum { NAMED = 8 };
    int names[NAMED + 1], n = 0;
    for (int r = 0; r < size; r++) {
        int number = name(r, arg);
        if (number >= 0 && n++ <= NAMED)
            names[n - 1] = number;
    }
    size_t at = (size_t)snprintf(text, bytes, n == 1 ? "rank" : "ranks");
    int shown = n <= NAMED + 1 ? n : NAMED;
    for (int i = 0; i < shown && at < bytes; i++) {
        const char *before = i == 0 ? " " : i == n - 1 ? " and " : ", ";
        at += (size_t)snprintf(text + at, bytes - at, "%s%d", before, names[i]);
    }
    if (shown < n && at < bytes)
        snprintf(text + at, bytes - at, " and %d more", n - shown);
    return n;
}
