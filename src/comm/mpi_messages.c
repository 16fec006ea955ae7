/* Point to point on `mpi`: see mpi_team.h. A message is offered with its note; what fits the note is taken
 * from it, and said to be taken, so that a send ends when its receive has begun. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "comm/mpi_team.h"

struct sy_message {
    struct sy_message *next;
    uint64_t number; /* of its request */
    int sends, rank, tag;
    int met;  /* a receive: its send's note has come */
    int left; /* 1: not done */
    char *recv;
    size_t bytes;
    struct sy_part part;
};

static struct sy_message *find(const struct sy_mpi_team *t, uint64_t number) {
    struct sy_message *m = t->messages;
    while (m && m->number != number)
        m = m->next;
    return m;
}

static void close_message(struct sy_mpi_team *t, struct sy_message *m) {
    struct sy_message **at = &t->messages;
    while (*at != m)
        at = &(*at)->next;
    *at = m->next;
    free(m);
    sy_mpi.open--;
}

void sy_mpi_messages_withdraw(struct sy_mpi_team *t) {
    for (struct sy_message *m = t->messages; m; m = m->next)
        sy_mpi_withdraw(&m->part);
}

void sy_mpi_messages_close(struct sy_mpi_team *t) {
    while (t->messages)
        close_message(t, t->messages);
}

/* --- begin ---------------------------------------------------------------------------------------- */

static struct sy_message *open_message(struct sy_mpi_team *t, struct sy_comm_request *request) {
    struct sy_message *m = calloc(1, sizeof *m), **end = &t->messages;
    if (!m) {
        (void)sy_fail(SY_ERR_MEMORY, "no memory for a message");
        sy_mpi_cut();
        return NULL;
    }
    while (*end)
        end = &(*end)->next;
    *end = m;
    m->number = ++sy_mpi.last_message;
    request->number = m->number;
    sy_mpi.open++;
    pthread_cond_signal(&sy_mpi.work);
    return m;
}

sy_status sy_mpi_send_begin(const struct sy_comm *c, int to, int tag, const void *data, size_t bytes,
                            struct sy_comm_request *request) {
    struct sy_mpi_team *t = c->state;
    assert(to >= 0 && to < c->size);
    *request = (struct sy_comm_request){0};
    sy_mpi_lock();
    sy_mpi_progress(); /* the team's death may have come */
    sy_status status = sy_mpi_alive(t);
    struct sy_message *m = status == SY_OK ? open_message(t, request) : NULL;
    if (m) {
        m->sends = 1;
        m->rank = to;
        m->tag = tag;
        m->part.t.data = (char *)(uintptr_t)data;
        m->part.t.bytes = bytes;
        struct sy_note note = {.kind = SY_NOTE_MESSAGE, .tag = tag, .bytes = bytes};
        note.offer = sy_mpi_offer(t, to, &m->part, &m->left);
        sy_mpi_tell(t, to, &note, data, bytes <= SY_NOTE_ROOM ? bytes : 0);
        request->kind = SY_COMM_SEND;
    } else if (status == SY_OK) {
        status = sy_mpi_alive(t);
    }
    sy_mpi_unlock();
    return status;
}

static void meet(const struct sy_mpi_team *t, struct sy_message *m, const struct sy_note *note,
                 const char *body) {
    assert(note->bytes == m->bytes); /* the ranks do not agree on the size */
    m->met = 1;
    if (m->bytes > SY_NOTE_ROOM) {
        m->part.t.data = m->recv;
        m->part.t.bytes = m->bytes;
        sy_mpi_ask(t, note->rank, note->offer, &m->part, &m->left);
    } else {
        if (m->bytes)
            memcpy(m->recv, body, m->bytes);
        sy_mpi_say_taken(t, note->rank, note->offer);
    }
    m->left--; /* for what had not come */
}

void sy_mpi_message_came(struct sy_mpi_team *t, const struct sy_note *note, const char *body) {
    for (struct sy_message *m = t->messages; m; m = m->next)
        if (!m->sends && !m->met && m->rank == note->rank && m->tag == note->tag) {
            meet(t, m, note, body);
            return;
        }
    sy_mpi_keep(t, note, body);
}

sy_status sy_mpi_recv_begin(const struct sy_comm *c, int from, int tag, void *data, size_t bytes,
                            struct sy_comm_request *request) {
    struct sy_mpi_team *t = c->state;
    assert(from >= 0 && from < c->size);
    *request = (struct sy_comm_request){0};
    sy_mpi_lock();
    sy_mpi_progress(); /* the team's death may have come */
    sy_status status = sy_mpi_alive(t);
    struct sy_message *m = status == SY_OK ? open_message(t, request) : NULL;
    if (m) {
        m->rank = from;
        m->tag = tag;
        m->left = 1;
        m->recv = data;
        m->bytes = bytes;
        request->kind = SY_COMM_RECV;
        const struct sy_note like = {.kind = SY_NOTE_MESSAGE, .rank = from, .tag = tag};
        struct sy_arrival *a = sy_mpi_find(t, &like);
        if (a)
            meet(t, m, &a->note, a->body);
        free(a);
    } else if (status == SY_OK) {
        status = sy_mpi_alive(t);
    }
    sy_mpi_unlock();
    return status;
}

/* --- wait ----------------------------------------------------------------------------------------- */

static int is_there(const void *arg) {
    const struct sy_message *m = arg;
    return m->left == 0;
}

static int is_absent(int rank, const void *arg) {
    const struct sy_message *m = arg;
    return rank == m->rank && (m->sends ? m->part.offer != 0 : !m->met);
}

static int is_slow(int rank, const void *arg) {
    const struct sy_message *m = arg;
    return rank == m->rank && m->left > 0;
}

sy_status sy_mpi_message_wait(const struct sy_comm *c, struct sy_comm_request *request) {
    struct sy_mpi_team *t = c->state;
    const char *operation = request->kind == SY_COMM_SEND ? "send" : "receive";
    sy_mpi_lock();
    struct sy_message *m = find(t, request->number);
    *request = (struct sy_comm_request){0};
    sy_status status = m ? sy_mpi_wait(c, &(struct sy_mpi_need){operation, is_there, is_absent, is_slow, m})
                         : sy_mpi_alive(t);
    if (m && status == SY_OK)
        close_message(t, m);
    sy_mpi_unlock();
    return status;
}
