/* Teams out of a team: see comm.h. All show color and key, the first rank of each color makes its team, and
 * shows that. */
#include <assert.h>
#include <stdlib.h>

#include "comm/colors.h"
#include "comm/team.h"

/* Makes the team if this rank is the first of its color, and gives all ranks' teams to everyone. */
static sy_status make(const struct sy_comm *c, const int *order, int n, int makes, struct sy_team **teams,
                      int *seat) {
    struct sy_team *t = c->state, *made = NULL;
    sy_status status = SY_OK;
    for (int i = 0; i < n; i++)
        seat[i] = t->member[order[i]].seat;
    if (makes && !(made = sy_team_create(t->seats, seat, n)))
        status = sy_fail(SY_ERR_MEMORY, "split: no memory for a group of %d ranks", n);
    status = sy_threads_all_gather(c, status, &made, sizeof made, teams);
    for (int r = 0; status != SY_OK && made && r < n; r++)
        sy_team_destroy(made, r);
    return status;
}

sy_status sy_threads_split(const struct sy_comm *c, sy_status mine, int color, int key, struct sy_comm *out) {
    size_t size = (size_t)c->size;
    struct sy_wish *all = calloc(size, sizeof *all);
    struct sy_team **teams = calloc(size, sizeof *teams);
    int *order = calloc(2 * size, sizeof *order), place = 0, n = 0;
    *out = (struct sy_comm){0};
    if (mine == SY_OK && (!all || !teams || !order))
        mine = sy_fail(SY_ERR_MEMORY, "split: no memory for %d ranks", c->size);
    sy_status status = sy_threads_all_gather(c, mine, &(struct sy_wish){color, key, 0}, sizeof *all, all);
    if (status == SY_OK) {
        assert(all && teams && order); /* else this rank came with a failure, and that was agreed on */
        n = sy_colors_line_up(all, c->size, c->rank, order, &place);
        status = make(c, order, n, color >= 0 && place == 0, teams, order + size);
    }
    if (status == SY_OK && color >= 0)
        *out = (struct sy_comm){c->ops, teams[order[0]], place, n, c->limit};
    free(all);
    free(teams);
    free(order);
    return status;
}

void sy_threads_destroy(struct sy_comm *c) { sy_team_destroy(c->state, c->rank); }
