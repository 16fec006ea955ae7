/* All-to-alls in flight between ranks that share memory: the part of `threads` that does not wait for
 * anyone's arrival.
 *
 * Request n of every rank is the same exchange. A rank that begins it posts in slot n mod
 * SY_COMM_MAX_REQUESTS where its data lie and where it wants the others'. A part can be moved as soon as
 * both its ends are posted, by either of the two: whoever is in wait() takes what nobody has taken yet,
 * copies it without holding the mutex, and reports it to both ends. So a wait depends only on the others
 * having *begun*, never on what they wait for: any order of waits ends.
 */
#ifndef SY_COMM_FLIGHTS_H
#define SY_COMM_FLIGHTS_H

#include "comm/comm.h"

struct sy_flights;

/* Local. For `size` ranks of this process; size^2 * 16 bytes and a bit. Owned by the caller:
 * sy_flights_destroy (NULL is fine). NULL if there is no memory. */
struct sy_flights *sy_flights_create(int size);
void sy_flights_destroy(struct sy_flights *f);

/* The calls of struct sy_comm_ops; the wait is of a request of kind EXCHANGE. */
sy_status sy_flights_begin(const struct sy_comm *c, sy_status mine, const void *send, const int64_t *send_at,
                           void *recv, const int64_t *recv_at, struct sy_comm_request *request);
sy_status sy_flights_wait(const struct sy_comm *c, struct sy_comm_request *request);

#endif
