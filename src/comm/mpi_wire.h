/* What the transport `mpi` asks of MPI, and all of it: notes and transfers between processes.
 *
 * A note is short, is copied and arrives by itself; notes of one process to another arrive in the order in
 * which they were sent. A transfer moves many bytes between the memory of two processes, of which both have
 * begun it with the same tag; it moves in pieces, as MPI counts in ints. MPI moves only in calls of these
 * functions, and no call waits but sy_wire_open and sy_wire_close. One thread at a time.
 *
 * An error of MPI's (SY_ERR_RUNTIME, with its text) is the end of all of it.
 */
#ifndef SY_COMM_MPI_WIRE_H
#define SY_COMM_MPI_WIRE_H

#include <stddef.h>

#include "base/status.h"
#include "comm/launcher.h"

enum { SY_WIRE_NOTE_BYTES = 4000 }; /* what MPI takes with the envelope, without asking the other end */

/* One end. Set data, bytes, peer, tag and sends; the rest is the wire's. */
struct sy_wire_transfer {
    char *data;
    size_t bytes, moved;
    int peer, tag, sends;
    int pending;     /* a piece is with MPI */
    int given_up;    /* it was cancelled: nothing moves any more, and what was moved is worth nothing */
    char request[8]; /* its MPI_Request */
};

/* Starts MPI, with all processes of the place's launcher; `seconds`: for what is waited for without MPI.
 * Once in a process's life. */
sy_status sy_wire_open(const struct sy_launch *place, double seconds);

/* Ends it, when all processes do; nothing is in flight between any two. */
void sy_wire_close(void);

/* This process and how many there are, of an open wire. */
int sy_wire_rank(void);
int sy_wire_size(void);

sy_status sy_wire_send_note(int to, const void *note, size_t bytes);

/* The next note: *bytes of it, or 0: none has come. */
sy_status sy_wire_next_note(int *from, void *note, size_t *bytes);

/* How many notes MPI has not passed on yet. */
sy_status sy_wire_notes_pending(int *n);

/* Passes the transfer's next piece to MPI, or looks whether the last one has moved: t->moved grows up to
 * t->bytes. */
sy_status sy_wire_move(struct sy_wire_transfer *t);

/* A receive is given up, if nothing of its piece has come; else it has to be moved to its end. */
void sy_wire_cancel(struct sy_wire_transfer *t);

/* Bytes of a piece; only tests change it. */
extern size_t sy_wire_piece_bytes;

#endif
