/* The main job: train in a run's folder, resume what is there, save, stop on request (docs/ARCHITECTURE.md).
 *
 *     newest valid checkpoint -> finish the config -> data -> ranks: session -> load -> folder, config.toml
 *     -> steps -> checkpoint
 *
 * A folder that is there is locked first. Before the session exists and the resume is accepted nothing is
 * written to it. Every rank has a trainer and goes the same way; rank 0's alone has the folder, the log and
 * the caller's io, and what it alone can fail in is agreed on before the next step.
 */
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "comm/world.h"
#include "train/counters_print.h"
#include "train/feed.h"
#include "train/io.h"
#include "train/opening.h"
#include "train/processes.h"
#include "train/resume.h"
#include "train/run_folder.h"
#include "train/start.h"
#include "train/state_store.h"
#include "train/stop.h"
#include "train/trainer.h"
#include "train/watchers.h"

struct trainer {
    struct sy_config *config;
    const char *name;
    struct sy_launch place; /* of the process */
    struct sy_io quiet;     /* of all but the first */
    const struct sy_io *io;
    struct sy_train_summary *out;
    struct sy_log log;
    struct sy_run_folder folder;
    struct sy_resume resume; /* of the process, and its data */
    struct sy_data data;
    const struct sy_comm *world;
    struct sy_session *session;
    struct sy_watchers watch;
    struct sy_stop stop;
    json_t *fingerprint, *initial; /* the first rank's; NULL: initial values */
    int64_t first_step, step, saved_step, skipped_in_a_row;
    struct sy_step_result last; /* the step that was done */
};

static int is_first(const struct trainer *t) { return t->world->rank == 0; }

/* What one rank alone did, as all know it. */
static sy_status agree(const struct trainer *t, sy_status mine) {
    return t->world->ops->agree(t->world, mine);
}

static void begin_log(struct trainer *t) {
    t->watch.listener = -1;
    t->folder = (struct sy_run_folder){.io = t->io, .dir = t->out->run_dir, .lock = -1};
    t->log = sy_run_folder_log(&t->folder);
}

/* --- checkpoints ---------------------------------------------------------------------------------------- */

/* What the trainer has beside weights; NULL without memory. */
static json_t *describe(const struct sy_session *s, int64_t tokens) {
    json_t *trainer =
        json_pack("{s:I, s:I}", "applied", (json_int_t)s->applied, "tokens", (json_int_t)tokens);
    json_t *place = sy_mixture_place_json(s->data.mixture, &s->place);
    int lacks = s->data.mixture->n > 1 && !place;
    if (trainer && place)
        lacks |= json_object_set(trainer, "sources", place) != 0;
    json_decref(place);
    if (!lacks)
        return trainer;
    json_decref(trainer);
    return NULL;
}

/* Every rank's: each writes what it owns. */
static sy_status save(struct trainer *t) {
    struct sy_session *s = t->session;
    if (!t->config->checkpoint.enable || t->saved_step == t->step)
        return SY_OK;
    int64_t tokens = sy_session_token(s, t->step);
    json_t *trainer = describe(s, tokens);
    SY_TRY(agree(t, trainer ? SY_OK : sy_fail(SY_ERR_MEMORY, "no memory for a checkpoint's manifest")));
    struct sy_ckpt_store store = sy_state_store(&s->state, t->world);
    struct sy_ckpt_state state = {.config = t->config,
                                  .params = s->params,
                                  .store = &store,
                                  .step = t->step,
                                  .next_sequence = tokens / t->config->training.seq_len,
                                  .former_recipes = t->resume.former,
                                  .n_former_recipes = t->resume.n_former,
                                  .data_fingerprint = t->fingerprint,
                                  .tokenizer = t->data.tokenizer,
                                  .trainer = trainer,
                                  .initial = t->initial,
                                  .weights_digest = t->out->weights_digest};
    struct sy_ckpt_save_options options = {.keep_latest_k = t->config->checkpoint.keep_latest_k,
                                           .log = &t->log};
    char path[SY_CKPT_PATH_BYTES];
    sy_status status = sy_ckpt_save(t->out->run_dir, &state, &options, path);
    json_decref(trainer);
    if (status != SY_OK)
        return sy_fail_context(status, "checkpoint of step %lld", (long long)t->step);
    t->saved_step = t->step;
    sy_stop_saved(&t->stop);
    sy_report_live_ask(t->watch.report);
    sy_log_info(&t->log, "saved %s", path);
    return SY_OK;
}

