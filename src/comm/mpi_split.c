/* Teams of `mpi`, and teams out of a team: see mpi_team.h. The first rank of each color has a number for it,
 * so that after one exchange all know their team, and after a second one all have it. */
#include <assert.h>
#include <stdlib.h>

#include "comm/colors.h"
#include "comm/mpi_team.h"

struct sy_mpi_team *sy_mpi_team_create(uint64_t id, const int *process, int size) {
    struct sy_mpi_team *t = calloc(1, sizeof *t);
    size_t n = (size_t)size;
    if (!t)
        return NULL;
    t->id = id;
    t->size = size;
    t->process = calloc(n, sizeof *t->process);
    t->left = calloc(n, sizeof *t->left);
    t->why = calloc(n, sizeof *t->why);
    t->next = sy_mpi.teams;
    sy_mpi.teams = t;
    if (!t->process || !t->left || !t->why || sy_mpi_exchanges_create(t) != SY_OK) {
        sy_mpi_team_free(t);
        return NULL;
    }
    for (int r = 0; r < size; r++) {
        t->process[r] = process[r];
        if (process[r] == sy_mpi.rank)
            t->rank = r;
    }
    return t;
}

void sy_mpi_team_free(struct sy_mpi_team *t) {
    struct sy_mpi_team **at = &sy_mpi.teams;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    sy_mpi_exchanges_free(t);
    for (struct sy_arrival *a = t->arrivals, *next; a; a = next) {
        next = a->next;
        free(a);
    }
    for (int r = 0; t->why && r < t->size; r++)
        free(t->why[r]);
    free(t->process);
    free(t->left);
    free(t->why);
    free(t);
}

/* With the team known to this process before any other rank of it is through. */
static sy_status make(const struct sy_comm *c, uint64_t id, const int *order, int n, struct sy_mpi_team **out,
                      int *process) {
    const struct sy_mpi_team *t = c->state;
    sy_status status = SY_OK;
    *out = NULL;
    for (int i = 0; i < n; i++)
        process[i] = t->process[order[i]];
    sy_mpi_lock();
    if (n > 0 && !(*out = sy_mpi_team_create(id, process, n)))
        status = sy_fail(SY_ERR_MEMORY, "split: no memory for a group of %d ranks", n);
    sy_mpi_unlock();
    status = sy_mpi_agree(c, status);
    sy_mpi_lock();
    if (status != SY_OK && *out)
        sy_mpi_team_free(*out);
    sy_mpi_unlock();
    return status;
}

sy_status sy_mpi_split(const struct sy_comm *c, sy_status mine, int color, int key, struct sy_comm *out) {
    size_t size = (size_t)c->size;
    struct sy_wish *all = calloc(size, sizeof *all), wish = {color, key, 0};
    int *order = calloc(2 * size, sizeof *order), place = 0, n = 0;
    struct sy_mpi_team *made = NULL;
    *out = (struct sy_comm){0};
    if (mine == SY_OK && (!all || !order))
        mine = sy_fail(SY_ERR_MEMORY, "split: no memory for %d ranks", c->size);
    sy_mpi_lock();
    wish.number = (uint64_t)sy_mpi.rank << 32 | ++sy_mpi.last_team;
    sy_mpi_unlock();
    sy_status status = sy_mpi_all_gather(c, mine, &wish, sizeof wish, all);
    if (status == SY_OK) {
        assert(all && order); /* else this rank came with a failure, and that was agreed on */
        n = color >= 0 ? sy_colors_line_up(all, c->size, c->rank, order, &place) : 0;
        status = make(c, n ? all[order[0]].number : 0, order, n, &made, order + size);
    }
    if (status == SY_OK && n > 0)
        *out = (struct sy_comm){c->ops, made, place, n, c->limit};
    free(all);
    free(order);
    return status;
}

void sy_mpi_destroy(struct sy_comm *c) {
    struct sy_mpi_team *t = c->state;
    sy_mpi_lock();
    sy_mpi_settle(t);
    sy_mpi_leave(t, SY_OK);
    sy_mpi_team_free(t);
    sy_mpi_unlock();
}
