/* Steps that the device repeats: see repeat.h. */
#include "train/repeat.h"

/* Plants and routes depend on the step, a profile on the host's clock. */
static int may_repeat(const struct sy_session *s) {
    const struct sy_device *d = s->exec.device;
    return d->repeat && s->config->run.cuda_graph && s->groups.world.size == 1 && !s->profile && !s->routes &&
           s->config->debug.break_[0] == '\0';
}

/* sign: 1 adds, -1 takes away. */
static void add(struct sy_moe_counters *c, const struct sy_moe_counters *each, int sign) {
#define X(name, text) c->name += sign * each->name;
    SY_MOE_COUNTER_LIST(X)
#undef X
}

int sy_repeat_step(struct sy_session *s) {
    struct sy_moe_counters *counters = sy_model_counters(s->model);
    if (!may_repeat(s))
        return 0;
    if (s->exec.device->repeat(s->exec.device)) {
        add(counters, &s->counted, 1);
        return 1;
    }
    s->counted = *counters;
    return 0;
}

int sy_repeat_done(struct sy_session *s) {
    struct sy_moe_counters *counters = sy_model_counters(s->model), before = s->counted;
    if (!may_repeat(s))
        return 1;
    s->counted = *counters;
    add(&s->counted, &before, -1);
    if (s->exec.device->repeated(s->exec.device))
        return 1;
    *counters = before;
    return 0;
}

void sy_repeat_forget(struct sy_session *s) {
    if (s->exec.device->forget)
        s->exec.device->forget(s->exec.device);
}
