/* From what was given to what holds: the flavor, then the rules for what was left open, then the checks
 * (check.c).
 *
 * May be called again: what an earlier call chose is undone first.
 */
#include "config/internal.h"
#include "config/ramp.h"

#include <stdio.h>
#include <string.h>

static void undo(struct sy_config *cfg) {
    for (int i = 0; i < sy_n_options; i++) {
        struct sy_origin *origin = &cfg->priv->origins[i], before = *origin;
        if (origin->place.layer == SY_LAYER_FLAVOR) {
            sy_option_reset(cfg, i);
        } else if (origin->ruled) {
            sy_option_reset(cfg, i);
            origin->place = before.place;
        }
    }
}

sy_status sy_config_apply_flavor(struct sy_config *cfg) {
    undo(cfg);
    if (!*cfg->model.flavor)
        return SY_OK;
    const struct sy_flavor *flavor = sy_flavor_find(cfg->model.flavor);
    if (!flavor) {
        char meant[256];
        sy_flavor_meant(cfg->model.flavor, meant, sizeof meant);
        return sy_config_fail(cfg, "model.flavor", "there is no such flavor: did you mean %s?", meant);
    }
    cfg->model.flavor = flavor->name;
    char word[2 * SY_KEY_BYTES], key[SY_KEY_BYTES], where[SY_KEY_BYTES];
    snprintf(where, sizeof where, "flavor %s", flavor->name);
    struct sy_place place = {SY_LAYER_FLAVOR, sy_config_keep(cfg, where, strlen(where)), 0, 0};
    if (!place.where)
        return sy_config_no_memory();
    for (const char *p = flavor->values; *p; p += strspn(p, " ")) {
        int n = (int)strcspn(p, " ");
        snprintf(word, sizeof word, "%.*s", n, p);
        p += n;
        char *value = strchr(word, '=');
        if (!value)
            return sy_config_fail_at(&place, word, NULL, "a value is missing in flavors.def");
        *value++ = 0;
        snprintf(key, sizeof key, "%s%.100s", strchr(word, '.') ? "" : "model.", word);
        SY_TRY(sy_config_assign_text(cfg, &place, key, value));
    }
    return SY_OK;
}

static void choose_int(struct sy_config *cfg, const char *key, int64_t x) {
    int i = sy_option_find(key);
    *(int64_t *)sy_option_at(cfg, &sy_options[i]) = x;
    cfg->priv->origins[i].ruled = true;
}

static void choose(struct sy_config *cfg, const char *key, int x) {
    int i = sy_option_find(key);
    memcpy(sy_option_at(cfg, &sy_options[i]), &x, sizeof x);
    cfg->priv->origins[i].ruled = true;
}

/* The largest power of two up to 8 that divides the batch in cells; 1 if the cell does not divide it
 * (check.c says so). */
static int64_t default_lanes(int64_t batch, int64_t cell) {
    int64_t lanes = 8;
    while (lanes > 1 && batch % (lanes * cell))
        lanes /= 2;
    return lanes;
}

/* With a table the batch is its largest; another one that is stated beside it, or over it, is an error. */
static sy_status apply_ramp(struct sy_config *cfg) {
    const struct sy_config_list *ramp = &cfg->training.batch_ramp;
    static const char key[] = "training.global_batch_size", table[] = "training.batch_ramp";
    if (ramp->n == 0)
        return SY_OK;
    if (sy_ramp_check(ramp) != SY_OK) {
        char why[512];
        snprintf(why, sizeof why, "%s", sy_error_message());
        return sy_config_fail(cfg, table, "%s", why);
    }
    int64_t most = sy_ramp_most(ramp);
    enum sy_config_layer layer = sy_config_layer_of(cfg, key);
    if (cfg->training.global_batch_size != most && layer > SY_LAYER_CHECKPOINT &&
        layer >= sy_config_layer_of(cfg, table))
        return sy_config_fail(cfg, key,
                              "and training.batch_ramp, which has up to %lld sequences, are two batches: "
                              "state one of the two (no table: training.batch_ramp = [])",
                              (long long)most);
    if (cfg->training.global_batch_size != most)
        choose_int(cfg, key, most);
    return SY_OK;
}

bool sy_config_cuda(const struct sy_config *cfg, int *ordinal) {
    *ordinal = (int)cfg->run.device - SY_DEVICE_CUDA_0;
    return *ordinal >= -1;
}

sy_status sy_config_apply_rules(struct sy_config *cfg, bool hopper) {
    struct sy_config_model *m = &cfg->model;
    if (!m->n_kv_heads)
        choose_int(cfg, "model.n_kv_heads", m->n_heads);
    if (!m->head_dim && m->attention == SY_ATTENTION_GQA && m->n_heads) {
        if (m->dim % m->n_heads)
            return sy_config_fail(cfg, "model.n_heads",
                                  "does not divide model.dim = %lld: choose one that does, or state "
                                  "model.head_dim",
                                  (long long)m->dim);
        choose_int(cfg, "model.head_dim", m->dim / m->n_heads);
    }
    SY_TRY(apply_ramp(cfg));
    if (!cfg->numerics.lanes)
        choose_int(cfg, "numerics.lanes",
                   default_lanes(cfg->training.batch_ramp.n ? sy_ramp_divisor(&cfg->training.batch_ramp)
                                                            : cfg->training.global_batch_size,
                                 cfg->numerics.cell));
    bool gpu_class = cfg->numerics.class == SY_CLASS_AUTO || cfg->numerics.class == SY_CLASS_SM90;
    if (cfg->run.device == SY_DEVICE_AUTO)
        choose(cfg, "run.device",
               hopper && gpu_class && cfg->run.ranks == 1 ? SY_DEVICE_CUDA : SY_DEVICE_CPU);
    int ordinal;
    if (cfg->numerics.class == SY_CLASS_AUTO)
        choose(cfg, "numerics.class", sy_config_cuda(cfg, &ordinal) ? SY_CLASS_SM90 : SY_CLASS_X86);
    return SY_OK;
}

sy_status sy_config_finish(struct sy_config *cfg, bool hopper) {
    cfg->priv->n_problems = 0;
    SY_TRY(sy_config_check_pending(cfg));
    sy_status status = sy_config_apply_flavor(cfg);
    if (status == SY_OK)
        status = sy_config_apply_rules(cfg, hopper);
    bool resolved = status == SY_OK;
    SY_TRY(sy_config_note(cfg, status));
    if (resolved)
        SY_TRY(sy_config_check(cfg));
    return sy_config_noted(cfg, 0);
}

int64_t sy_config_selective_every(const struct sy_config_activation_checkpoint *ac) {
    int64_t n = 0;
    if (strcmp(ac->selective_ac_option, "op") == 0)
        return 1;
    for (const char *p = ac->selective_ac_option; *p; p++) {
        if (*p < '0' || *p > '9' || n > 1000000)
            return 0;
        n = 10 * n + (*p - '0');
    }
    return n;
}
