/* Text for people, made from the tables: `switchyard help KEY`, `switchyard init`, docs/CONFIG.md. See
 * config.h. */
#include "config/internal.h"

#include <stdio.h>
#include <string.h>

static const char *const effects[] = {"recipe", "model", "data", "start", "yes", "no"};
static const char *const effect_sentences[] = {
    "Part of the recipe: a resume refuses another value unless checkpoint.new_recipe = true.",
    "Part of the model: a resume refuses another value.",
    "Says which documents there are: a resume refuses others.",
    "Says what the first step begins with: a resume has its own checkpoint and ignores it.",
    "Changes the bits of the run.",
    "Never changes a bit of the weights.",
};
static const char *const type_names[] = {"integer", "number", "boolean", "string", "choice", "strings"};

static const char *name_of(const struct sy_option *o) { return strchr(o->key, '.') + 1; }

static void put_default(const struct sy_out *out, const struct sy_option *o) {
    char real[SY_TOML_REAL_BYTES];
    switch (o->type) {
    case SY_OPTION_INT:
        sy_putf(out, "%lld", (long long)o->first);
        break;
    case SY_OPTION_REAL:
        sy_toml_real_print(o->r_first, real);
        sy_put(out, real);
        break;
    case SY_OPTION_BOOL:
        sy_put(out, o->first ? "true" : "false");
        break;
    case SY_OPTION_TEXT:
        sy_put_string(out, o->text, strlen(o->text));
        break;
    case SY_OPTION_CHOICE:
        sy_put_string(out, o->words[o->first], strlen(o->words[o->first]));
        break;
    case SY_OPTION_LIST:
        sy_put(out, "[]");
        break;
    }
}

/* ---- help KEY ---- */

static void help_option(const struct sy_out *out, const struct sy_option *o) {
    char bounds[512], accepts[600];
    sy_option_bounds(o, bounds, sizeof bounds);
    snprintf(accepts, sizeof accepts, "accepts: %s", bounds);
    sy_putf(out, "%s = ", o->key);
    put_default(out, o);
    sy_put(out, "\n");
    sy_put_wrapped(out, "  ", accepts, 78);
    sy_put_wrapped(out, "  ", o->help, 78);
    sy_put_wrapped(out, "  ", effect_sentences[o->effect], 78);
    for (int i = 0; i < sy_n_refused_values; i++)
        if (!strcmp(sy_refused_values[i].key, o->key)) {
            char text[512];
            snprintf(text, sizeof text, "%s is refused: %s.", sy_refused_values[i].value,
                     sy_refused_values[i].reason);
            sy_put_wrapped(out, "  ", text, 78);
        }
}

static void help_refused(const struct sy_out *out, const struct sy_refused *r, const char *key) {
    char text[512];
    sy_putf(out, "%s\n", key);
    if (!r->neutral)
        snprintf(text, sizeof text, "Known, and refused: %s.", r->reason);
    else if (!strcmp(r->neutral, "*"))
        snprintf(text, sizeof text, "Accepted in any value, without effect: %s.", r->reason);
    else
        snprintf(text, sizeof text, "Known, and refused unless it is %s: %s.",
                 *r->neutral ? r->neutral : "\"\"", r->reason);
    sy_put_wrapped(out, "  ", text, 78);
}

static bool help_section(const struct sy_out *out, const char *name) {
    for (int s = 0; s < sy_n_sections; s++) {
        if (strcmp(sy_sections[s].name, name))
            continue;
        sy_putf(out, "[%s]\n", name);
        sy_put_wrapped(out, "  ", sy_sections[s].help, 78);
        for (int i = 0; i < sy_n_options; i++)
            if (!strcmp(sy_options[i].section, name)) {
                sy_putf(out, "\n%s = ", sy_options[i].key);
                put_default(out, &sy_options[i]);
                sy_put(out, "\n");
                sy_put_wrapped(out, "  ", sy_options[i].help, 78);
            }
        return true;
    }
    return false;
}

