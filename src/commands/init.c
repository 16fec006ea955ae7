/* switchyard init: a commented config on stdout; --device cuda: with a recipe that fits one GPU.
 *
 * That recipe is P = F = 1, W sequences in flight: numerics.lanes = expert_lanes = 1, numerics.cell =
 * training.local_batch_size, so that a cell is one pass. How many, and what is recomputed: the first of these
 * that the plan (sy_session_measure) says fits, each from the most sequences that divide the batch down:
 *
 *     recompute none         passes of 8192 to 16384 tokens: more gain nothing, fewer cost more than
 *                            recomputing does
 *     recompute selective    16384 tokens to one sequence
 *     recompute full         the same
 *
 * What the caller stated stays as it is. */
#include <stdio.h>

#include "device/cuda.h"
#include "base/sized.h"
#include "train/io.h"
#include "train/session.h"

/* KEPT: bytes that the driver, the kernels and a step's graph may have beside the plan. */
enum { MOST_TOKENS = 16384, TRIED = 64, KEPT = 1 << 30 };
static const double GIB = 1u << 30, H200_GIB = 139.8;

struct tried {
    int mode;
    int64_t batch;
    double bytes;
};

struct fit {
    const struct sy_config *config; /* finished */
    const struct sy_params *params;
    double memory;    /* bytes of the GPU */
    const char *what; /* whose they are */
    int assumed;      /* no GPU is here, and none was stated */
    struct tried tried[TRIED];
    int n;
};

static const char *const modes[] = {
    [SY_AC_NONE] = "none", [SY_AC_SELECTIVE] = "selective", [SY_AC_FULL] = "full"};

static int is_open(const struct sy_config *c, const char *key) {
    return sy_config_layer_of(c, key) < SY_LAYER_FILE;
}

/* --- what fits ------------------------------------------------------------------------------------------ */

static sy_status measure(const struct sy_config *c, const struct sy_params *p, double *bytes) {
    struct sy_arena all = sy_arena_measure();
    struct sy_mesh mesh;
    SY_TRY(sy_mesh_create(c, 1, 0, &mesh));
    SY_TRY(sy_session_measure(c, p, &mesh, &all));
    *bytes = (double)(all.used - all.guards);
    return SY_OK;
}

/* Sequences of a lane in a step. */
static int64_t of_lane(const struct sy_config *c) {
    return c->training.global_batch_size / c->numerics.lanes;
}

/* The config with what is left open at that mode and batch; a cell is a pass, or the most of one that divides
 * the lane. */
static struct sy_config with(const struct sy_config *config, int mode, int64_t batch) {
    struct sy_config c = *config;
    if (is_open(config, "activation_checkpoint.mode"))
        c.activation_checkpoint.mode = mode;
    if (is_open(config, "training.local_batch_size"))
        c.training.local_batch_size = batch;
    if (is_open(config, "numerics.cell"))
        for (c.numerics.cell = c.training.local_batch_size; of_lane(&c) % c.numerics.cell != 0;)
            c.numerics.cell--;
    return c;
}

/* Whether it fits; what was tried is kept, once. */
static sy_status attempt(struct fit *f, int mode, int64_t batch, int *fits) {
    struct sy_config c = with(f->config, mode, batch);
    struct tried *t = &f->tried[f->n];
    *fits = 0;
    if (f->n == TRIED)
        SY_FAIL(SY_ERR_USAGE, "init: training.global_batch_size = %lld has too many divisors: choose another",
                (long long)f->config->training.global_batch_size);
    t->mode = (int)c.activation_checkpoint.mode;
    t->batch = c.training.local_batch_size;
    for (int i = 0; i < f->n; i++)
        if (f->tried[i].mode == t->mode && f->tried[i].batch == t->batch)
            return SY_OK;
    SY_TRY(measure(&c, f->params, &t->bytes));
    f->n++;
    *fits = t->bytes + KEPT <= f->memory;
    return SY_OK;
}

