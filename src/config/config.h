/* The configuration of a run: one struct per section, generated from fields.def and choices.def.
 *
 * Read it as cfg->training.seq_len; hand a module its own section only (const struct sy_config_moe *). Values
 * come, each overriding the one before, from: default, model.flavor, checkpoint (config.json, or a resumed
 * recipe), file, flags. Each value remembers where it came from, so that errors read `file:line: key = value:
 * bound: what to do`.
 *
 *     sy_config_create -> sy_config_load_file -> sy_config_flags -> sy_config_finish -> read
 *
 * Before sy_config_finish the structs hold what was given so far; after it, everything is resolved (flavor
 * applied, lanes, class, device, head_dim chosen) and checked.
 */
#ifndef SY_CONFIG_CONFIG_H
#define SY_CONFIG_CONFIG_H

#include <stdbool.h>

#include "base/status.h"

/* clang-format off */
#define CHOICES(section, key) enum sy_##section##_##key {
#define VALUE(constant, word) SY_##constant,
#define CHOICES_END(section, key) };
#include "config/choices.def"
/* clang-format on */

struct sy_config_list {
    int64_t n;
    const char *const *items; /* n strings, never NULL */
};

/* clang-format off */
#define SECTION(section, help) struct sy_config_##section {
#define END(section) };
#define INT(section, key, def, min, max, effect, help) int64_t key;
#define REAL(section, key, def, min, max, effect, help) double key;
#define BOOL(section, key, def, effect, help) bool key;
#define TEXT(section, key, name, def, effect, help) const char *key;
#define CHOICE(section, key, def, effect, help) enum sy_##section##_##key key;
#define LIST(section, key, effect, help) struct sy_config_list key;
#include "config/fields.def"
/* clang-format on */

struct sy_config_private;

struct sy_config {
#define SECTION(section, help) struct sy_config_##section section;
#include "config/fields.def"
    struct sy_config_private *priv; /* where each value came from, and the memory of the strings */
};

/* Where a value came from, weakest first. */
enum sy_config_layer {
    SY_LAYER_DEFAULT,
    SY_LAYER_RULE, /* chosen by sy_config_finish */
    SY_LAYER_FLAVOR,
    SY_LAYER_CHECKPOINT,
    SY_LAYER_FILE,
    SY_LAYER_FLAG
};

enum sy_config_effect {
    SY_EFFECT_RECIPE,
    SY_EFFECT_MODEL,
    SY_EFFECT_DATA,
    SY_EFFECT_START,
    SY_EFFECT_ANSWER,
    SY_EFFECT_LAYOUT
};

/* MoE layers have an expert bias: one that moves, or one that is kept as it is. */
static inline bool sy_config_has_expert_bias(const struct sy_config_moe *moe) {
    return moe->load_balance_coeff > 0 || moe->keep_bias;
}

/* Local. All defaults. Errors: ERR_MEMORY. Owned by the caller: sy_config_destroy (NULL is fine). */
sy_status sy_config_create(struct sy_config **out);
void sy_config_destroy(struct sy_config *cfg);

/* Local. Reads a TOML file, or the n bytes of `text` called `name` in messages, at SY_LAYER_FILE. Errors:
 * ERR_IO, and ERR_USAGE naming file, line, key, value, bound and what to do; an unknown key names the
 * nearest one. Reading goes on after a wrong key: sy_config_problem has all of them. */
sy_status sy_config_load_file(struct sy_config *cfg, const char *path);
sy_status sy_config_load_text(struct sy_config *cfg, const char *name, const char *text, size_t n);

/* Local. Takes the arguments that name an option out of argv (argv[0] stays) and lowers *argc: --a.b=v,
 * --a.b v, bare --a.b and --a.no-b for booleans, --a.no-b for paths (back to the default), repeated for
 * lists. Whatever has no dot before '=' stays, in order; so does everything after "--". Errors: ERR_USAGE.
 * argv's strings are copied. */
sy_status sy_config_flags(struct sy_config *cfg, int *argc, char **argv);

/* Local. Sets one key ("section.key", '-' equals '_') from text: a list's text is one item, which is
 * appended to items of the same layer and `where`. A stronger layer's value stays, and an empty path is as
 * if not given. `where` (copied) starts messages: a path, or "command line". */
sy_status sy_config_set(struct sy_config *cfg, enum sy_config_layer layer, const char *where, const char *key,
                        const char *text);

/* Local. One key back to its default, at this layer: what weaker ones say of it is forgotten. Errors:
 * ERR_USAGE unknown key, ERR_MEMORY. */
sy_status sy_config_clear(struct sy_config *cfg, enum sy_config_layer layer, const char *where,
                          const char *key);

/* Local. Applies the flavor and the rules for what was left open, then every check that concerns one
 * process. `hopper`: a usable Hopper GPU is there; decides what "auto" means for run.device and
 * numerics.class. May be called again after more was set. Errors: ERR_USAGE with both numbers in the text. */
