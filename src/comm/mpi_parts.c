/* Many bytes between two ranks: offered, asked for, moved. See mpi_team.h. */
#include <assert.h>

#include "comm/mpi_team.h"

enum { TAGS = 30000 }; /* of 32767, which every MPI has; so many receives are open at most */

static void push(struct sy_part **list, struct sy_part *p) {
    p->next = *list;
    *list = p;
}

static void take_out(struct sy_part **list, const struct sy_part *p) {
    while (*list != p)
        list = &(*list)->next;
    *list = p->next;
}

static void answer(int process, const struct sy_note *note) {
    if (sy_mpi.cut.status == SY_OK && sy_wire_send_note(process, note, sizeof *note) != SY_OK)
        sy_mpi_cut();
}

uint64_t sy_mpi_offer(const struct sy_mpi_team *t, int rank, struct sy_part *p, int *left) {
    p->t = (struct sy_wire_transfer){
        .data = p->t.data, .bytes = p->t.bytes, .peer = t->process[rank], .sends = 1};
    p->team = t;
    p->left = left;
    p->offer = ++sy_mpi.last_offer;
    ++*left;
    push(&sy_mpi.offered, p);
    return p->offer;
}

void sy_mpi_withdraw(struct sy_part *p) {
    if (p->offer == 0)
        return;
    take_out(&sy_mpi.offered, p);
    p->offer = 0;
}

void sy_mpi_ask(const struct sy_mpi_team *t, int rank, uint64_t offer, struct sy_part *p, int *left) {
    int tag = 1 + (int)(sy_mpi.last_tag++ % TAGS), process = t->process[rank];
    p->t = (struct sy_wire_transfer){.data = p->t.data, .bytes = p->t.bytes, .peer = process, .tag = tag};
    p->team = t;
    p->left = left;
    p->offer = 0;
    ++*left;
    push(&sy_mpi.moving, p);
    if (sy_mpi.cut.status == SY_OK && sy_wire_move(&p->t) != SY_OK)
        sy_mpi_cut();
    answer(process, &(struct sy_note){.kind = SY_NOTE_ASK, .tag = tag, .team = t->id, .offer = offer});
}

void sy_mpi_say_taken(const struct sy_mpi_team *t, int rank, uint64_t offer) {
    answer(t->process[rank], &(struct sy_note){.kind = SY_NOTE_TAKEN, .team = t->id, .offer = offer});
}

static struct sy_part *find_offer(int process, uint64_t offer) {
    for (struct sy_part *p = sy_mpi.offered; p; p = p->next)
        if (p->offer == offer && p->t.peer == process)
            return p;
    return NULL;
}

static void nothing_comes(int process, int tag) {
    for (struct sy_part *p = sy_mpi.moving; p; p = p->next)
        if (!p->t.sends && p->t.peer == process && p->t.tag == tag)
            sy_wire_cancel(&p->t);
}

void sy_mpi_was_answered(int process, const struct sy_note *note) {
    if (note->kind == SY_NOTE_GONE) {
        nothing_comes(process, note->tag);
        return;
    }
    struct sy_part *p = find_offer(process, note->offer);
    if (p) {
        sy_mpi_withdraw(p);
        if (note->kind == SY_NOTE_ASK) {
            p->t.tag = note->tag;
            push(&sy_mpi.moving, p);
        } else {
            --*p->left;
        }
    } else if (note->kind == SY_NOTE_ASK) {
        answer(process, &(struct sy_note){.kind = SY_NOTE_GONE, .tag = note->tag, .team = note->team});
    }
}

int sy_mpi_move_parts(void) {
    int any = 0;
    for (struct sy_part **at = &sy_mpi.moving, *p; (p = *at) != NULL && sy_mpi.cut.status == SY_OK;) {
        size_t before = p->t.moved;
        if (sy_wire_move(&p->t) != SY_OK) {
            sy_mpi_cut();
            return any;
        }
        any |= p->t.moved > before;
        sy_mpi.moved += p->t.moved > before;
        if (p->t.moved == p->t.bytes || p->t.given_up) {
            *at = p->next;
            *p->left -= !p->t.given_up;
        } else {
            at = &p->next;
        }
    }
    return any;
}

int sy_mpi_parts_moving(const struct sy_mpi_team *t, int cancel) {
    int n = 0;
    for (struct sy_part *p = sy_mpi.moving; p; p = p->next) {
        n += p->team == t;
        if (p->team == t && cancel)
            sy_wire_cancel(&p->t);
    }
    return n;
}
