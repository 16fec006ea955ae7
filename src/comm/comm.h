/* Transports: moving bits between ranks. Floats are never added here; only integers are (counts, loss, digests).
 *
 * A communicator is a value: a silhouette of functions, the transport's own state, this rank and how many there are. `self`
 * is a transport of one rank; `threads` has N ranks as threads of this process. All functions but wait are collective: every
 * rank calls them in the same order, begins included, from one thread at a time; each returns when this rank's part is done.
 * wait may stand anywhere after its begin: in another order than on other ranks, before or after other collectives.
 * A collective that ends with a status agrees on it: all ranks get the status and message of the lowest rank that failed
 * ("rank r: " before it elsewhere).
 */
#ifndef SY_COMM_COMM_H
#define SY_COMM_COMM_H

#include "base/status.h"

enum { SY_COMM_MAX_REQUESTS = 16 }; /* that a rank has in flight before a begin may have to wait */

/* An exchange in flight. A value of the caller's; {0} and one that was waited for are none. May be used again after wait,
 * must not be copied before. */
struct sy_comm_request {
    uint64_t number; /* the transport's */
};

struct sy_comm_ops {
    const char *name;
    void (*barrier)(const struct sy_comm *c);
    /* recv [size * bytes]: part r is rank r's send. */
    void (*all_gather)(const struct sy_comm *c, const void *send, size_t bytes, void *recv);
    /* Part r of send (send_at[r] .. send_at[r+1] bytes) goes to rank r; recv_at [size + 1] says where each rank's part
     * lands. Both sides must agree on the sizes. send and recv do not overlap. */
    void (*all_to_all)(const struct sy_comm *c, const void *send, const int64_t *send_at, void *recv,
                       const int64_t *recv_at);
    /* The same without waiting for any rank's arrival. Neither the four arrays nor what they hold may be touched until wait
     * has returned. Only if this rank's begin of SY_COMM_MAX_REQUESTS calls ago is not finished does it finish that first,
     * which needs no more than that all ranks have begun it. A rank that fails still waits before its buffers go. */
    void (*all_to_all_begin)(const struct sy_comm *c, const void *send, const int64_t *send_at, void *recv,
                             const int64_t *recv_at, struct sy_comm_request *request);
    /* Local. Returns when all has been received and nobody reads this rank's send any more. It needs the other ranks' begin
     * of this request, not their wait. No request: returns at once. */
    void (*wait)(const struct sy_comm *c, struct sy_comm_request *request);
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

/* Begin and wait: all_to_all of every transport. */
void sy_comm_all_to_all(const struct sy_comm *c, const void *send, const int64_t *send_at, void *recv,
                        const int64_t *recv_at);

#endif
