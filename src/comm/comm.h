/* Transports: moving bits between ranks. Floats are never added here; only integers are (counts, loss,
 * digests).
 *
 * A communicator is a value: a silhouette of functions, the transport's own state, this rank and how many
 * there are. `self` is a transport of one rank; `threads` has N ranks as threads of this process; those of
 * `mpi` are processes (comm/world.h).
 *
 *   collective        every rank calls it, begins included, all in the same order
 *   point to point    one rank sends, one receives; any order
 *   wait              local; anywhere after its begin
 *
 * One thread at a time uses a rank's communicators.
 *
 * Status. A collective takes this rank's own, `mine`, so that a rank that has failed still comes and nobody
 * hangs, and returns the agreed one: if any rank came with a failure, all get the status and message of the
 * lowest such rank ("rank r: " before it elsewhere), and what they receive is undefined. Of a rank that
 * comes with a failure nothing is read or written but root, color and key; its pointers may be NULL.
 *
 * Ends. Every wait ends: when all have come, when a rank that it needs has left (its thread has returned,
 * or it has destroyed the communicator), or when `limit` seconds have passed. In the last two cases the
 * communicator is dead: on every rank, calls under way that are not complete and all later ones return
 * ERR_PEER, which names the operation, the ranks that did not come, and the seconds. Once a call has
 * returned so, all requests of this rank are over: its buffers and requests are its own again. (A
 * collective that agreed on a failure leaves the other requests in flight: each has its wait.) Ranks in
 * messages have the numbers of the run, also in a group split from it. Of processes some may have completed
 * the call in which a communicator dies; none completes a later one.
 */
#ifndef SY_COMM_COMM_H
#define SY_COMM_COMM_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/status.h"

enum {
    SY_COMM_MAX_REQUESTS = 16
}; /* all_to_alls in flight: n is begun when this rank has waited for n - 16 */

enum sy_comm_request_kind { SY_COMM_NONE, SY_COMM_EXCHANGE, SY_COMM_SEND, SY_COMM_RECV };

/* What is in flight: a value of the caller's, all of it the transport's. {0} and one that was waited for
 * are none. Stays where it is, and is not copied, from begin until wait has returned. */
struct sy_comm_request {
    enum sy_comm_request_kind kind;
    uint64_t number;
    int from, to, tag, moving, done;
    size_t bytes;
    void *data;
    struct sy_comm_request *mate, *next;
};

/* Writing into the memory of other ranks. A flag lies in the memory of the rank that waits for it, one
 * for each rank that may raise it; where they lie, ranks tell each other by all_gather. A flag carries
 * no status: a rank that has failed raises it all the same, or leaves. */
typedef _Atomic uint64_t sy_comm_flag;
struct sy_comm_windows {
    /* Local. From here until write_end this rank writes into the others' memory: nobody who learns of the
     * communicator's death returns meanwhile. Errors: ERR_PEER, it must not. */
    sy_status (*write_begin)(const struct sy_comm *c);
    /* Local. What it wrote is there: flag [size] of each rank becomes `value`, more than it was. */
    void (*write_end)(const struct sy_comm *c, sy_comm_flag *const *flag, uint64_t value);
    /* Local. Returns when the flags of all ranks, [size], are at least `value`; then what they wrote
     * before can be read. Errors: ERR_PEER. */
    sy_status (*wait)(const struct sy_comm *c, const sy_comm_flag *flag, uint64_t value);
};

