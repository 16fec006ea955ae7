/* Point to point on `threads`: see messages.h.
 *
 * Whoever waits first after both ends have begun copies, without holding the lock; the other finds it done.
 */
#include "comm/messages.h"

#include <assert.h>
#include <string.h>

#include "comm/team.h"

struct sy_comm_request *sy_messages_match(struct sy_messages *list, struct sy_comm_request *request) {
    struct sy_comm_request **at = &list->first, *r;
    enum sy_comm_request_kind other = request->kind == SY_COMM_SEND ? SY_COMM_RECV : SY_COMM_SEND;
    for (; (r = *at) != NULL; at = &r->next)
        if (r->kind == other && r->from == request->from && r->to == request->to && r->tag == request->tag &&
            r->number == request->number) {
            assert(r->bytes == request->bytes);
            *at = r->next;
            return r;
        }
    *at = request;
    request->next = NULL;
    return NULL;
}

void sy_messages_remove(struct sy_messages *list, const struct sy_comm_request *request) {
    struct sy_comm_request **at = &list->first;
    while (*at != request)
        at = &(*at)->next;
    *at = request->next;
}

static sy_status begin(const struct sy_comm *c, struct sy_comm_request request, struct sy_comm_request *out) {
    struct sy_team *t = c->state;
    assert(request.from >= 0 && request.from < c->size && request.to >= 0 && request.to < c->size);
    sy_team_lock(t);
    sy_status status = sy_team_alive(c);
    *out = status == SY_OK ? request : (struct sy_comm_request){0};
    if (status == SY_OK) {
        t->member[c->rank].open++;
        if ((out->mate = sy_messages_match(&t->messages, out)) != NULL) {
            out->mate->mate = out;
            sy_team_wake(t, request.kind == SY_COMM_SEND ? request.to : request.from);
        }
    }
    sy_team_unlock(t);
    return status;
}

sy_status sy_messages_send_begin(const struct sy_comm *c, int to, int tag, const void *data, size_t bytes,
                                 struct sy_comm_request *request) {
    return begin(c,
                 (struct sy_comm_request){.kind = SY_COMM_SEND,
                                          .from = c->rank,
                                          .to = to,
                                          .tag = tag,
                                          .bytes = bytes,
                                          .data = (void *)(uintptr_t)data},
                 request);
}

sy_status sy_messages_recv_begin(const struct sy_comm *c, int from, int tag, void *data, size_t bytes,
                                 struct sy_comm_request *request) {
    return begin(
        c,
        (struct sy_comm_request){
            .kind = SY_COMM_RECV, .from = from, .to = c->rank, .tag = tag, .bytes = bytes, .data = data},
        request);
}

/* Moves it if both ends have begun and nobody has. Afterwards the mate may be gone. */
static int is_done(const struct sy_comm *c, void *arg) {
    struct sy_comm_request *r = arg, *mate = r->mate;
    struct sy_team *t = c->state;
    if (!r->done && mate && !r->moving && sy_team_move_begin(t)) {
        sy_status status = SY_OK;
        r->moving = mate->moving = 1;
        sy_team_unlock(t);
        if (r->bytes)
            status = sy_team_move(t, r->kind == SY_COMM_RECV ? r->data : mate->data,
                                  r->kind == SY_COMM_RECV ? mate->data : r->data, r->bytes);
        sy_team_lock(t);
        sy_team_moved(t, status);
        sy_team_move_end(t);
        r->done = mate->done = status == SY_OK;
        sy_team_wake(t, r->kind == SY_COMM_RECV ? r->from : r->to);
    }
    return r->done;
}

static int is_missing(const struct sy_comm *c, int rank, const void *arg) {
    const struct sy_comm_request *r = arg;
    (void)c;
    return !r->mate && rank == (r->kind == SY_COMM_SEND ? r->to : r->from);
}

sy_status sy_messages_wait(const struct sy_comm *c, struct sy_comm_request *request) {
    struct sy_team *t = c->state;
    int receives = request->kind == SY_COMM_RECV;
    sy_team_lock(t);
    sy_status status =
        sy_team_wait(c, &(struct sy_need){receives ? "receive" : "send", is_done, is_missing, request});
    t->member[c->rank].open--;
    sy_team_unlock(t);
    *request = (struct sy_comm_request){0};
    return status;
}
