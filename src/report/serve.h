/* A page over HTTP beside a training, for programs that ask for it: one thread, which the training never
 * waits for and which waits for no client.
 *
 *     accept -> the request, at most 4 KiB of it -> the page as it is now -> close
 *
 * At most SY_SERVE_CLIENTS connections, each with its request's and its answer's room, taken at the start; a
 * further client takes the place of the oldest. One that is not done after `seconds` is dropped, whether it
 * says nothing, reads slowly or never ends. The thread has the processor's time that nothing else wants.
 */
#ifndef SY_REPORT_SERVE_H
#define SY_REPORT_SERVE_H

#include "base/status.h"

enum { SY_SERVE_CLIENTS = 8, SY_SERVE_REQUEST = 4096 };

struct sy_serve;

struct sy_serve_options {
    int listener;      /* of sy_serve_listen; the server's from then on, also after an error */
    double seconds;    /* that a client has */
    const char *type;  /* Content-Type; static */
    size_t page_bytes; /* room for a page */
    size_t (*page)(void *self, char *out,
                   size_t bytes); /* on the server's thread: its length, at most bytes */
    void *self;
};

/* Local. A socket that listens at `address` (IPv4 or IPv6, no name), port 1 to 65535. Errors name what was
 * asked for by `key_address`, `key_port`: ERR_USAGE no address, ERR_RUNTIME the port is taken or not
 * allowed. */
sy_status sy_serve_listen(const char *address, int port, const char *key_address, const char *key_port,
                          int *out);

/* Local. Answers GET and HEAD of / and /metrics. Errors: ERR_MEMORY, ERR_RUNTIME no thread. */
sy_status sy_serve_begin(const struct sy_serve_options *options, struct sy_serve **out);
void sy_serve_end(struct sy_serve *serve); /* at once, whatever clients do; NULL is fine */

#endif
