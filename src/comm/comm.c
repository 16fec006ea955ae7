/* What all transports have in common: see comm.h. */
#include "comm/comm.h"

int sy_comm_rank(const struct sy_comm *comm) { return comm->rank; }

int sy_comm_size(const struct sy_comm *comm) { return comm->size; }

void sy_comm_destroy(struct sy_comm *c) {
    if (c->ops)
        c->ops->destroy(c);
    *c = (struct sy_comm){0};
}

void sy_groups_destroy(struct sy_groups *g) {
    struct sy_comm *made[] = {
        &g->dp, &g->ep, &g->edp, &g->shard, &g->replicate, &g->expert_shard, &g->expert_replicate, &g->pp};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        sy_comm_destroy(made[i]);
    *g = (struct sy_groups){0};
}

sy_status sy_comm_all_to_all(const struct sy_comm *c, sy_status mine, const void *send,
                             const int64_t *send_at, void *recv, const int64_t *recv_at) {
    struct sy_comm_request request = {0};
    SY_TRY(c->ops->all_to_all_begin(c, mine, send, send_at, recv, recv_at, &request));
    return c->ops->wait(c, &request);
}