/* The first that fits is the last that was tried. */
static sy_status search(struct fit *f, int *fits) {
    const struct sy_config *c = f->config;
    int64_t lane = of_lane(c), seq = c->training.seq_len;
    static const int order[] = {SY_AC_NONE, SY_AC_SELECTIVE, SY_AC_FULL};
    for (int i = 0; i < 3; i++) {
        int mode = order[i], first = 1;
        for (int64_t n = lane; n >= 1; n--) {
            if (lane % n != 0 || (n > 1 && n * seq > MOST_TOKENS))
                continue;
            if (mode == SY_AC_NONE && !first && n * seq < MOST_TOKENS / 2)
                break;
            SY_TRY(attempt(f, mode, n, fits));
            if (*fits)
                return SY_OK;
            first = 0;
        }
    }
    return SY_OK;
}

/* The most layers that fit with one sequence at a time and all of it recomputed; 0: none. */
static sy_status most_layers(const struct fit *f, int64_t *out, double *bytes) {
    struct sy_config c = with(f->config, SY_AC_FULL, 1);
    for (int64_t n = f->config->model.n_layers - 1; n > f->config->model.n_dense_layers; n--) {
        struct sy_params *p;
        c.model.n_layers = n;
        SY_TRY(sy_params_create(&c.model, &c.moe, &p));
        sy_status status = measure(&c, p, bytes);
        sy_params_destroy(p);
        SY_TRY(status);
        *out = n;
        if (*bytes + KEPT <= f->memory)
            return SY_OK;
    }
    *out = 0;
    return SY_OK;
}

static sy_status refuse(const struct fit *f) {
    const struct tried *t = &f->tried[f->n - 1];
    int64_t layers = 0, all = f->config->model.n_layers;
    double bytes = 0;
    char needs[200];
    SY_TRY(most_layers(f, &layers, &bytes));
    snprintf(needs, sizeof needs, "%.1f GiB with %lld at a time and recompute %s", t->bytes / GIB,
             (long long)t->batch, modes[t->mode]);
    if (layers)
        SY_FAIL(SY_ERR_USAGE,
                "init --device cuda: %lld layers need %s, and %s has %.1f, %.1f of it the driver's: "
                "--model.n_layers=%lld needs %.1f",
                (long long)all, needs, f->what, f->memory / GIB, KEPT / GIB, (long long)layers, bytes / GIB);
    SY_FAIL(SY_ERR_USAGE,
            "init --device cuda: %lld layers need %s, and %s has %.1f, %.1f of it the driver's: fewer layers "
            "do not fit either, choose another model",
            (long long)all, needs, f->what, f->memory / GIB, KEPT / GIB);
}

/* --- what is written ------------------------------------------------------------------------------------ */

struct text {
    char at[8192];
    size_t n;
};

static void say(struct text *t, const char *fmt, ...) SY_PRINTF(2, 3);
static void say(struct text *t, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(t->at + t->n, sizeof t->at - t->n, fmt, args);
    va_end(args);
    t->n += n < 0 ? 0 : (size_t)n < sizeof t->at - t->n ? (size_t)n : sizeof t->at - t->n - 1;
}

/* Comment lines: the numbers. */
static void explain(const struct fit *f, const struct sy_config *c, struct text *out) {
    say(out, "#\n# For one GPU: %s has %.1f GiB, %.1f of it the driver's.\n", f->what, f->memory / GIB,
        KEPT / GIB);
    if (f->assumed)
        say(out, "# (There is none here; init --memory GIB says another.)\n");
    say(out, "# What `switchyard plan` says of it:\n#\n");
    for (int i = 0; i < f->n; i++)
        say(out, "#   %7.1f GiB  recompute %-9s  %4lld sequences at a time%s\n", f->tried[i].bytes / GIB,
            modes[f->tried[i].mode], (long long)f->tried[i].batch, i == f->n - 1 ? ": this config" : "");
    say(out,
        "#\n# The recipe is P = %lld, F = %lld, W = %lld: a cell is summed as a pass makes it. With\n"
        "# less memory the same bits come of a smaller training.local_batch_size and more\n"
        "# activation_checkpoint.\n",
        (long long)c->numerics.lanes, (long long)c->numerics.expert_lanes, (long long)c->numerics.cell);
}

