/* What an item of optimizer.groups says: a pattern of tensor names, and what holds for them.
 *
 *     "*norm*: weight_decay=0"   "*.gate.*: lr=0.5, weight_decay=0.01"   "model.embed_tokens.*: frozen"
 *
 * '*' is any text, '?' any character, "[ab]" one of these, as fnmatch has it. lr is a factor of the
 * schedule's learning rate; 0 is frozen: no update, no weight decay, no part in the gradient's norm.
 */
#ifndef SY_CONFIG_GROUPS_H
#define SY_CONFIG_GROUPS_H

#include <stdbool.h>

#include "base/status.h"

enum { SY_GROUP_PATTERN_BYTES = 256, SY_GROUPS_MOST = 256 };

struct sy_optimizer_group {
    char pattern[SY_GROUP_PATTERN_BYTES];
    double lr;   /* a factor; 0: frozen */
    bool decays; /* weight_decay in place of optimizer.weight_decay */
    double weight_decay;
};

/* Local. Errors: ERR_USAGE what is wrong with the text, and what it should be. */
sy_status sy_optimizer_group_parse(const char *text, struct sy_optimizer_group *out);

/* Whether a name is of a group. */
bool sy_optimizer_group_has(const struct sy_optimizer_group *group, const char *name);

#endif
