/* Transports: moving bits between ranks. Floats are never added here; only integers are (counts, loss, digests).
 *
 * A communicator is a value: a silhouette of functions, the transport's own state, this rank and how many there are. `self`
 * is a transport of one rank; `threads` has N ranks as threads of this process. All calls but rank and size are collective:
 * every rank calls them in the same order, and each returns when this rank's part is done. A collective that ends with a
 * status agrees on it: all ranks get the status and message of the lowest rank that failed ("rank r: " before it elsewhere).
 */
#ifndef SY_COMM_COMM_H
#define SY_COMM_COMM_H

#include "base/status.h"

struct sy_comm;

struct sy_comm_ops {
    const char *name;
    void (*barrier)(const struct sy_comm *c);
    /* recv [size * bytes]: part r is rank r's send. */
    void (*all_gather)(const struct sy_comm *c, const void *send, size_t bytes, void *recv);
    /* Part r of send (send_at[r] .. send_at[r+1] bytes) goes to rank r; recv_at [size + 1] says where each rank's part
     * lands. Both sides must agree on the sizes. send and recv do not overlap. */
    void (*all_to_all)(const struct sy_comm *c, const void *send, const int64_t *send_at, void *recv,
                       const int64_t *recv_at);
    /* v [n] becomes the sum over ranks, modulo 2^64. */
    void (*sum_i64)(const struct sy_comm *c, int64_t *v, int64_t n);
    /* The agreed status; message and all. */
    sy_status (*agree)(const struct sy_comm *c, sy_status status);
};

struct sy_comm {
    const struct sy_comm_ops *ops;
    void *state;
    int rank, size;
};

/* The groups a rank is in: data parallel, expert parallel (a part of it), pipeline. */
struct sy_groups {
    struct sy_comm dp, ep, pp;
};

/* Local. One rank alone. */
struct sy_comm sy_comm_self(void);
struct sy_groups sy_groups_self(void);

/* Local. Runs fn(comm, arg) on `ranks` threads of this process, rank 0 on the caller's, and returns the status of the lowest
 * rank that failed, with its message. Errors: ERR_USAGE ranks out of 1..1024, ERR_RUNTIME, ERR_MEMORY. */
sy_status sy_comm_threads_run(int ranks, sy_status (*fn)(const struct sy_comm *comm, void *arg), void *arg);

#endif
