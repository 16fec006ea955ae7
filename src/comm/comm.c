/* What all transports have in common: see comm.h. */
#include "comm/comm.h"

int sy_comm_rank(const struct sy_comm *comm) { return comm->rank; }

int sy_comm_size(const struct sy_comm *comm) { return comm->size; }

void sy_comm_all_to_all(const struct sy_comm *c, const void *send, const int64_t *send_at, void *recv,
                        const int64_t *recv_at) {
    struct sy_comm_request request = {0};
    c->ops->all_to_all_begin(c, send, send_at, recv, recv_at, &request);
    c->ops->wait(c, &request);
}
