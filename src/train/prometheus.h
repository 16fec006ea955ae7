/* The newest step's numbers for Prometheus, by its text format (version 0.0.4), served by report/serve.h.
 *
 *     training   -> a slot that nobody reads -> exchanged with the newest
 *     the server    the newest, exchanged with the one that it read before -> text
 *
 * Three slots and one atomic word: neither waits for the other.
 */
#ifndef SY_TRAIN_PROMETHEUS_H
#define SY_TRAIN_PROMETHEUS_H

#include "report/serve.h"
#include "train/alerts.h"

struct sy_prometheus; /* NULL: nobody is told */

/* Local. If metrics.prometheus_port asks for it: *listener is a socket, else -1. Errors: those of
 * sy_serve_listen. */
sy_status sy_prometheus_listen(const struct sy_config *config, int *listener);

/* Local. Takes the listener, -1: *out is NULL. Errors: ERR_MEMORY, ERR_RUNTIME no thread. */
sy_status sy_prometheus_begin(int listener, const struct sy_session *s, const char *run_dir,
                              const char *recipe_id, struct sy_prometheus **out);
void sy_prometheus_end(struct sy_prometheus *p);

/* Local. After a step; loss: of a measurement on what is held out. */
void sy_prometheus_step(struct sy_prometheus *p, const struct sy_session *s, const struct sy_step_result *r,
                        const struct sy_metrics_times *times, const struct sy_alerts *alerts);
void sy_prometheus_eval(struct sy_prometheus *p, double loss);

#endif
