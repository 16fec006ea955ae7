/* What the two halves of `verify` share: steps in one layout, and a row of the table. */
#ifndef SY_COMMANDS_VERIFY_H
#define SY_COMMANDS_VERIFY_H

#include "commands/layouts.h"
#include "commands/values.h"
#include "train/plants.h"

struct sy_io;

struct sy_outcome { /* of some steps */
    double loss, tokens_per_s;
    char digest[SY_DIGEST_CHARS];
};
int sy_outcome_same(const struct sy_outcome *a, const struct sy_outcome *b);

/* Some steps in one layout, for all its ranks; rank 0 fills in the outcome. */
struct sy_verify_task {
    struct sy_config *config; /* finished, with the layout */
    const struct sy_data *data;
    const struct sy_log *log;
    int64_t steps;
    const struct sy_comm *processes; /* NULL: ranks are threads */
    struct sy_outcome *out;
    struct sy_outcome *each;  /* [steps] after each; or NULL */
    struct sy_values *values; /* [ranks] of the last step; or NULL */
};
/* On threads; or on the processes, or the first of them alone, and all get the outcome. */
sy_status sy_verify_world(struct sy_verify_task *task);

void sy_verify_print_head(const struct sy_io *io);
void sy_verify_print_row(const struct sy_io *io, const struct sy_layout *layout, const struct sy_outcome *o,
                         const char *verdict);

int sy_verify_find_plant(const char *name, struct sy_plant *out);
/* ERR_USAGE unless the name is "list". */
sy_status sy_verify_list_plants(const char *name, const struct sy_io *io);
/* Steps with the planted bug and without it, on the same data: ERR_RUNTIME if they end alike; else the first
 * value that differs, and the first tensor of the model, are printed. */
sy_status sy_verify_plant(const struct sy_verify_task *task, const struct sy_plant *plant,
                          const struct sy_io *io);

#endif