sy_status sy_config_finish(struct sy_config *cfg, bool hopper);

/* Local. Whether a finished configuration computes on a GPU, and on which: its number, or -1 for the
 * first. */
bool sy_config_cuda(const struct sy_config *cfg, int *ordinal);

/* Local. The i-th message of what load, flags and finish found wrong, at most ten of them, whose first is
 * the message of that call; NULL past the last. *n (if not NULL) is how many there were. finish forgets what
 * came before it. */
const char *sy_config_problem(const struct sy_config *cfg, int i, int *n);

/* Local. For a resume, before finish: each key that changes bits and that neither file nor flags state gets
 * the value of `before`, a finished config, at SY_LAYER_CHECKPOINT, where it is not the one that holds
 * anyway. A stated model.flavor that is not before's states all its keys; "auto", and a 0 that means "not
 * given", state nothing. An expert bias stays (moe.keep_bias). `where` (copied) starts messages. Errors:
 * ERR_USAGE, ERR_MEMORY. */
sy_status sy_config_inherit(struct sy_config *cfg, const struct sy_config *before, const char *where);

/* Local. For a new run that begins with the model of `before`, a finished config: the same for the keys of
 * [model] and [moe] alone. */
sy_status sy_config_inherit_model(struct sy_config *cfg, const struct sy_config *before, const char *where);

/* Local. ERR_USAGE with a problem for each key of that effect whose value is not that of `before`: "key =
 * value: the run has its value: why". */
sy_status sy_config_refuse_changes(struct sy_config *cfg, const struct sy_config *before,
                                   enum sy_config_effect effect, const char *why);

/* Local. The same for the keys of [model] and [moe] that say which weights there are; `where` is whose
 * model `before` has. */
sy_status sy_config_refuse_model(struct sy_config *cfg, const struct sy_config *before, const char *where);

/* Local. The checks between the options of [moe] alone, finished or not: what an MoE layer by itself
 * needs. Errors: ERR_USAGE with both numbers in the text. */
sy_status sy_config_check_moe(const struct sy_config *cfg);

/* Local. ERR_USAGE with `file:line: key = value: ` before the text, for checks that only another room can
 * make. */
sy_status sy_config_fail(const struct sy_config *cfg, const char *key, const char *fmt, ...) SY_PRINTF(3, 4);

/* Local. The value of any key as TOML text (a string in quotes). Errors: ERR_USAGE unknown key,
 * ERR_MEMORY. The text lives until sy_config_destroy. sy_config_layer_of: SY_LAYER_DEFAULT for an unknown
 * key. */
sy_status sy_config_get(struct sy_config *cfg, const char *key, const char **text);
enum sy_config_layer sy_config_layer_of(const struct sy_config *cfg, const char *key);

/* Local. The word of a choice, as "avx2" for "run.tier"; NULL if the key is no choice. Static. */
const char *sy_config_word(const struct sy_config *cfg, const char *key);

/* Local. The i-th option's "section.key" and effect, in the order of fields.def; NULL past the last. */
const char *sy_config_key(int i, enum sy_config_effect *effect);

/* Local. All values as TOML that loads back to the same values. */
void sy_config_print(const struct sy_config *cfg, sy_write_fn write, void *user);

/* Local. Item i of data.sources, "path:weight". Errors: ERR_USAGE no path, no weight in 1 … 1000000, a path
 * of `bytes` or more. */
enum { SY_CONFIG_SOURCES = 64, SY_CONFIG_SOURCE_WEIGHT = 1000000 };
sy_status sy_config_source(const struct sy_config *cfg, int64_t i, char *path, size_t bytes, int64_t *weight);

/* Local. n for activation_checkpoint.selective_ac_option = "n", 1 for "op"; 0 if it is neither (a check
 * refuses that). */
int64_t sy_config_selective_every(const struct sy_config_activation_checkpoint *ac);

/* Local. The i-th flavor's name, and in *about (if not NULL) what it is; NULL past the last. */
const char *sy_config_flavor(int i, const char **about);

/* Local. Text made from fields.def. help: `switchyard help KEY` for an option (its last part will do, also
 * what others call it), a section, a flavor, or a key that is refused; errors: ERR_USAGE naming the nearest
 * key. init: a commented config for a flavor ("" for none). reference: docs/CONFIG.md. */
sy_status sy_config_help(const char *key, sy_write_fn write, void *user);
sy_status sy_config_init(const char *flavor, sy_write_fn write, void *user);
void sy_config_reference(sy_write_fn write, void *user);

/* Local. The commented config of one that is finished, or that states no model: stated is the recipe, what
 * every config must say, and what it was given by file or flags. note: comment lines for its head, or "". */
void sy_config_template(const struct sy_config *cfg, const char *note, sy_write_fn write, void *user);

#endif