/* --- steps ---------------------------------------------------------------------------------------------- */

static sy_status begin_anew(struct trainer *t) {
    SY_TRY(sy_session_digest(t->session, t->out->weights_digest));
    SY_TRY(agree(t, is_first(t) ? sy_start_record(t->config, t->out->weights_digest, &t->initial) : SY_OK));
    if (t->initial)
        sy_log_info(&t->log, "begins with %s of %s, weights digest %s",
                    t->config->checkpoint.initial_load_model_only ? "the weights" : "weights and optimizer",
                    t->config->checkpoint.initial_load_path, t->out->weights_digest);
    return SY_OK;
}

/* The session, with what was resumed in it. */
static sy_status make_session(struct trainer *t) {
    int parts = SY_SESSION_TRAIN | SY_SESSION_DATA | (t->resume.ckpt ? 0 : SY_SESSION_INIT);
    struct sy_session_options o = {t->config, &t->log, parts, t->world, &t->data};
    SY_TRY(sy_session_join(&o, &t->session));
    if (!t->resume.ckpt)
        return begin_anew(t);
    t->initial = is_first(t) ? json_incref((json_t *)sy_ckpt_info(t->resume.ckpt)->initial) : NULL;
    SY_TRY(sy_resume_load(&t->resume, t->session, &t->log, &t->step, t->out->weights_digest));
    t->saved_step = t->first_step = t->step;
    return sy_step_routes_check(t->session->routes, t->step + 1, t->config->training.steps);
}

/* What a process does once, before its ranks; the first one has the folder. A launcher's processes are the
 * ranks, also where the checkpoint had threads. */
static sy_status prepare(struct trainer *t) {
    SY_TRY(sy_run_folder_name(t->config, t->name, &t->log, t->out->run_dir));
    if (t->place.rank == 0 && access(t->out->run_dir, F_OK) == 0)
        SY_TRY(sy_run_folder_lock(&t->folder));
    SY_TRY(sy_resume_find(t->out->run_dir, t->config, &t->log, &t->resume));
    int processes = t->place.size > 1;
    if (processes)
        SY_TRY(
            sy_config_set(t->config, SY_LAYER_RULE, sy_launcher_name(t->place.launcher), "run.ranks", "1"));
    struct sy_mesh mesh;
    SY_TRY(sy_mesh_create(t->config, processes ? t->place.size : (int)t->config->run.ranks, 0, &mesh));
    SY_TRY(sy_data_open(t->config, &t->log, &t->data));
    SY_TRY(sy_mixture_fingerprint(t->data.mixture, sy_tokenizer_hash(t->data.tokenizer), &t->fingerprint));
    if (t->place.rank == 0)
        SY_TRY(sy_prometheus_listen(t->config, &t->watch.listener));
    t->out->unigram_entropy = sy_mixture_entropy(t->data.mixture, t->config->data.cache_dir);
    return SY_OK;
}

static struct sy_watched watched(const struct trainer *t) {
    return (struct sy_watched){t->session, t->io, &t->log, t->out->run_dir, t->resume.recipe_id};
}

static sy_status open_run(struct trainer *t) {
    if (t->folder.lock < 0)
        SY_TRY(sy_run_folder_make(&t->folder));
    SY_TRY(sy_run_folder_open_log(&t->folder));
    if (!sy_resume_is_done(&t->resume, t->config))
        SY_TRY(sy_run_folder_write_config(&t->folder, t->config));
    struct sy_watched of = watched(t);
    SY_TRY(sy_watchers_begin_first(&t->watch, &of, t->step));
    sy_opening_log(t->session, &(struct sy_opening){t->step, t->out->unigram_entropy, t->resume.recipe_id},
                   &t->log);
    return SY_OK;
}

static sy_status start(struct trainer *t) {
    SY_TRY(agree(t, make_session(t)));
    SY_TRY(agree(t, is_first(t) ? open_run(t) : SY_OK));
    struct sy_watched of = watched(t);
    SY_TRY(agree(t, sy_watchers_begin(&t->watch, &of, t->step)));
    t->stop = sy_stop_begin(t->session, t->io);
    return SY_OK;
}

