/* The transport of one rank: what is sent is received, at begin already. See comm.h. */
#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "comm/messages.h"

static sy_status agree(const struct sy_comm *c, sy_status mine) {
    (void)c;
    return mine;
}

static sy_status all_gather(const struct sy_comm *c, sy_status mine, const void *send, size_t bytes,
                            void *recv) {
    (void)c;
    if (mine == SY_OK && bytes)
        memcpy(recv, send, bytes);
    return mine;
}

static sy_status broadcast(const struct sy_comm *c, sy_status mine, int root, void *data, size_t bytes) {
    (void)c;
    (void)data;
    (void)bytes;
    assert(root == 0);
    return mine;
}

static sy_status sum_i64(const struct sy_comm *c, sy_status mine, int64_t *v, int64_t n) {
    (void)c;
    (void)v;
    (void)n;
    return mine;
}

/* --- in flight ------------------------------------------------------------------------------------ */

/* The status waits in `number`, its message is the thread's. */
static sy_status all_to_all_begin(const struct sy_comm *c, sy_status mine, const void *send,
                                  const int64_t *send_at, void *recv, const int64_t *recv_at,
                                  struct sy_comm_request *request) {
    (void)c;
    *request = (struct sy_comm_request){.kind = SY_COMM_EXCHANGE, .number = (uint64_t)mine};
    if (mine == SY_OK && send_at[1] > send_at[0])
        memcpy((char *)recv + recv_at[0], (const char *)send + send_at[0], (size_t)(send_at[1] - send_at[0]));
    return SY_OK;
}

/* Messages to oneself whose other end has not begun, of all communicators `self`; a request's number is its
 * own's. */
static struct {
    pthread_mutex_t mutex;
    struct sy_messages messages;
} unmet = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static sy_status begin(struct sy_comm_request *request) {
    pthread_mutex_lock(&unmet.mutex);
    struct sy_comm_request *mate = sy_messages_match(&unmet.messages, request);
    pthread_mutex_unlock(&unmet.mutex);
    if (!mate)
        return SY_OK;
    int receives = request->kind == SY_COMM_RECV;
    if (request->bytes)
        memcpy(receives ? request->data : mate->data, receives ? mate->data : request->data, request->bytes);
    request->done = mate->done = 1;
    return SY_OK;
}

static sy_status send_begin(const struct sy_comm *c, int to, int tag, const void *data, size_t bytes,
                            struct sy_comm_request *request) {
    assert(to == 0);
    *request = (struct sy_comm_request){.kind = SY_COMM_SEND,
                                        .number = (uint64_t)(uintptr_t)c->state,
                                        .tag = tag,
                                        .bytes = bytes,
                                        .data = (void *)(uintptr_t)data};
    return begin(request);
}

static sy_status recv_begin(const struct sy_comm *c, int from, int tag, void *data, size_t bytes,
                            struct sy_comm_request *request) {
    assert(from == 0);
    *request = (struct sy_comm_request){.kind = SY_COMM_RECV,
                                        .number = (uint64_t)(uintptr_t)c->state,
                                        .tag = tag,
                                        .bytes = bytes,
                                        .data = data};
    return begin(request);
}

/* Nobody else could begin the other end. */
static sy_status wait_for(const struct sy_comm *c, struct sy_comm_request *request) {
    struct sy_comm_request r = *request;
    (void)c;
    if (r.kind == SY_COMM_EXCHANGE || r.kind == SY_COMM_NONE || r.done) {
        *request = (struct sy_comm_request){0};
        return r.kind == SY_COMM_EXCHANGE ? (sy_status)r.number : SY_OK;
    }
    pthread_mutex_lock(&unmet.mutex);
    sy_messages_remove(&unmet.messages, request);
    pthread_mutex_unlock(&unmet.mutex);
    *request = (struct sy_comm_request){0};
    SY_FAIL(SY_ERR_PEER, "%s: rank 0 waits for itself: begin both ends of a message to oneself before a wait",
            r.kind == SY_COMM_RECV ? "receive" : "send");
}

/* --- communicators -------------------------------------------------------------------------------- */

static sy_status split(const struct sy_comm *c, sy_status mine, int color, int key, struct sy_comm *out) {
    (void)key;
    *out = (struct sy_comm){0};
    if (mine == SY_OK && color >= 0) {
        *out = sy_comm_self();
        out->limit = c->limit;
    }
    return mine;
}

static void destroy(struct sy_comm *c) { (void)c; }

static const struct sy_comm_ops ops = {.name = "self",
                                       .agree = agree,
                                       .all_gather = all_gather,
                                       .all_to_all = sy_comm_all_to_all,
                                       .all_to_all_begin = all_to_all_begin,
                                       .broadcast = broadcast,
                                       .sum_i64 = sum_i64,
                                       .send_begin = send_begin,
                                       .recv_begin = recv_begin,
                                       .wait = wait_for,
                                       .split = split,
                                       .destroy = destroy};

/* The state is a number that no other one has. */
struct sy_comm sy_comm_self(void) {
    static atomic_uintptr_t last;
    uintptr_t number = atomic_fetch_add(&last, 1) + 1;
    return (struct sy_comm){.ops = &ops, .state = (void *)number, .rank = 0, .size = 1};
}

struct sy_groups sy_groups_self(void) {
    return (struct sy_groups){.world = sy_comm_self(),
                              .dp = sy_comm_self(),
                              .ep = sy_comm_self(),
                              .edp = sy_comm_self(),
                              .shard = sy_comm_self(),
                              .replicate = sy_comm_self(),
                              .expert_shard = sy_comm_self(),
                              .expert_replicate = sy_comm_self(),
                              .pp = sy_comm_self()};
}
