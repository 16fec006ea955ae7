/* A run as a handle, for other programs: see include/switchyard.h. Steps are the trainer's; logits and
 * weights are the session's, through copies. */
#include <stdlib.h>
#include <string.h>

#include "train/feed.h"
#include "train/trainer.h"

struct sy_run {
    struct sy_trainer *trainer;
    struct sy_session *s;
};

sy_status sy_run_open(struct sy_config *config, const char *name, const struct sy_io *io,
                      struct sy_run **out) {
    struct sy_run *run = calloc(1, sizeof *run);
    if (!run)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a run");
    sy_status status = sy_trainer_open(config, name, io, &run->trainer);
    if (status != SY_OK) {
        free(run);
        return status;
    }
    run->s = sy_trainer_session(run->trainer);
    *out = run;
    return SY_OK;
}

sy_status sy_run_close(struct sy_run *run) {
    sy_status status = run ? sy_trainer_close(run->trainer) : SY_OK;
    free(run);
    return status;
}

sy_status sy_run_step(struct sy_run *run, struct sy_run_result *out) {
    struct sy_step_result r = {0};
    SY_TRY(sy_trainer_step(run->trainer, &r));
    *out = (struct sy_run_result){.step = r.step,
                                  .loss = r.loss,
                                  .grad_norm = r.norm,
                                  .lr = r.lr,
                                  .tokens = r.tokens,
                                  .applied = r.applied};
    memcpy(out->weights_digest, r.digest, sizeof out->weights_digest);
    return SY_OK;
}

sy_status sy_run_save(struct sy_run *run) { return sy_trainer_save(run->trainer); }

sy_status sy_run_eval(struct sy_run *run, double *loss) { return sy_trainer_eval(run->trainer, loss); }

void sy_run_about(const struct sy_run *run, struct sy_run_about *out) {
    const struct sy_config *c = run->s->config;
    const struct sy_train_summary *summary = sy_trainer_summary(run->trainer);
    *out = (struct sy_run_about){.step = summary->step,
                                 .steps = c->training.steps,
                                 .seq_len = c->training.seq_len,
                                 .vocab_size = c->model.vocab_size,
                                 .n_tensors = run->s->params->n_tensors,
                                 .n_parameters = run->s->params->n_parameters};
    memcpy(out->weights_digest, summary->weights_digest, sizeof out->weights_digest);
    memcpy(out->run_dir, summary->run_dir, sizeof out->run_dir);
}

/* --- logits --------------------------------------------------------------------------------------------- */

sy_status sy_run_logits(struct sy_run *run, const int32_t *ids, int64_t n, float *logits) {
    struct sy_session *s = run->s;
    const struct sy_device *d = s->exec.device;
    int64_t vocab = s->config->model.vocab_size, most = s->config->training.seq_len;
    if (n < 1 || n > most)
        SY_FAIL(SY_ERR_USAGE, "%lld ids: 1 to training.seq_len = %lld are possible", (long long)n,
                (long long)most);
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= vocab)
            SY_FAIL(SY_ERR_USAGE, "id %lld is %d, outside the vocabulary of %lld", (long long)i, (int)ids[i],
                    (long long)vocab);
    struct sy_batch b = sy_feed_sequence(s, ids, n);
    SY_TRY(sy_model_logits_begin(s->model, &b));
    for (int64_t i = 0, piece; i < n; i += piece) {
        piece = n - i < sy_model_logits_most(s->model) ? n - i : sy_model_logits_most(s->model);
        const float *at = sy_model_logits_rows(s->model, i, piece);
        d->copy(d, logits + i * vocab, at, (size_t)(piece * vocab) * sizeof *logits);
        SY_TRY(sy_exec_wait(&s->exec));
    }
    return SY_OK;
}

/* --- weights -------------------------------------------------------------------------------------------- */

sy_status sy_run_tensor(const struct sy_run *run, int i, struct sy_run_tensor *out) {
    const struct sy_params *p = run->s->params;
    if (i < 0 || i >= p->n_tensors)
        SY_FAIL(SY_ERR_USAGE, "tensor %d: there are 0 to %d", i, p->n_tensors - 1);
    const struct sy_tensor *t = &p->tensor[p->by_name[i]];
    *out = (struct sy_run_tensor){.name = t->name,
                                  .n_dims = t->n_dims,
                                  .dims = {t->dims[0], t->n_dims > 1 ? t->dims[1] : 1},
                                  .n = t->n};
    return SY_OK;
}

/* The tensor of a name, of n elements. */
static sy_status find(const struct sy_run *run, const char *name, int64_t n, int *out) {
    const struct sy_params *p = run->s->params;
    int low = 0, high = p->n_tensors - 1;
    while (low < high) {
        int middle = (low + high) / 2;
        if (strcmp(p->tensor[p->by_name[middle]].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    const struct sy_tensor *t = &p->tensor[p->by_name[low]];
    if (strcmp(t->name, name) != 0)
        SY_FAIL(SY_ERR_USAGE, "%s: the model has no such tensor: the nearest in order is %s", name, t->name);
    if (n != t->n)
        SY_FAIL(SY_ERR_USAGE, "%s: has %lld elements, not %lld", name, (long long)t->n, (long long)n);
    *out = p->by_name[low];
    return SY_OK;
}

sy_status sy_run_weights(struct sy_run *run, const char *name, int64_t n, float *out) {
    int i = 0;
    SY_TRY(find(run, name, n, &i));
    return sy_state_read(&run->s->state, SY_STATE_W, i, 0, n, out);
}

sy_status sy_run_set_weights(struct sy_run *run, const char *name, int64_t n, const float *in) {
    int i = 0;
    SY_TRY(find(run, name, n, &i));
    for (int64_t k = 0; k < n; k++)
        if (!(in[k] - in[k] == 0))
            SY_FAIL(SY_ERR_USAGE, "%s: element %lld is %g: a weight is finite", name, (long long)k,
                    (double)in[k]);
    SY_TRY(sy_state_write(&run->s->state, SY_STATE_W, i, 0, n, in));
    SY_TRY(sy_session_weights_changed(run->s));
    char digest[SY_DIGEST_CHARS];
    SY_TRY(sy_session_digest(run->s, digest));
    sy_trainer_changed(run->trainer, digest);
    return SY_OK;
}
