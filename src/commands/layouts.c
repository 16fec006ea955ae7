/* The layouts of verify: see layouts.h. */
#include "commands/layouts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/ops.h"
#include "parallel/mesh.h"
#include "train/classes.h"
#include "train/exec.h"

/* The first value is the plainest. */
static const char *const values[SY_N_LAYOUT_FACTORS][SY_LAYOUT_VALUES] = {
    [SY_LAYOUT_ranks] = {"1", "2", "3", "4", "6", "8"},
    [SY_LAYOUT_pp] = {"1", "2", "4"},
    [SY_LAYOUT_schedule] = {"1F1B", "GPipe", "Interleaved1F1B", "InterleavedZeroBubble"},
    [SY_LAYOUT_ep] = {"1", "2", "3", "4", "6", "8"},
    [SY_LAYOUT_exchange] = {"standard", "padded", "direct"},
    [SY_LAYOUT_shard] = {"1", "2", "all"},
    [SY_LAYOUT_reshard] = {"always", "never"},
    [SY_LAYOUT_threads] = {"1", "2", "3"},
    [SY_LAYOUT_batch] = {"1", "2", "4"},
    [SY_LAYOUT_recompute] = {"none", "full", "selective"},
};

const char *sy_layout_name(int factor) {
    static const char *const names[] = {
#define X(name, width) #name,
        SY_LAYOUT_FACTORS(X)
#undef X
    };
    return names[factor];
}

int sy_layout_width(int factor) {
    static const int widths[] = {
#define X(name, width) width,
        SY_LAYOUT_FACTORS(X)
#undef X
    };
    return widths[factor];
}

/* Tiers that run here, the fastest first: `auto`. */
static const char *tier(int i) {
    const char *why;
    for (int t = 0; t < sy_ops_n_tiers() && i > 0; t++)
        if (sy_ops_tier(t, &why) && --i == 0)
            return sy_ops_tier_name(t);
    return i == 0 ? "auto" : NULL;
}

const char *sy_layout_value(int factor, int i) {
    if (factor == SY_LAYOUT_tier)
        return tier(i);
    return i < SY_LAYOUT_VALUES ? values[factor][i] : NULL;
}

static int n_values(int factor) {
    int n = 0;
    while (sy_layout_value(factor, n))
        n++;
    return n;
}

static const char *word(const struct sy_layout *l, int factor) {
    return sy_layout_value(factor, l->of[factor]);
}

/* 0: "all". */
static int number(const struct sy_layout *l, int factor) { return (int)strtol(word(l, factor), NULL, 10); }

/* --- which are wanted ----------------------------------------------------------------------------------- */

static int factor_of(const char *name, size_t n) {
    for (int f = 0; f < SY_N_LAYOUT_FACTORS; f++)
        if (strlen(sy_layout_name(f)) == n && memcmp(sy_layout_name(f), name, n) == 0)
            return f;
    return -1;
}

static int value_of(int factor, const char *word, size_t n) {
    const char *v;
    for (int i = 0; (v = sy_layout_value(factor, i)); i++)
        if (strlen(v) == n && memcmp(v, word, n) == 0)
            return i;
    return -1;
}

static void add_word(char *list, size_t size, const char *word) {
    size_t n = strlen(list);
    snprintf(list + n, size - n, "%s%s", n > 0 ? ", " : "", word);
}

static sy_status fail_factor(const char *text) {
    char list[256] = "";
    for (int f = 0; f < SY_N_LAYOUT_FACTORS; f++)
        add_word(list, sizeof list, sy_layout_name(f));
    SY_FAIL(SY_ERR_USAGE, "--only %s: must be FACTOR=VALUE[,VALUE...]; factors are %s", text, list);
}

static sy_status fail_value(const char *text, int factor, const char *word, size_t n) {
    char list[256] = "";
    for (int i = 0; sy_layout_value(factor, i); i++)
        add_word(list, sizeof list, sy_layout_value(factor, i));
    SY_FAIL(SY_ERR_USAGE, "--only %s: %s has no value \"%.*s\"; here it has %s", text, sy_layout_name(factor),
            (int)n, word, list);
}

sy_status sy_layouts_want(struct sy_layouts_wanted *wanted, const char *text) {
    size_t n = strcspn(text, "=");
    int factor = factor_of(text, n);
    if (factor < 0 || text[n] != '=')
        return fail_factor(text);
    const char *word = text + n;
    do {
        word++;
        n = strcspn(word, ",");
        int value = value_of(factor, word, n);
        if (value < 0)
            return fail_value(text, factor, word, n);
        wanted->values[factor] |= 1u << value;
        word += n;
    } while (*word);
    return SY_OK;
}