static sy_status evaluate(struct trainer *t) {
    int64_t n;
    if (sy_mixture_eval_count(t->session->data.mixture) == 0)
        return SY_OK;
    SY_TRY(sy_session_eval(t->session, t->config->validation.steps, &t->out->eval_loss, &n));
    SY_TRY(agree(t, sy_watchers_eval(&t->watch, t->step, t->out->eval_loss, n)));
    sy_log_info(&t->log, "step %lld: held-out loss %.4f nats per token over %lld tokens", (long long)t->step,
                t->out->eval_loss, (long long)n);
    return SY_OK;
}

static sy_status nonfinite(struct trainer *t, const struct sy_step_result *r) {
    const struct sy_config *c = t->config;
    t->skipped_in_a_row++;
    if (c->run.nonfinite == SY_NONFINITE_STOP)
        SY_FAIL(SY_ERR_NONFINITE,
                "step %lld was not applied: %s; the weights of step %lld are kept (run.nonfinite=skip skips "
                "such steps)",
                (long long)r->step, r->why, (long long)(r->step - 1));
    if (t->skipped_in_a_row >= c->run.nonfinite_limit)
        SY_FAIL(SY_ERR_NONFINITE,
                "step %lld was not applied, the last of %lld in a row (run.nonfinite_limit): %s",
                (long long)r->step, (long long)t->skipped_in_a_row, r->why);
    sy_log_warn(&t->log, "step %lld skipped: %s", (long long)r->step, r->why);
    return SY_OK;
}

/* A step failed and the weights are those of t->step: they are saved, and what failed stays the error. */
static sy_status save_before(struct trainer *t, sy_status status) {
    char why[2048];
    if (status == SY_ERR_PEER) /* without the others nothing can be saved */
        return sy_fail_context(status, "step %lld", (long long)t->step + 1);
    snprintf(why, sizeof why, "%s", sy_error_message());
    if (save(t) != SY_OK)
        sy_log_warn(&t->log, "step %lld could not be saved: %s", (long long)t->step, sy_error_message());
    return sy_fail(status, "%s", why);
}

static sy_status one_step(struct trainer *t) {
    struct sy_step_result r;
    SY_TRY(sy_watchers_before(&t->watch, t->step + 1));
    sy_status status = sy_session_step(t->session, t->step, &r);
    sy_watchers_after(&t->watch, t->step + 1);
    if (status != SY_OK)
        return save_before(t, status);
    t->last = r;
    memcpy(t->out->weights_digest, r.digest, sizeof t->out->weights_digest);
    status = agree(t, sy_watchers_step(&t->watch, &r));
    if (status == SY_OK && r.asked)
        sy_log_info(&t->log, "step %lld skipped: %s", (long long)r.step, r.why);
    else if (status == SY_OK && !r.applied)
        status = nonfinite(t, &r);
    else if (status == SY_OK)
        t->skipped_in_a_row = 0;
    t->step = status == SY_OK || r.applied ? r.step : t->step;
    if (status != SY_OK)
        return save_before(t, status);
    t->out->step = t->step;
    t->out->loss = r.loss;
    return sy_watchers_shown(&t->watch, t->step, t->folder.log);
}

static sy_status loop(struct trainer *t) {
    const struct sy_config *c = t->config;
    if (t->step < c->training.steps && is_first(t))
        sy_progress_head(&t->watch.progress, t->io, &t->log, t->folder.log);
    for (int64_t first = t->step, evaluated = first;;) {
        int last = t->step >= c->training.steps, asked = sy_stop_asked(&t->stop);
        if (t->step > first && (sy_stop_save_due(&t->stop, t->step) || last || asked))
            SY_TRY(save(t));
        if (last)
            break;
        if (asked)
            SY_FAIL(SY_STOPPED, "stopped after step %lld of %lld", (long long)t->step,
                    (long long)c->training.steps);
        if (c->validation.enable && t->step > evaluated && t->step % c->validation.freq == 0) {
            SY_TRY(evaluate(t));
            evaluated = t->step; /* and it may have been asked to stop meanwhile */
        } else {
            SY_TRY(one_step(t));
        }
    }
    return c->validation.enable ? evaluate(t) : SY_OK;
}