static sy_status set_int(struct sy_config *c, const char *key, int64_t n) {
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)n);
    return sy_config_set(c, SY_LAYER_FILE, "init", key, text);
}

static sy_status apply(struct sy_config *c, const struct tried *t) {
    int64_t cell = with(c, t->mode, t->batch).numerics.cell;
    SY_TRY(sy_config_set(c, SY_LAYER_FILE, "init", "activation_checkpoint.mode", modes[t->mode]));
    SY_TRY(set_int(c, "training.local_batch_size", t->batch));
    SY_TRY(set_int(c, "numerics.cell", cell));
    return sy_config_finish(c, false);
}

/* --- whose memory --------------------------------------------------------------------------------------- */

static sy_status memory_of(const struct sy_config *c, double gib, struct sy_cuda_about *about,
                           struct fit *f) {
    const char *why;
    int ordinal;
    *about = (struct sy_cuda_about){0};
    sy_config_cuda(c, &ordinal);
    if (ordinal < 0)
        ordinal = sy_device_cuda_first();
    if (gib > 0) {
        f->what = "the GPU of --memory";
        f->memory = gib * GIB;
    } else if (ordinal < 0 || sy_device_cuda_count(&why) == 0) {
        f->what = "an H200";
        f->memory = H200_GIB * GIB;
        f->assumed = 1;
    } else {
        SY_TRY(sy_device_cuda_about(ordinal, about));
        f->what = about->name;
        f->memory = (double)about->memory;
    }
    return SY_OK;
}

static sy_status fit_gpu(struct sy_config *c, double gib, struct text *note) {
    struct fit f = {.config = c};
    struct sy_cuda_about about;
    struct sy_params *p;
    int fits = 0;
    SY_TRY(sy_config_set(c, SY_LAYER_FILE, "init", "numerics.class", "sm90"));
    SY_TRY(set_int(c, "numerics.lanes", 1));
    SY_TRY(set_int(c, "numerics.expert_lanes", 1));
    SY_TRY(sy_config_finish(c, false));
    SY_TRY(memory_of(c, gib, &about, &f));
    SY_TRY(sy_params_create(&c->model, &c->moe, &p));
    f.params = p;
    sy_status status = search(&f, &fits);
    if (status == SY_OK && !fits)
        status = refuse(&f);
    sy_params_destroy(p);
    SY_TRY(status);
    SY_TRY(apply(c, &f.tried[f.n - 1]));
    explain(&f, c, note);
    return SY_OK;
}

sy_status sy_init(struct sy_config *config, const struct sy_init_options *given, const struct sy_io *io) {
    struct sy_init_options own;
    SY_TRY(SY_OPTIONS(sy_init_options, given, &own));
    const struct sy_init_options *o = &own;
    struct text note = {.n = 0};
    int ordinal;
    if (o->flavor && *o->flavor)
        SY_TRY(sy_config_set(config, SY_LAYER_FLAG, "command line", "model.flavor", o->flavor));
    if (o->device)
        SY_TRY(sy_config_set(config, SY_LAYER_FILE, "init --device", "run.device", o->device));
    if (o->device && sy_config_cuda(config, &ordinal))
        SY_TRY(fit_gpu(config, o->memory_gib, &note));
    else if (o->device && config->run.device != SY_DEVICE_CPU)
        SY_FAIL(SY_ERR_USAGE, "init --device %s: must be cpu, cuda or cuda:N", o->device);
    else if (o->memory_gib > 0)
        SY_FAIL(SY_ERR_USAGE, "init: --memory is that of a GPU: say --device cuda");
    else if (*config->model.flavor)
        SY_TRY(sy_config_finish(config, false));
    sy_config_template(config, note.at, io->write, io->user);
    return SY_OK;
}