/* A name without its section: every option whose last part it is. */
static bool help_last_part(const struct sy_out *out, const char *name) {
    int n = 0;
    for (int i = -1; (i = sy_option_by_last_part(name, i)) >= 0; n++) {
        sy_put(out, n ? "\n" : "");
        help_option(out, &sy_options[i]);
    }
    for (int i = 0; i < sy_n_refused && !n; i++)
        if (!strcmp(sy_refused[i].name, name)) {
            char key[2 * SY_KEY_BYTES];
            snprintf(key, sizeof key, "%s.%s", sy_refused[i].section, name);
            help_refused(out, &sy_refused[i], key);
            n++;
        }
    return n > 0;
}

static bool help_flavor(const struct sy_out *out, const char *name) {
    int n = 0;
    for (int i = -1; (i = sy_flavor_like(name, i)) >= 0; n++) {
        sy_putf(out, "%smodel.flavor = \"%s\"\n", n ? "\n" : "", sy_flavors[i].name);
        sy_put_wrapped(out, "  ", sy_flavors[i].about, 78);
        sy_put_wrapped(out, "  ", sy_flavors[i].values, 78);
    }
    return n > 0;
}

static bool help_alias(const struct sy_out *out, const char *name) {
    const char *ours = sy_option_meant(name);
    if (ours)
        help_option(out, &sy_options[sy_option_find(ours)]);
    return ours != NULL;
}

sy_status sy_config_help(const char *key, sy_write_fn write, void *user) {
    struct sy_out out = {write, user};
    char name[SY_KEY_BYTES];
    bool whole = sy_key_normalize(key, strlen(key), name), bare = !strchr(name, '.');
    int i = whole ? sy_option_find(name) : -1, r = whole ? sy_refused_find(name) : -1;
    if (i >= 0)
        help_option(&out, &sy_options[i]);
    else if (r >= 0)
        help_refused(&out, &sy_refused[r], name);
    else if (!whole ||
             (!help_section(&out, name) &&
              !(bare && (help_last_part(&out, name) || help_alias(&out, name) || help_flavor(&out, name)))))
        SY_FAIL(SY_ERR_USAGE, "%s: there is no such option or section: did you mean %s?", name,
                bare ? sy_word_nearest(name) : sy_option_nearest(name));
    return SY_OK;
}

/* ---- init ---- */

/* What a new config states: this and what it was given; the rest stands there as comments. */
static bool is_stated(const struct sy_config *cfg, int option) {
    const struct sy_option *o = &sy_options[option];
    static const char *const always[] = {
        "model.flavor",   "training.dataset_path", "training.global_batch_size",
        "training.steps", "optimizer.lr",          "lr_scheduler.warmup_steps"};
    static const char *const without_flavor[] = {"model.dim",           "model.n_layers",
                                                 "model.n_heads",       "model.vocab_size",
                                                 "model.moe_inter_dim", "moe.num_experts"};
    if (cfg->priv->origins[option].place.layer >= SY_LAYER_FILE)
        return true;
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        if (!strcmp(o->key, always[i]))
            return true;
    for (size_t i = 0; i < sizeof without_flavor / sizeof *without_flavor; i++)
        if (!strcmp(o->key, without_flavor[i]))
            return !*cfg->model.flavor;
    return o->effect == SY_EFFECT_RECIPE;
}

static void init_body(const struct sy_out *out, const struct sy_config *cfg) {
    for (int s = 0; s < sy_n_sections; s++) {
        sy_put(out, "\n");
        sy_put_wrapped(out, "# ", sy_sections[s].help, 78);
        sy_putf(out, "[%s]\n", sy_sections[s].name);
        for (int i = 0; i < sy_n_options; i++) {
            const struct sy_option *o = &sy_options[i];
            if (strcmp(o->section, sy_sections[s].name))
                continue;
            sy_put_wrapped(out, "# ", o->help, 78);
            sy_putf(out, "%s%s = ", is_stated(cfg, i) ? "" : "#", name_of(o));
            if (cfg->priv->origins[i].ruled && o->type == SY_OPTION_CHOICE)
                put_default(out, o); /* "auto" is the machine's to resolve, not this config's */
            else
                sy_put_option(out, cfg, o);
            sy_put(out, "\n");
        }
    }
}

void sy_config_template(const struct sy_config *cfg, const char *note, sy_write_fn write, void *user) {
    struct sy_out out = {write, user};
    sy_put(&out, "# A switchyard config. Lines that begin with '#' show what holds anyway: the\n"
                 "# flavor's values and the defaults. `switchyard help KEY` explains a key.\n");
    sy_put(&out, note);
    init_body(&out, cfg);
}

