/* All-to-alls in flight between ranks that share memory: the part of `threads` that does not wait for anyone's arrival.
 *
 * Request n of every rank is the same exchange. A rank that begins it posts in slot n mod SY_COMM_MAX_REQUESTS where its
 * data lie and where it wants the others'. A part can be moved as soon as both its ends are posted, by either of the two:
 * whoever is in wait() takes what nobody has taken yet, copies it without holding the lock, and reports it to both ends. So
 * a wait depends only on the others having *begun*, never on what they wait for: any order of waits ends.
 */
#ifndef SY_COMM_FLIGHTS_H
#define SY_COMM_FLIGHTS_H

#include "comm/comm.h"

struct sy_flights;

/* Local. For `size` ranks of this process; size^2 * 16 bytes and a bit. Owned by the caller: sy_flights_destroy (NULL is
 * fine). NULL if there is no memory. */
struct sy_flights *sy_flights_create(int size);
void sy_flights_destroy(struct sy_flights *f);

/* The calls of struct sy_comm_ops for one rank; the next number of a rank starts at 1 and belongs to its thread. */
void sy_flights_begin(struct sy_flights *f, int rank, const void *send, const int64_t *send_at, void *recv,
                      const int64_t *recv_at, struct sy_comm_request *request);
void sy_flights_wait(struct sy_flights *f, int rank, struct sy_comm_request *request);

/* Local. Requests of this rank that others may still read or write: 0 once it has waited for all. */
int sy_flights_open(struct sy_flights *f, int rank);

#endif
