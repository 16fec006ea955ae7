/* The only file that calls MPI: see mpi_wire.h. */
#include "comm/mpi_wire.h"

#include <mpi.h>
#include <stdlib.h>
#include <string.h>

#include "comm/mpi_torchrun.h"

size_t sy_wire_piece_bytes = (size_t)4 << 20;

_Static_assert(sizeof(MPI_Request) <= sizeof((struct sy_wire_transfer){0}.request), "an MPI_Request fits");

struct posted_note { /* to another process, until MPI has passed it on */
    struct posted_note *next;
    MPI_Request request;
    char bytes[SY_WIRE_NOTE_BYTES];
};

static struct {
    int joined; /* from jobs of one process each, which MPI_Finalize does not always end */
    MPI_Comm notes, data;
    int rank, size;
    struct posted_note *posted, *spare;
    MPI_Request arrival;
    char arriving[SY_WIRE_NOTE_BYTES];
} wire;

static sy_status check(int code, const char *function) {
    char text[MPI_MAX_ERROR_STRING];
    int n = 0;
    if (code == MPI_SUCCESS)
        return SY_OK;
    MPI_Error_string(code, text, &n);
    SY_FAIL(SY_ERR_RUNTIME, "%s: %.*s", function, n, text);
}

static sy_status listen_for_notes(void) {
    return check(
        MPI_Irecv(wire.arriving, SY_WIRE_NOTE_BYTES, MPI_BYTE, MPI_ANY_SOURCE, 0, wire.notes, &wire.arrival),
        "MPI_Irecv");
}

/* --- start and end -------------------------------------------------------------------------------- */

static sy_status open_in(MPI_Comm world) {
    MPI_Comm_set_errhandler(world, MPI_ERRORS_RETURN);
    SY_TRY(check(MPI_Comm_dup(world, &wire.notes), "MPI_Comm_dup"));
    SY_TRY(check(MPI_Comm_dup(world, &wire.data), "MPI_Comm_dup"));
    MPI_Comm_set_errhandler(wire.notes, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(wire.data, MPI_ERRORS_RETURN);
    MPI_Comm_rank(wire.notes, &wire.rank);
    MPI_Comm_size(wire.notes, &wire.size);
    return listen_for_notes();
}

sy_status sy_wire_open(const struct sy_launch *place, double seconds) {
    int level;
    wire.joined = place->launcher == SY_LAUNCHER_TORCHRUN;
    if (wire.joined)
        SY_TRY(sy_torchrun_before(place, seconds));
    SY_TRY(check(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level), "MPI_Init_thread"));
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (level < MPI_THREAD_SERIALIZED)
        SY_FAIL(SY_ERR_UNAVAILABLE, "this MPI was built without threads: MPI_THREAD_SERIALIZED is needed");
    MPI_Comm world = MPI_COMM_WORLD;
    if (wire.joined)
        SY_TRY(sy_torchrun_join(place, &world));
    SY_TRY(open_in(world));
    if (wire.size != place->size || wire.rank != place->rank)
        SY_FAIL(SY_ERR_RUNTIME,
                "%s started this process as rank %d of %d, and MPI says rank %d of %d: start it with the "
                "mpirun of the Open MPI that it was built with, or srun --mpi=pmix",
                sy_launcher_name(place->launcher), place->rank, place->size, wire.rank, wire.size);
    return SY_OK;
}

void sy_wire_close(void) {
    if (wire.joined)
        return;
    MPI_Cancel(&wire.arrival);
    MPI_Request_free(&wire.arrival);
    MPI_Finalize();
}

int sy_wire_rank(void) { return wire.rank; }
int sy_wire_size(void) { return wire.size; }

/* --- notes ---------------------------------------------------------------------------------------- */

sy_status sy_wire_send_note(int to, const void *note, size_t bytes) {
    struct posted_note *p = wire.spare;
    if (p)
        wire.spare = p->next;
    else if (!(p = malloc(sizeof *p)))
        SY_FAIL(SY_ERR_MEMORY, "no memory for a message to rank %d", to);
    memcpy(p->bytes, note, bytes);
    p->next = wire.posted;
    wire.posted = p;
    return check(MPI_Isend(p->bytes, (int)bytes, MPI_BYTE, to, 0, wire.notes, &p->request), "MPI_Isend");
}

sy_status sy_wire_next_note(int *from, void *note, size_t *bytes) {
    MPI_Status status;
    int flag, n;
    *bytes = 0;
    SY_TRY(check(MPI_Test(&wire.arrival, &flag, &status), "MPI_Test"));
    if (!flag)
        return SY_OK;
    MPI_Get_count(&status, MPI_BYTE, &n);
    *from = status.MPI_SOURCE;
    memcpy(note, wire.arriving, (size_t)n);
    *bytes = (size_t)n;
    return listen_for_notes();
}

sy_status sy_wire_notes_pending(int *n) {
    *n = 0;
    for (struct posted_note **at = &wire.posted, *p; (p = *at) != NULL;) {
        int flag;
        SY_TRY(check(MPI_Test(&p->request, &flag, MPI_STATUS_IGNORE), "MPI_Test"));
        if (flag) {
            *at = p->next;
            p->next = wire.spare;
            wire.spare = p;
        } else {
            at = &p->next;
            ++*n;
        }
    }
    return SY_OK;
}

/* --- transfers ------------------------------------------------------------------------------------ */

static size_t piece(const struct sy_wire_transfer *t) {
    return t->bytes - t->moved < sy_wire_piece_bytes ? t->bytes - t->moved : sy_wire_piece_bytes;
}

static sy_status begin_piece(struct sy_wire_transfer *t) {
    MPI_Request request;
    char *data = t->data + t->moved;
    int n = (int)piece(t);
    SY_TRY(t->sends ? check(MPI_Isend(data, n, MPI_BYTE, t->peer, t->tag, wire.data, &request), "MPI_Isend")
                    : check(MPI_Irecv(data, n, MPI_BYTE, t->peer, t->tag, wire.data, &request), "MPI_Irecv"));
    memcpy(t->request, &request, sizeof request);
    t->pending = 1;
    return SY_OK;
}

sy_status sy_wire_move(struct sy_wire_transfer *t) {
    MPI_Request request;
    MPI_Status status;
    int flag;
    if (!t->pending && t->moved < t->bytes)
        return begin_piece(t);
    memcpy(&request, t->request, sizeof request);
    SY_TRY(check(MPI_Test(&request, &flag, &status), "MPI_Test"));
    memcpy(t->request, &request, sizeof request);
    if (!flag)
        return SY_OK;
    t->pending = 0;
    MPI_Test_cancelled(&status, &t->given_up);
    if (t->given_up)
        return SY_OK;
    t->moved += piece(t);
    return t->moved < t->bytes ? begin_piece(t) : SY_OK;
}

void sy_wire_cancel(struct sy_wire_transfer *t) {
    MPI_Request request;
    memcpy(&request, t->request, sizeof request);
    if (t->pending && !t->sends)
        MPI_Cancel(&request);
}
