/* All that is wrong with a config, not only the first: each message as it is found, up to ten. See config.h.
 *
 * Reading goes on after a wrong key; checks go on after one that fails. A call's own message is the first of
 * its problems.
 */
#include "config/internal.h"

#include <string.h>

sy_status sy_config_note(struct sy_config *cfg, sy_status status) {
    struct sy_config_private *priv = cfg->priv;
    if (status != SY_ERR_USAGE)
        return status;
    if (priv->n_problems < SY_CONFIG_MOST_PROBLEMS) {
        const char *message = sy_error_message(), *kept = sy_config_keep(cfg, message, strlen(message));
        if (!kept)
            return sy_config_no_memory();
        priv->problems[priv->n_problems] = kept;
    }
    priv->n_problems++;
    return SY_OK;
}

sy_status sy_config_noted(const struct sy_config *cfg, int before) {
    if (cfg->priv->n_problems == before)
        return SY_OK;
    int i = before < SY_CONFIG_MOST_PROBLEMS ? before : SY_CONFIG_MOST_PROBLEMS - 1;
    return sy_fail(SY_ERR_USAGE, "%s", cfg->priv->problems[i]);
}

const char *sy_config_problem(const struct sy_config *cfg, int i, int *n) {
    if (n)
        *n = cfg->priv->n_problems;
    int there =
        cfg->priv->n_problems < SY_CONFIG_MOST_PROBLEMS ? cfg->priv->n_problems : SY_CONFIG_MOST_PROBLEMS;
    return i >= 0 && i < there ? cfg->priv->problems[i] : NULL;
}