struct sy_comm_ops {
    const char *name;
    const struct sy_comm_windows *windows; /* NULL: ranks cannot write into each other's memory */
    /* The agreed status, nothing else: also a barrier. */
    sy_status (*agree)(const struct sy_comm *c, sy_status mine);
    /* recv [size * bytes]: part r is rank r's send. */
    sy_status (*all_gather)(const struct sy_comm *c, sy_status mine, const void *send, size_t bytes,
                            void *recv);
    /* Part r of send (send_at[r] .. send_at[r+1] bytes) goes to rank r; recv_at [size + 1] says where each
     * rank's part lands and how much fits. Both sides must agree on the sizes. send and recv do not
     * overlap. */
    sy_status (*all_to_all)(const struct sy_comm *c, sy_status mine, const void *send, const int64_t *send_at,
                            void *recv, const int64_t *recv_at);
    /* The same without waiting for anyone: the agreed status comes with wait. Neither the four arrays nor
     * what they hold may be touched until wait has returned. Not OK: the communicator is dead, and there is
     * no request. */
    sy_status (*all_to_all_begin)(const struct sy_comm *c, sy_status mine, const void *send,
                                  const int64_t *send_at, void *recv, const int64_t *recv_at,
                                  struct sy_comm_request *request);
    /* data [bytes] of rank `root`, to all. */
    sy_status (*broadcast)(const struct sy_comm *c, sy_status mine, int root, void *data, size_t bytes);
    /* v [n] becomes the sum over ranks, modulo 2^64. */
    sy_status (*sum_i64)(const struct sy_comm *c, sy_status mine, int64_t *v, int64_t n);
    /* Local. data [bytes] to one rank, or from one. The i-th send from a to b with a tag meets b's i-th
     * receive from a with that tag, of the same size; a and b may be one rank. data may not be touched
     * until wait has returned. A message carries no status: a rank that has failed sends what it has, up to
     * the next collective, or leaves. */
    sy_status (*send_begin)(const struct sy_comm *c, int to, int tag, const void *data, size_t bytes,
                            struct sy_comm_request *request);
    sy_status (*recv_begin)(const struct sy_comm *c, int from, int tag, void *data, size_t bytes,
                            struct sy_comm_request *request);
    /* Local. Returns when all has been received and nobody reads what this rank sends any more. It needs
     * the other ranks' begin, not their wait: any order of waits ends. No request: returns at once. */
    sy_status (*wait)(const struct sy_comm *c, struct sy_comm_request *request);
    /* A communicator for the ranks of each color, in the order of key, then of rank; it has this one's
     * limit. A negative color: none (*out = {0}). Owned by the caller: sy_comm_destroy. Errors:
     * ERR_MEMORY. */
    sy_status (*split)(const struct sy_comm *c, sy_status mine, int color, int key, struct sy_comm *out);
    void (*destroy)(struct sy_comm *c);
};

struct sy_comm {
    const struct sy_comm_ops *ops;
    void *state;
    int rank, size;
    double limit; /* seconds that a call of this rank waits for others; 0: for ever */
};

/* The groups a rank is in (parallel/mesh.h): all ranks of the run; of its stage; those that share its stage's
 * experts, and those that have the same experts; those that share its stored weights, and those that have
 * the same ones, and both again of its experts'; the stages of its data. */
struct sy_groups {
    struct sy_comm world, dp, ep, edp, shard, replicate, expert_shard, expert_replicate, pp;
};

/* Copies from one rank's memory to another's, and waits: where that is not the host's. Local. */
typedef sy_status sy_comm_mover(void *to, const void *from, size_t bytes);

/* sy_comm_threads_run, whose all-to-alls and messages are copied by `mover` (NULL: memcpy). The other
 * collectives take the host's memory. */
sy_status sy_comm_threads_run_moved(int ranks, sy_comm_mover *mover,
                                    sy_status (*fn)(const struct sy_comm *comm, void *arg), void *arg);

/* Local. One rank alone; each call makes another communicator, to which only its copies belong. */
struct sy_comm sy_comm_self(void);
struct sy_groups sy_groups_self(void);

/* Local. For one that split made, once on each of its ranks, which has no request in flight. {0}: nothing. */
void sy_comm_destroy(struct sy_comm *c);
/* All but the world's, which is borrowed. */
void sy_groups_destroy(struct sy_groups *groups);

/* Begin and wait: all_to_all of every transport. */
sy_status sy_comm_all_to_all(const struct sy_comm *c, sy_status mine, const void *send,
                             const int64_t *send_at, void *recv, const int64_t *recv_at);

#endif
