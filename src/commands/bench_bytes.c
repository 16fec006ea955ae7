/* Bytes that are sent, counted and planned: see bench_bytes.h. */
#include "commands/bench_bytes.h"

#include "train/io.h"

struct sy_sent sy_sent_by(const struct sy_session *s) {
    struct sy_sent q = {{[SY_TRAFFIC_WEIGHTS] = (double)sy_weights_sent(&s->weights),
                         [SY_TRAFFIC_GRADIENTS] = (double)sy_reduce_sent(s->reduce),
                         [SY_TRAFFIC_EXPERTS] = (double)sy_model_counters(s->model)->bytes_sent,
                         [SY_TRAFFIC_STAGES] = s->pipeline ? (double)sy_pipeline_sent(s->pipeline) : 0.0}};
    return q;
}

sy_status sy_sent_planned(const struct sy_session *s, struct sy_sent *out) {
    struct sy_plan_bytes sent[SY_TRAFFIC_KINDS];
    struct sy_plan *p;
    SY_TRY(sy_plan_create(s->config, s->params, s->mesh.world, sy_plan_gpu_at(0), &p));
    sy_plan_sent(p, s->mesh.rank, sent);
    for (int k = 0; k < SY_TRAFFIC_KINDS; k++)
        out->of[k] = sent[k].sent;
    sy_plan_destroy(p);
    return SY_OK;
}

void sy_sent_print(const struct sy_sent *sent, const struct sy_sent *planned, const struct sy_io *io) {
    sy_io_printf(io, "%-44s %9s %9s\n", "sent by rank 0 in a step, MiB", "", "by plan");
    for (int k = 0; k < SY_TRAFFIC_KINDS; k++)
        sy_io_printf(io, "  %-42s %9.2f %9.2f\n", sy_traffic_names[k], sent->of[k] / (1 << 20),
                     planned->of[k] / (1 << 20));
}

void sy_sent_json(const struct sy_sent *sent, const struct sy_sent *planned, const struct sy_io *io) {
    static const char *const names[] = {[SY_TRAFFIC_WEIGHTS] = "weights",
                                        [SY_TRAFFIC_GRADIENTS] = "gradients",
                                        [SY_TRAFFIC_EXPERTS] = "experts",
                                        [SY_TRAFFIC_STAGES] = "stages"};
    sy_io_printf(io, "\"sent_bytes\":{");
    for (int k = 0; k < SY_TRAFFIC_KINDS; k++)
        sy_io_printf(io, "%s\"%s\":%.0f,\"%s_planned\":%.0f", k ? "," : "", names[k], sent->of[k], names[k],
                     planned->of[k]);
    sy_io_printf(io, "}");
}
