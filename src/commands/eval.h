/* What a model says of texts and of questions. Private to src/commands/eval*.c. */
#ifndef SY_COMMANDS_EVAL_H
#define SY_COMMANDS_EVAL_H

#include "commands/scorer.h"
#include "formats/json.h"
#include "train/io.h"

/* Local. The options of sy_eval; the model is loaded. */
sy_status sy_eval_documents(struct sy_scorer *scorer, const struct sy_eval_options *options,
                            const struct sy_io *io);
sy_status sy_eval_choices(struct sy_scorer *scorer, const struct sy_eval_options *options,
                          const struct sy_io *io);

/* One line of JSON, which is taken, also NULL: out of memory. */
sy_status sy_eval_print(const struct sy_io *io, json_t *line);

#endif