static int is_wanted(const struct sy_layouts_wanted *w, const struct sy_layout *l) {
    for (int f = 0; f < SY_N_LAYOUT_FACTORS; f++)
        if (w->values[f] != 0 && !(w->values[f] >> l->of[f] & 1))
            return 0;
    return 1;
}

/* --- which are admissible ------------------------------------------------------------------------------- */

/* Ranks that share stored weights, of those for data; 0: they do not divide them. */
static int shard_of(const struct sy_layout *l) {
    int dp = number(l, SY_LAYOUT_ranks) / number(l, SY_LAYOUT_pp), shard = number(l, SY_LAYOUT_shard);
    return shard == 0 ? dp : dp % shard == 0 ? shard : 0;
}

/* What says nothing is said once: a schedule without stages, a way of rows without ranks, shards of one
 * rank. */
static int says_something(const struct sy_layout *l) {
    return (l->of[SY_LAYOUT_schedule] == 0 || number(l, SY_LAYOUT_pp) > 1) &&
           (l->of[SY_LAYOUT_exchange] == 0 || number(l, SY_LAYOUT_ep) > 1) &&
           (l->of[SY_LAYOUT_shard] == 0 || shard_of(l) > 1) &&
           (l->of[SY_LAYOUT_reshard] == 0 || shard_of(l) > 1);
}

static enum sy_parallelism_pipeline_parallel_schedule schedule_of(const struct sy_layout *l) {
    static const enum sy_parallelism_pipeline_parallel_schedule of[] = {SY_SCHEDULE_1F1B, SY_SCHEDULE_GPIPE,
                                                                        SY_SCHEDULE_INTERLEAVED_1F1B,
                                                                        SY_SCHEDULE_INTERLEAVED_ZERO_BUBBLE};
    return of[l->of[SY_LAYOUT_schedule]];
}

/* Many threads for each of many ranks would only wait for each other. */
static int is_admissible(const struct sy_config *config, const struct sy_layout *l) {
    int ranks = number(l, SY_LAYOUT_ranks), pp = number(l, SY_LAYOUT_pp), shard = shard_of(l);
    struct sy_config c = *config;
    struct sy_mesh mesh;
    if (ranks % pp || shard == 0 || !says_something(l) || (ranks > 3 && number(l, SY_LAYOUT_threads) > 1))
        return 0;
    c.parallelism.pipeline_parallel_degree = pp;
    c.parallelism.pipeline_parallel_schedule = schedule_of(l);
    c.parallelism.expert_parallel_degree = number(l, SY_LAYOUT_ep);
    c.parallelism.data_parallel_shard_degree = shard;
    c.parallelism.data_parallel_replicate_degree = ranks / pp / shard;
    c.metrics.moe_counters_rank = 0;
    return sy_mesh_create(&c, ranks, 0, &mesh) == SY_OK;
}

static int next(struct sy_layout *l) {
    for (int f = SY_N_LAYOUT_FACTORS - 1; f >= 0; f--) {
        if (sy_layout_value(f, ++l->of[f]))
            return 1;
        l->of[f] = 0;
    }
    return 0;
}

static int is_of_processes(const struct sy_layout *l, int processes) {
    static const struct sy_layout plainest = {{0}};
    return processes == 1 || memcmp(l, &plainest, sizeof plainest) == 0 ||
           (number(l, SY_LAYOUT_ranks) == processes && strcmp(word(l, SY_LAYOUT_exchange), "direct") != 0);
}

/* On GPUs each rank has one (why one alone has none, its session says), direct dispatch is not there, and
 * threads and tiers of the CPU mean nothing. */
static int is_of_gpus(const struct sy_config *c, const struct sy_layout *l) {
    int ordinal, last = number(l, SY_LAYOUT_ranks) - 1;
    return !sy_config_cuda(c, &ordinal) ||
           ((last == 0 || sy_exec_gpu(c, last) >= 0) && l->of[SY_LAYOUT_threads] == 0 &&
            l->of[SY_LAYOUT_tier] == 0 && strcmp(word(l, SY_LAYOUT_exchange), "direct") != 0);
}

static sy_status list_admissible(const struct sy_config *c, int processes,
                                 const struct sy_layouts_wanted *wanted, struct sy_layout **out, int *n) {
    size_t all = 1;
    for (int f = 0; f < SY_N_LAYOUT_FACTORS; f++)
        all *= (size_t)n_values(f);
    struct sy_layout *list = calloc(all, sizeof *list), l = {{0}};
    *n = 0;
    if (!list)
        SY_FAIL(SY_ERR_MEMORY, "no memory for %zu layouts", all);
    do {
        if (is_wanted(wanted, &l) && is_of_processes(&l, processes) && is_of_gpus(c, &l) &&
            is_admissible(c, &l))
            list[(*n)++] = l;
    } while (next(&l));
    if (*n == 0) {
        free(list);
        SY_FAIL(SY_ERR_USAGE, "no layout of those that --only leaves is admissible for this configuration");
    }
    *out = list;
    return SY_OK;
}

