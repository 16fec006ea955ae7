/* A config as text for a checkpoint: only what is not layout, so that equal runs have equal bytes. Private
 * to src/ckpt. */
#ifndef SY_CKPT_TEXT_H
#define SY_CKPT_TEXT_H

#include "config/config.h"

/* Called for one value: key "section.key", its effect, its text as TOML. Anything but SY_OK ends the walk. */
typedef sy_status (*sy_ckpt_value_fn)(void *user, const char *key, enum sy_config_effect effect,
                                      const char *text);

/* Local. Walks all values in the order of fields.def. Errors: ERR_MEMORY, or what fn returned. */
sy_status sy_ckpt_config_walk(const struct sy_config *config, sy_ckpt_value_fn fn, void *user);

/* Local. TOML of the values that are not layout; the caller's: free(). */
sy_status sy_ckpt_config_text(const struct sy_config *config, char **out);

#endif