static void counters_line(void *user, const char *text, size_t n) {
    const struct trainer *t = user;
    if (t->folder.log)
        fwrite(text, 1, n, t->folder.log);
    if (t->io->write)
        t->io->write(t->io->user, text, n);
}

/* What the MoE layers of a rank did, at the end of a run or when it is asked to stop. */
static sy_status report_counters(struct trainer *t) {
    if (!t->config->metrics.moe_counters || t->step == t->first_step)
        return SY_OK;
    struct sy_moe_counters counters = *sy_model_counters(t->session->model);
    SY_TRY(t->world->ops->broadcast(t->world, SY_OK, (int)t->config->metrics.moe_counters_rank, &counters,
                                    sizeof counters));
    if (!is_first(t))
        return SY_OK;
    sy_counters_print(&counters, counters_line, t);
    return sy_metrics_counters(&t->watch.metrics, t->step, &counters);
}

/* A rank, from its session to its last step. */
static sy_status run(struct trainer *t) {
    sy_status status = start(t);
    t->out->step = t->step;
    if (status == SY_OK)
        status = loop(t);
    if (status == SY_STOPPED && t->folder.log)
        fprintf(t->folder.log, "%s\n", sy_error_message());
    if (status == SY_OK || status == SY_STOPPED) {
        sy_status reported = report_counters(t);
        status = status == SY_OK ? reported : status;
    }
    sy_session_destroy(t->session);
    t->session = NULL;
    sy_watchers_end_traces(&t->watch);
    return status;
}

/* Another rank's trainer has neither folder nor log; signals reach it, too. */
static sy_status run_rank(const struct sy_comm *world, void *arg) {
    struct trainer *first = arg;
    int is_its_own = world->rank == 0 || first->place.size > 1; /* of threads the others only read it */
    if (is_its_own)
        first->world = world;
    if (first->place.size > 1) {
        SY_TRY(agree(first, prepare(first)));
        int64_t step = first->resume.ckpt ? sy_ckpt_info(first->resume.ckpt)->step : 0;
        SY_TRY(sy_processes_compare(world, first->out->run_dir, step, first->fingerprint));
    }
    if (is_its_own)
        return run(first);
    struct sy_train_summary out = {.loss = NAN};
    memcpy(out.run_dir, first->out->run_dir, sizeof out.run_dir);
    struct sy_io quiet = {.stop = first->io->stop, .save = first->io->save};
    struct trainer t = {.config = first->config,
                        .io = &quiet,
                        .out = &out,
                        .folder = {.lock = -1},
                        .watch = {.listener = -1},
                        .saved_step = -1,
                        .resume = first->resume,
                        .data = first->data,
                        .world = world};
    return run(&t);
}

/* Threads share what one of them prepares; of processes each prepares its own, and they agree on it. */
static sy_status run_ranks(struct trainer *t) {
    struct sy_world_options o = sy_world_options(t->config);
    int ranks;
    SY_TRY(sy_world_size(&o, &ranks, &t->place));
    if (t->place.rank > 0) {
        t->quiet = (struct sy_io){.stop = t->io->stop, .save = t->io->save};
        t->io = &t->quiet;
        t->log = (struct sy_log){0};
    }
    if (t->place.size == 1) {
        SY_TRY(prepare(t));
        o = sy_world_options(t->config); /* a checkpoint may have said more */
    }
    o.stop = t->io->stop;
    return sy_world_run(&o, run_rank, t);
}

static void close_trainer(struct trainer *t) {
    sy_watchers_end(&t->watch, &t->log);
    sy_data_close(&t->data);
    sy_resume_fini(&t->resume);
    json_decref(t->fingerprint);
    json_decref(t->initial);
    sy_run_folder_close(&t->folder);
}

/* The run's last file; what failed before stays the error. */
static sy_status end(struct trainer *t, sy_status status) {
    status = sy_watchers_last(&t->watch, status);
    if (status != SY_OK && status != SY_STOPPED && t->folder.log)
        fprintf(t->folder.log, "error: %s\n", sy_error_message());
    close_trainer(t);
    return status;
}