/* --- the cover ------------------------------------------------------------------------------------------ */

struct met { /* [factor, factor] a bit for each pair of values */
    uint64_t pair[SY_N_LAYOUT_FACTORS][SY_N_LAYOUT_FACTORS];
};

/* Pairs that a layout would add; `adds`: does. */
static int new_pairs(struct met *m, const struct sy_layout *l, int adds) {
    int n = 0;
    for (int a = 0; a < SY_N_LAYOUT_FACTORS; a++)
        for (int b = a + 1; b < SY_N_LAYOUT_FACTORS; b++) {
            uint64_t bit = (uint64_t)1 << (l->of[a] * SY_LAYOUT_VALUES + l->of[b]);
            n += !(m->pair[a][b] & bit);
            m->pair[a][b] |= adds ? bit : 0;
        }
    return n;
}

sy_status sy_layouts_cover(const struct sy_config *config, int processes,
                           const struct sy_layouts_wanted *wanted, struct sy_layout **out, int *n) {
    struct sy_layout *all = NULL, *cover;
    struct met met = {{{0}}};
    int n_all, best;
    SY_TRY(list_admissible(config, processes, wanted, &all, &n_all));
    if (!(cover = calloc((size_t)n_all + 1, sizeof *cover))) {
        free(all);
        SY_FAIL(SY_ERR_MEMORY, "no memory for %d layouts", n_all);
    }
    *n = 0;
    do {
        int which = 0;
        best = *n == 0 && n_all > 0 ? new_pairs(&met, &all[0], 0) : 0;
        for (int i = 0; i<n_all && * n> 0; i++) {
            int pairs = new_pairs(&met, &all[i], 0);
            if (pairs > best) {
                best = pairs;
                which = i;
            }
        }
        if (best > 0) {
            cover[(*n)++] = all[which];
            new_pairs(&met, &all[which], 1);
        }
    } while (best > 0);
    free(all);
    *out = cover;
    return SY_OK;
}

/* --- as options ----------------------------------------------------------------------------------------- */

static sy_status set(struct sy_config *c, const char *key, const char *text) {
    return sy_config_set(c, SY_LAYER_FLAG, "verify", key, text);
}

static sy_status set_int(struct sy_config *c, const char *key, int value) {
    char text[16];
    snprintf(text, sizeof text, "%d", value);
    return set(c, key, text);
}

sy_status sy_layout_set(struct sy_config *c, const struct sy_layout *l) {
    int ranks = number(l, SY_LAYOUT_ranks), pp = number(l, SY_LAYOUT_pp), shard = shard_of(l);
    const char *exchange = word(l, SY_LAYOUT_exchange);
    SY_TRY(set_int(c, "run.ranks", ranks));
    SY_TRY(set_int(c, "parallelism.pipeline_parallel_degree", pp));
    SY_TRY(set(c, "parallelism.pipeline_parallel_schedule", word(l, SY_LAYOUT_schedule)));
    SY_TRY(set(c, "parallelism.expert_parallel_degree", word(l, SY_LAYOUT_ep)));
    SY_TRY(set(c, "parallelism.expert_parallel_comm_backend",
               strcmp(exchange, "direct") == 0 ? "direct" : "standard"));
    SY_TRY(set(c, "moe.equal_split", strcmp(exchange, "padded") == 0 ? "pad" : "exact"));
    SY_TRY(set_int(c, "parallelism.data_parallel_shard_degree", shard));
    SY_TRY(set_int(c, "parallelism.data_parallel_replicate_degree", ranks / pp / shard));
    SY_TRY(set(c, "parallelism.fsdp_reshard_after_forward", word(l, SY_LAYOUT_reshard)));
    SY_TRY(set_int(c, "run.threads", ranks * number(l, SY_LAYOUT_threads)));
    SY_TRY(set(c, "training.local_batch_size", word(l, SY_LAYOUT_batch)));
    SY_TRY(set(c, "activation_checkpoint.mode", word(l, SY_LAYOUT_recompute)));
    SY_TRY(set(c, "activation_checkpoint.selective_ac_option", "op"));
    SY_TRY(set(c, "run.tier", word(l, SY_LAYOUT_tier)));
    SY_TRY(set_int(c, "metrics.moe_counters_rank", 0));
    /* a run's files are not ours to replace */
    SY_TRY(sy_config_clear(c, SY_LAYER_FLAG, "verify", "moe.routes_out"));
    return sy_config_finish(c, sy_hopper_here());
}
