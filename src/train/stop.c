/* What is due between two steps: see stop.h. */
#include "train/stop.h"

#include "base/clock.h"

static int asked_to_save(const struct sy_io *io) { return io->save ? *io->save : 0; }

struct sy_stop sy_stop_begin(const struct sy_session *session, const struct sy_io *io) {
    return (struct sy_stop){.io = io, .session = session, .saves = asked_to_save(io), .saved_at = sy_clock()};
}

static int on_any_rank(const struct sy_stop *s, int here) {
    const struct sy_comm *world = &s->session->groups.world;
    int64_t n = here;
    /* without the others there is no next step */
    return world->ops->sum_i64(world, SY_OK, &n, 1) != SY_OK || n > 0;
}

int sy_stop_asked(const struct sy_stop *s) { return on_any_rank(s, s->io->stop && *s->io->stop); }

int sy_stop_save_due(struct sy_stop *s, int64_t step) {
    const struct sy_config_checkpoint *c = &s->session->config->checkpoint;
    int saves = asked_to_save(s->io), asked = saves != s->saves;
    int is_clock = s->session->groups.world.rank == 0 && c->interval_minutes > 0;
    int late = is_clock && sy_clock() - s->saved_at >= 60 * c->interval_minutes;
    s->saves = saves;
    return on_any_rank(s, asked || late) || step % c->interval == 0;
}

void sy_stop_saved(struct sy_stop *s) { s->saved_at = sy_clock(); }
