/* The routes of a step between the files of routes.h and the batches of the model.
 *
 * A file has the sequences in the order of the data; a batch has some of them in the order of the walk.
 * Before a batch what is to be followed is gathered for it, after it what was chosen is put in place.
 */
#ifndef SY_TRAIN_STEP_ROUTES_H
#define SY_TRAIN_STEP_ROUTES_H

#include "model/model.h"
#include "parallel/shard.h"
#include "parallel/walk.h"
#include "routes/routes.h"

struct sy_step_routes;

/* Local. *out is NULL when neither moe.routes_in nor moe.routes_out is set, or there is no MoE layer; the
 * functions below then do nothing. batch: most sequences of one, whose routes lie in the device's memory.
 * Errors: those of sy_routes_open. Owned by the caller. */
sy_status sy_step_routes_create(const struct sy_config *config, const struct sy_device *device, int64_t batch,
                                struct sy_step_routes **out);
/* Local. Adds what create takes to a measuring arena. */
sy_status sy_step_routes_measure(const struct sy_config *config, int64_t batch, struct sy_arena *arena);
void sy_step_routes_destroy(struct sy_step_routes *routes);

/* Local. Before the first step: whether a file to follow is there for each of them, and the first one's
 * routes are of this model and batch. ERR_DATA names the first without, and what the file has. */
sy_status sy_step_routes_check(const struct sy_step_routes *routes, int64_t first, int64_t last);

/* Local. Steps count from 1. Reads the step's file: *skipped 1 if the step is to be skipped. */
sy_status sy_step_routes_begin(struct sy_step_routes *routes, int64_t step, int *skipped);
/* Collective over the world, whose first rank writes the file: the routes of all ranks if they are known
 * and their weights finite, else that the step was skipped. When the device is done with it. */
sy_status sy_step_routes_end(struct sy_step_routes *routes, const struct sy_comm *world, int64_t step,
                             int known);

/* Local. Around a batch: copies to and from the device are enqueued. before sets batch's given and taken;
 * after takes those of some layers. */
void sy_step_routes_before(struct sy_step_routes *routes, const struct sy_walk *walk, struct sy_batch *batch);
void sy_step_routes_after(struct sy_step_routes *routes, const struct sy_walk *walk,
                          const struct sy_batch *batch, struct sy_share layers);

#endif
