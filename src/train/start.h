/* What a new run begins with: checkpoint.initial_load_path, a run, a checkpoint or a Hugging Face folder.
 *
 *     sy_start_finish -> session with SY_SESSION_INIT (calls sy_start_load) -> step 1
 *
 * The folder's model and tokenizer come along where the config states none; what it states otherwise is
 * refused with both values. Steps, schedule and data begin anew. A run that goes on from a checkpoint of its
 * own takes no notice of it.
 */
#ifndef SY_TRAIN_START_H
#define SY_TRAIN_START_H

#include <jansson.h>

#include "base/log.h"
#include "config/config.h"

struct sy_session;

/* Local. In place of sy_config_finish where a run begins: the same without initial_load_path. That becomes
 * the checkpoint which was found, as a run may have a newer one later. Errors: those of sy_config_finish and
 * of opening a model; ERR_USAGE another model or tokenizer, moments of a folder that has none. */
sy_status sy_start_finish(struct sy_config *config, const struct sy_log *log);

/* Collective. Weights, and with initial_load_model_only = false moments and the count of updates, into a
 * session that is made. Errors: those of opening and loading. */
sy_status sy_start_load(struct sy_session *session);

/* Local. What a run began with, for its checkpoints: {"path", "weights_digest" of its weights,
 * "model_only"}; NULL: initial values. The caller's:
 * json_decref. Errors: ERR_MEMORY. */
sy_status sy_start_record(const struct sy_config *config, const char *weights_digest, json_t **out);

#endif
