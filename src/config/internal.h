/* What the files of the config room share: config.c (memory, values, origins), assign.c (one value from
 * outside), file.c, flags.c, inherit.c (where values come from), finish.c and check.c (rules and checks),
 * problems.c (all that is wrong), nearest.c (what was meant), print.c and help.c (text). */
#ifndef SY_CONFIG_INTERNAL_H
#define SY_CONFIG_INTERNAL_H

#include <stdarg.h>

#include "config/options.h"
#include "formats/toml.h"

/* Where a value comes from. */
struct sy_place {
    enum sy_config_layer layer;
    const char *where; /* a path, "command line", … */
    int line;          /* 0: none */
    int load;          /* which call of load or flags; 0: none. A key may stand once in a load of a file */
};

struct sy_origin {
    struct sy_place place;
    bool ruled; /* the value was left open and sy_config_finish chose it */
};

struct
    /* a refused key that was given; judged by sy_config_finish, as flags may still put it right */
    sy_pending {
    struct sy_place place;
    const char *key, *raw, *shown; /* NULL: not given */
};

enum { SY_CONFIG_MOST_PROBLEMS = 10 };

struct sy_config_private {
    struct sy_block *blocks;
    struct sy_origin *origins;   /* of sy_options */
    struct sy_pending *pendings; /* of sy_refused */
    const char *last_where;
    const char *file; /* the last that was loaded; NULL: none */
    bool file_empty;  /* it states nothing */
    int n_loads;
    const char *problems[SY_CONFIG_MOST_PROBLEMS]; /* since create, load or flags; finish starts anew */
    int n_problems;                                /* may be more */
};

/* Zeroed memory, or a copy of n bytes and NUL, that live as long as the config; NULL when there is none. */
void *sy_config_take(struct sy_config *cfg, size_t bytes);
const char *sy_config_keep(struct sy_config *cfg, const char *text, size_t n);
sy_status sy_config_no_memory(void);

static inline void *sy_option_at(const struct sy_config *cfg, const struct sy_option *o) {
    return (char *)cfg + o->offset;
}
void sy_option_reset(struct sy_config *cfg, int i); /* to the default, layer too */

/* ERR_USAGE `where:line: key = shown: text`; without " = shown" if it is NULL. */
sy_status sy_config_fail_at(const struct sy_place *place, const char *key, const char *shown, const char *fmt,
                            ...) SY_PRINTF(4, 5);

/* An ERR_USAGE is kept among the config's problems and SY_OK comes back; any other status as it is. */
sy_status sy_config_note(struct sy_config *cfg, sy_status status);
/* ERR_USAGE with the first problem after the first `before`; SY_OK if there is none. */
sy_status sy_config_noted(const struct sy_config *cfg, int before);

/* Checks one value and stores it unless a stronger layer is there. place->where must live as long as the
 * config. */
sy_status sy_config_assign(struct sy_config *cfg, const struct sy_place *place, const char *key,
                           const struct sy_toml_value *v);

/* The same from text: strings as they are, everything else as TOML writes it. */
sy_status sy_config_assign_text(struct sy_config *cfg, const struct sy_place *place, const char *key,
                                const char *text);

/* The two parts of finish before its checks: what an earlier call chose is undone and the flavor's values
 * taken; the rules for what was left open. */
sy_status sy_config_apply_flavor(struct sy_config *cfg);
sy_status sy_config_apply_rules(struct sy_config *cfg, bool hopper);

/* Refused keys that were given a value other than a neutral one: their reasons, as problems. */
sy_status sy_config_check_pending(struct sy_config *cfg);

/* Every check that concerns one process, as problems; values are resolved. */
sy_status sy_config_check(struct sy_config *cfg);

/* ---- text ---- */

struct sy_out {
    sy_write_fn write;
    void *user;
};

void sy_put(const struct sy_out *out, const char *text);
void sy_putf(const struct sy_out *out, const char *fmt, ...) SY_PRINTF(2, 3); /* at most 1023 bytes */
void sy_put_wrapped(const struct sy_out *out, const char *prefix, const char *text, int width);
void sy_put_string(const struct sy_out *out, const char *text, size_t n); /* as a TOML string */
void sy_put_option(const struct sy_out *out, const struct sy_config *cfg, const struct sy_option *o);

struct sy_fixed { /* a buffer that cuts; always ends in NUL */
    char *text;
    size_t n, size;
};
void sy_fixed_write(void *user, const char *text, size_t n);

#endif
