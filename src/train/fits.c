/* Whether a GPU's memory holds a run, before any of it is taken; else an error that says what would fit. */
#include "device/cuda.h"
#include "train/session.h"

static const double GIB = 1u << 30;

/* Bytes of a plan; 0 if there is none. */
static size_t planned(const struct sy_config *c, const struct sy_params *p, const struct sy_mesh *m) {
    struct sy_arena all = sy_arena_measure();
    return sy_session_measure(c, p, m, &all) == SY_OK ? all.used : 0;
}

/* The same run with fewer sequences at a time, or all of it recomputed. */
static int smaller(const struct sy_session *s, size_t room, struct sy_config *out, size_t *bytes) {
    static const int modes[] = {SY_AC_NONE, SY_AC_SELECTIVE, SY_AC_FULL};
    for (int i = 0; i < 3; i++) {
        *out = *s->config;
        if (modes[i] < (int)out->activation_checkpoint.mode)
            continue;
        out->activation_checkpoint.mode = modes[i];
        for (int64_t n = out->training.local_batch_size; n >= 1; n /= 2) {
            out->training.local_batch_size = n;
            *bytes = planned(out, s->params, &s->mesh);
            if (*bytes > 0 && *bytes <= room)
                return 1;
        }
    }
    return 0;
}

sy_status sy_session_fits(const struct sy_session *s) {
    static const char *const names[] = {
        [SY_AC_NONE] = "none", [SY_AC_SELECTIVE] = "selective", [SY_AC_FULL] = "full"};
    const char *device = s->exec.device->name;
    const struct sy_cuda_about *gpu = sy_device_cuda_is(s->exec.device);
    struct sy_config other;
    size_t bytes, with;
    if (!gpu)
        return SY_OK;
    bytes = planned(s->config, s->params, &s->mesh);
    if (bytes <= gpu->memory)
        return SY_OK;
    if (smaller(s, gpu->memory, &other, &with))
        SY_FAIL(SY_ERR_MEMORY,
                "run.device = %s: the plan needs %.1f GiB and %s has %.1f; "
                "training.local_batch_size = %lld with activation_checkpoint.mode = \"%s\" needs %.1f, the "
                "same bits",
                device, (double)bytes / GIB, gpu->name, (double)gpu->memory / GIB,
                (long long)other.training.local_batch_size, names[other.activation_checkpoint.mode],
                (double)with / GIB);
    SY_FAIL(SY_ERR_MEMORY,
            "run.device = %s: the plan needs %.1f GiB and %s has %.1f, also with one sequence at a time and "
            "all of it "
            "recomputed: choose fewer model.n_layers (now %lld) or another model; `switchyard plan` says "
            "what takes it",
            device, (double)bytes / GIB, gpu->name, (double)gpu->memory / GIB,
            (long long)s->config->model.n_layers);
}