sy_status sy_train(struct sy_config *config, const char *name, const struct sy_io *io,
                   struct sy_train_summary *out) {
    *out = (struct sy_train_summary){.loss = NAN, .eval_loss = NAN, .unigram_entropy = NAN};
    struct trainer t = {.config = config, .name = name, .io = io, .out = out, .saved_step = -1};
    begin_log(&t);
    return end(&t, run_ranks(&t));
}

/* --- step by step: see trainer.h ------------------------------------------------------------------------ */

struct sy_trainer {
    struct trainer t;
    struct sy_comm self;
    struct sy_io io;
    struct sy_train_summary out;
    sy_status status; /* of the last call that failed; after it nothing is done */
};

static sy_status open_alone(struct trainer *t) {
    struct sy_world_options o = sy_world_options(t->config);
    int ranks;
    SY_TRY(sy_world_size(&o, &ranks, &t->place));
    if (t->place.size > 1)
        SY_FAIL(SY_ERR_USAGE, "a run that is opened is one rank, and %d processes were started: start one",
                t->place.size);
    SY_TRY(prepare(t));
    if (t->config->run.ranks > 1)
        return sy_config_fail(t->config, "run.ranks", "a run that is opened is one rank: choose 1");
    return start(t);
}

sy_status sy_trainer_open(struct sy_config *config, const char *name, const struct sy_io *io,
                          struct sy_trainer **out) {
    struct sy_trainer *h = calloc(1, sizeof *h);
    if (!h)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a run");
    if (io)
        h->io = *io;
    h->self = sy_comm_self();
    h->out = (struct sy_train_summary){.loss = NAN, .eval_loss = NAN, .unigram_entropy = NAN};
    h->t = (struct trainer){
        .config = config, .name = name, .io = &h->io, .out = &h->out, .saved_step = -1, .world = &h->self};
    begin_log(&h->t);
    sy_status status = open_alone(&h->t);
    h->out.step = h->t.step;
    if (status == SY_OK && h->t.step < config->training.steps)
        sy_progress_head(&h->t.watch.progress, &h->io, &h->t.log, h->t.folder.log);
    if (status != SY_OK) {
        h->status = status;
        sy_trainer_close(h);
        return status;
    }
    *out = h;
    return SY_OK;
}

sy_status sy_trainer_close(struct sy_trainer *h) {
    sy_status status = h->status;
    sy_session_destroy(h->t.session);
    h->t.session = NULL;
    sy_watchers_end_traces(&h->t.watch);
    status = end(&h->t, status);
    free(h);
    return status;
}

static sy_status usable(const struct sy_trainer *h) {
    if (h->status != SY_OK)
        SY_FAIL(SY_ERR_USAGE, "%s: a step failed: close the run and open it again", h->out.run_dir);
    return SY_OK;
}

sy_status sy_trainer_step(struct sy_trainer *h, struct sy_step_result *out) {
    SY_TRY(usable(h));
    if (h->t.step >= h->t.config->training.steps)
        SY_FAIL(SY_ERR_USAGE, "%s: has all its training.steps = %lld", h->out.run_dir, (long long)h->t.step);
    h->status = one_step(&h->t);
    *out = h->t.last;
    return h->status;
}

sy_status sy_trainer_save(struct sy_trainer *h) {
    SY_TRY(usable(h));
    if (!h->t.config->checkpoint.enable)
        return sy_config_fail(h->t.config, "checkpoint.enable", "nothing can be saved: choose true");
    return save(&h->t);
}

sy_status sy_trainer_eval(struct sy_trainer *h, double *loss) {
    SY_TRY(usable(h));
    if (sy_mixture_eval_count(h->t.session->data.mixture) == 0)
        SY_FAIL(SY_ERR_USAGE,
                "%s: no sequence is held out: choose data.holdout above 0, or give "
                "validation.dataset_path",
                h->out.run_dir);
    SY_TRY(evaluate(&h->t));
    *loss = h->out.eval_loss;
    return SY_OK;
}

void sy_trainer_changed(struct sy_trainer *h, const char *weights_digest) {
    memcpy(h->out.weights_digest, weights_digest, sizeof h->out.weights_digest);
    h->t.saved_step = -1;
}

struct sy_session *sy_trainer_session(struct sy_trainer *h) {
    return h->t.session;
}

struct sy_train_summary *sy_trainer_summary(struct sy_trainer *h) {
    return &h->out;
}
