/* Known bugs that `verify --break` plants, and what a run must be like to show them: one list of those in
 * gradients.h and of those in a step over ranks that have cost others weeks. What each is, and where it was
 * met: docs/NUMERICS.md section 7. */
#ifndef SY_TRAIN_PLANTS_H
#define SY_TRAIN_PLANTS_H

#include "config/config.h"

enum { SY_PLANT_OPTIONS = 3 };
struct sy_plant {
    const char *name, *about;
    /* what the run without it has in its place: the same data; NULL: nothing */
    const char *data;
    struct {
        const char *key, *value;
    } with[SY_PLANT_OPTIONS]; /* the options of a run that shows it; key NULL: no more */
};

/* The i-th; 0: past the last. */
int sy_plant(int i, struct sy_plant *out);

/* Whether a run may name it: a plant, or the data of one. */
int sy_plant_is_known(const char *name);

/* Whether a run has this plant. */
int sy_plant_is(const struct sy_config *config, const char *name);

#endif
