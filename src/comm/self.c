/* The transport of one rank: what is sent is received, at begin already. See comm.h. */
#include <string.h>

#include "comm/comm.h"

static void barrier(const struct sy_comm *c) { (void)c; }

static void all_gather(const struct sy_comm *c, const void *send, size_t bytes, void *recv) {
    (void)c;
    if (bytes)
        memcpy(recv, send, bytes);
}

static void all_to_all_begin(const struct sy_comm *c, const void *send, const int64_t *send_at, void *recv,
                             const int64_t *recv_at, struct sy_comm_request *request) {
    (void)c;
    request->number = 0; /* nothing is left to wait for */
    if (send_at[1] > send_at[0])
        memcpy((char *)recv + recv_at[0], (const char *)send + send_at[0], (size_t)(send_at[1] - send_at[0]));
}

static void wait_for(const struct sy_comm *c, struct sy_comm_request *request) {
    (void)c;
    (void)request;
}

static void sum_i64(const struct sy_comm *c, int64_t *v, int64_t n) {
    (void)c;
    (void)v;
    (void)n;
}

static sy_status agree(const struct sy_comm *c, sy_status status) {
    (void)c;
    return status;
}

static const struct sy_comm_ops ops = {"self",           barrier,  all_gather, sy_comm_all_to_all,
                                       all_to_all_begin, wait_for, sum_i64,    agree};

struct sy_comm sy_comm_self(void) {
    return (struct sy_comm){&ops, NULL, 0, 1};
}

struct sy_groups sy_groups_self(void) {
    return (struct sy_groups){sy_comm_self(), sy_comm_self(), sy_comm_self()};
}