sy_status sy_config_init(const char *flavor, sy_write_fn write, void *user) {
    struct sy_config *cfg;
    SY_TRY(sy_config_create(&cfg));
    sy_status status = sy_config_set(cfg, SY_LAYER_FLAG, "command line", "model.flavor", flavor);
    if (status == SY_OK && *flavor)
        status = sy_config_finish(cfg, false);
    if (status == SY_OK)
        sy_config_template(cfg, "", write, user);
    sy_config_destroy(cfg);
    return status;
}

/* ---- docs/CONFIG.md ---- */

static void reference_section(const struct sy_out *out, const struct sy_section *section) {
    char bounds[512];
    sy_putf(out,
            "\n## [%s]\n\n%s\n\n| key | type | default | accepts | bits | |\n|---|---|---|---|---|---|\n",
            section->name, section->help);
    for (int i = 0; i < sy_n_options; i++) {
        const struct sy_option *o = &sy_options[i];
        if (strcmp(o->section, section->name))
            continue;
        sy_option_bounds(o, bounds, sizeof bounds);
        sy_putf(out, "| `%s` | %s | `", name_of(o), type_names[o->type]);
        put_default(out, o);
        sy_putf(out, "` | %s | %s | %s |\n", bounds, effects[o->effect], o->help);
    }
}

static void reference_refused(const struct sy_out *out) {
    sy_put(out, "\n## Known and refused\n\nKeys of TorchTitan v0.2.2 and others that people try. They are "
                "accepted with the value "
                "shown, where they mean nothing, and refused otherwise.\n\n| key | accepted | why "
                "|\n|---|---|---|\n");
    for (int i = 0; i < sy_n_refused; i++) {
        const struct sy_refused *r = &sy_refused[i];
        sy_putf(out, "| `%s.%s` | ", r->section, r->name);
        if (!r->neutral)
            sy_put(out, "never");
        else if (!strcmp(r->neutral, "*"))
            sy_put(out, "any value");
        else
            for (const char *p = r->neutral;; p++) {
                int n = (int)strcspn(p, "|");
                sy_putf(out, "%s`%.*s`", p == r->neutral ? "" : " or ", n ? n : 2, n ? p : "\"\"");
                p += n;
                if (!*p)
                    break;
            }
        sy_putf(out, " | %s |\n", r->reason);
    }
    sy_put(out, "\n| value | why |\n|---|---|\n");
    for (int i = 0; i < sy_n_refused_values; i++)
        sy_putf(out, "| `%s = %s` | %s |\n", sy_refused_values[i].key, sy_refused_values[i].value,
                sy_refused_values[i].reason);
}

void sy_config_reference(sy_write_fn write, void *user) {
    struct sy_out out = {write, user};
    sy_put(
        &out,
        "# Configuration\n\nGenerated from `src/config/*.def`; do not edit.\n\n"
        "A config is a TOML file. Each value comes from, weakest first: the default, `model.flavor`, the "
        "checkpoint that is "
        "resumed, the file, the command line (`--section.key=value`, `--section.key value`; for booleans "
        "`--section.key` "
        "and "
        "`--section.no-key`; for lists the flag repeated). In keys, '-' equals '_'. An empty path is as if "
        "it were not "
        "given; "
        "`--section.no-key` takes a path away that the file or the checkpoint has.\n\n"
        "The column *bits*: *recipe* is part of the recipe id, and a resume refuses another value unless "
        "`checkpoint.new_recipe = true`; *model* and *data* say what is trained, and on what: a resume "
        "refuses another "
        "model or tokenizer, and other documents; *start* says what the first step begins with, and a resume "
        "ignores it; *yes* changes the bits of the run; *no* never changes a "
        "bit of the weights.\n");
    for (int s = 0; s < sy_n_sections; s++)
        reference_section(&out, &sy_sections[s]);
    sy_put(&out, "\n## Flavors\n\n| `model.flavor` | |\n|---|---|\n");
    for (int i = 0; i < sy_n_flavors; i++)
        sy_putf(&out, "| `%s` | %s |\n", sy_flavors[i].name, sy_flavors[i].about);
    reference_refused(&out);
}
