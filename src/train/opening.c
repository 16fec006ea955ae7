/* What a run says before its first step. See opening.h. */
#include "ckpt/hf_config.h"
#include "device/cuda.h"
#include "train/classes.h"
#include "train/opening.h"
#include "train/schedule.h"

/* A GPU that is left alone is said; one that computes, too. */
static void log_device(const struct sy_session *s, const struct sy_log *log) {
    const struct sy_cuda_about *gpu = sy_device_cuda_is(s->exec.device);
    if (gpu) {
        sy_log_info(log, "%s: %s, %.1f GiB%s", s->exec.device->name, gpu->name,
                    (double)gpu->memory / (1u << 30), s->mesh.world > 1 ? "; each rank has a GPU" : "");
    } else if (sy_config_layer_of(s->config, "run.device") == SY_LAYER_RULE && sy_hopper_here()) {
        sy_log_info(
            log,
            "run.device = auto takes the CPU: a GPU computes numerics.class = sm90 alone, this run has %s",
            sy_class_name(s->exec.cls));
    }
}

static void log_experts(const struct sy_session *s, const struct sy_log *log) {
    const struct sy_calls *c = &s->calls;
    int direct = s->config->parallelism.expert_parallel_comm_backend == SY_COMM_DIRECT;
    sy_log_info(log, "Applied Expert Parallel with %s comm backend", direct ? "direct" : "standard");
    if (c->by_rounds)
        sy_log_info(
            log,
            "lane groups lie on several ranks: each brings whole rounds to a call, %lld at a time, up to "
            "%lld sequences (training.local_batch_size = %lld)",
            (long long)c->batch, (long long)c->max_sequences,
            (long long)s->config->training.local_batch_size);
}

static void log_ranks(const struct sy_session *s, const struct sy_log *log) {
    const struct sy_mesh *m = &s->mesh;
    struct sy_share lanes = sy_mesh_lanes(m, 0);
    if (m->world > 1)
        sy_log_info(log,
                    "%d ranks: pipeline %d, data parallel %d (replicate %d x shard %d), expert parallel %d; "
                    "rank 0 has %lld of %d lanes",
                    m->world, m->pp, m->dp, m->replicate, m->shard, m->ep, (long long)lanes.n, m->lanes);
    if (m->ep > 1)
        log_experts(s, log);
}

static void log_sources(const struct sy_session *s, const struct sy_log *log) {
    const struct sy_mixture *m = s->data.mixture;
    for (int i = 0; i < m->n && m->n > 1; i++) {
        const struct sy_documents *d = m->of[i].documents;
        sy_log_info(log, "source %s: %lld of %lld sequences, %lld documents (%lld bytes)",
                    s->config->data.sources.items[i], (long long)m->of[i].turns, (long long)m->period,
                    (long long)d->n_train, (long long)d->train_bytes);
    }
}

void sy_opening_log(const struct sy_session *s, const struct sy_opening *o, const struct sy_log *log) {
    struct sy_mixture_totals d = sy_mixture_totals(s->data.mixture);
    log_device(s, log);
    if (o->step < s->config->training.steps)
        sy_schedule_warn(&s->config->lr_scheduler, s->config->training.steps, log);
    sy_log_info(log, "%lld parameters (%lld active), class %s, tier %s, %d threads, recipe %s",
                (long long)s->params->n_parameters, (long long)s->params->n_active,
                sy_class_name(s->exec.cls), s->exec.ops->tier, sy_pool_size(s->pool), o->recipe_id);
    sy_log_info(log,
                "%lld documents to train on (%lld bytes, %.4f nats per token as unigrams), %lld held out "
                "(%lld bytes)",
                (long long)d.n_train, (long long)d.train_bytes, o->unigram_entropy, (long long)d.n_heldout,
                (long long)d.heldout_bytes);
    log_sources(s, log);
    const char *class = sy_hf_class_name(s->config);
    if (class)
        sy_log_info(log, "checkpoints are of Hugging Face's class %s", class);
    else
        sy_log_info(log, "checkpoints are read by switchyard alone: no class of Hugging Face's has %s",
                    sy_hf_class_lack(s->config));
    log_ranks(s, log);
}
