/* Which group of optimizer.groups a tensor is of: the first whose pattern has its name (config/groups.h). A
 * function of the name alone, so that no layout shows. */
#ifndef SY_TRAIN_GROUPS_H
#define SY_TRAIN_GROUPS_H

#include "config/config.h"
#include "config/groups.h"
#include "model/params.h"

/* The group of a tensor's name; its index, or -1: none, and *out is all defaults. Items parse. */
int sy_group_of(const struct sy_config *config, const char *name, struct sy_optimizer_group *out);

/* Local. Each pattern has a trained tensor. Errors: ERR_USAGE names one that has none, with the nearest
 * names; one whose tensors all are earlier groups'. */
sy_status sy_groups_check(const struct sy_config *config, const struct sy_params *params);

#endif
