/* Messages between two ranks that share memory: which send meets which receive.
 *
 * A request is its own entry in the list of those that wait for their other end: as many fly as the callers
 * have requests, and nothing is allocated.
 */
#ifndef SY_COMM_MESSAGES_H
#define SY_COMM_MESSAGES_H

#include "comm/comm.h"

/* Unmatched sends and receives, oldest first. Guarded by its owner. */
struct sy_messages {
    struct sy_comm_request *first;
};

/* The oldest other end of `request`, taken out of the list; or NULL, and the request is put into it. Ends
 * meet when from, to, tag and number are equal. */
struct sy_comm_request *sy_messages_match(struct sy_messages *list, struct sy_comm_request *request);

/* Takes an unmatched request out. */
void sy_messages_remove(struct sy_messages *list, const struct sy_comm_request *request);

/* Local. The calls of struct sy_comm_ops for `threads`; the wait is of a request of kind SEND or RECV. */
sy_status sy_messages_send_begin(const struct sy_comm *c, int to, int tag, const void *data, size_t bytes,
                                 struct sy_comm_request *request);
sy_status sy_messages_recv_begin(const struct sy_comm *c, int from, int tag, void *data, size_t bytes,
                                 struct sy_comm_request *request);
sy_status sy_messages_wait(const struct sy_comm *c, struct sy_comm_request *request);

#endif
