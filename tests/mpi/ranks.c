/* What processes do to each other, as a program for mpirun (tests/mpi/ends.sh):   ranks SCENE DIR LIMIT
 * [options]
 *
 * Each rank writes how it ended to DIR/<rank>: "exit code, seconds, message", and exits with that code.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "comm/mpi_wire.h"
#include "comm/world.h"

enum { SCENE = 1, DIR = 2, LIMIT = 3 };

static volatile int stop;
static const char *scene;

static void *bytes_of(size_t n, int value) {
    void *p = malloc(n);
    if (!p)
        abort();
    memset(p, value, n);
    return p;
}

static sy_status wrong(const char *what) { SY_FAIL(SY_ERR_DATA, "%s: wrong bytes", what); }

/* --- many bytes ----------------------------------------------------------------------------------- */

static int byte_of(int from, int to, size_t i) { return (from * 31 + to * 7 + (int)(i % 251)) & 255; }

/* From each rank to each, `n` bytes and a few more for higher numbers. */
static sy_status exchange(const struct sy_comm *c, size_t n) {
    int64_t at[64] = {0}, back[64] = {0};
    for (int r = 0; r < c->size; r++) {
        at[r + 1] = at[r] + (int64_t)n + r + c->rank;
        back[r + 1] = back[r] + (int64_t)n + r + c->rank;
    }
    unsigned char *send = bytes_of((size_t)at[c->size], 0), *recv = bytes_of((size_t)at[c->size], 0);
    for (int r = 0; r < c->size; r++)
        for (int64_t i = at[r]; i < at[r + 1]; i++)
            send[i] = (unsigned char)byte_of(c->rank, r, (size_t)(i - at[r]));
    sy_status status = c->ops->all_to_all(c, SY_OK, send, at, recv, back);
    for (int r = 0; r < c->size && status == SY_OK; r++)
        for (int64_t i = back[r]; i < back[r + 1]; i++)
            if (recv[i] != byte_of(r, c->rank, (size_t)(i - back[r])))
                return wrong("all_to_all");
    free(send);
    free(recv);
    return status;
}

static sy_status cast_and_gather(const struct sy_comm *c, size_t n) {
    unsigned char *data = bytes_of(n, c->rank == 1 ? 9 : 0), *all = bytes_of(n * (size_t)c->size, 0);
    SY_TRY(c->ops->broadcast(c, SY_OK, 1, data, n));
    for (size_t i = 0; i < n; i++)
        if (data[i] != 9)
            return wrong("broadcast");
    memset(data, c->rank + 1, n);
    SY_TRY(c->ops->all_gather(c, SY_OK, data, n, all));
    for (size_t i = 0; i < n * (size_t)c->size; i++)
        if (all[i] != i / n + 1)
            return wrong("all_gather");
    free(data);
    free(all);
    return SY_OK;
}

static sy_status sum(const struct sy_comm *c, int64_t n) {
    int64_t *v = bytes_of((size_t)n * 8, 0);
    for (int64_t i = 0; i < n; i++)
        v[i] = i * (c->rank + 1);
    SY_TRY(c->ops->sum_i64(c, SY_OK, v, n));
    for (int64_t i = 0; i < n; i++)
        if (v[i] != i * c->size * (c->size + 1) / 2)
            return wrong("sum_i64");
    free(v);
    return SY_OK;
}

/* To the next rank and from the one before, both begun before either is waited for; also to this one
 * itself. */
static sy_status pass_on(const struct sy_comm *c, size_t n, int by) {
    struct sy_comm_request r[2];
    unsigned char *out = bytes_of(n, c->rank + 1), *in = bytes_of(n, 0);
    int to = (c->rank + by) % c->size, from = (c->rank + c->size - by) % c->size;
    SY_TRY(c->ops->send_begin(c, to, 3, out, n, &r[0]));
    SY_TRY(c->ops->recv_begin(c, from, 3, in, n, &r[1]));
    SY_TRY(c->ops->wait(c, &r[c->rank % 2]));
    SY_TRY(c->ops->wait(c, &r[!(c->rank % 2)]));
    for (size_t i = 0; i < n; i++)
        if (in[i] != from + 1)
            return wrong("message");
    free(out);
    free(in);
    return SY_OK;
}

/* Around the sizes of a note and of a piece. */
static sy_status many_bytes(const struct sy_comm *c) {
    static const size_t sizes[] = {3800, 3940, 3950,  3951,  3952,   3953,
                                   4000, 4096, 65536, 99999, 100000, 100001};
    sy_wire_piece_bytes = 50000;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        SY_TRY(exchange(c, sizes[i]));
        SY_TRY(cast_and_gather(c, sizes[i]));
        SY_TRY(sum(c, (int64_t)sizes[i] / 8));
        for (int by = 0; by <= 1; by++)
            SY_TRY(pass_on(c, sizes[i], by));
    }
    return SY_OK;
}

/* More than MPI's counts can say: 2^31 + a bit, in one message. */
static sy_status huge(const struct sy_comm *c) {
    size_t n = ((size_t)1 << 31) + 12345;
    struct sy_comm_request r;
    sy_wire_piece_bytes = (size_t)1 << 30;
    if (c->rank > 1)
        return SY_OK;
    unsigned char *data = malloc(n);
    if (!data)
        SY_FAIL(SY_ERR_MEMORY, "no memory for %zu bytes", n);
    for (size_t i = 0; i < n && c->rank == 0; i += 4096)
        data[i] = (unsigned char)(i >> 12);
    data[n - 1] = c->rank == 0 ? 77 : 0;
    SY_TRY(c->rank == 0 ? c->ops->send_begin(c, 1, 0, data, n, &r)
                        : c->ops->recv_begin(c, 0, 0, data, n, &r));
    SY_TRY(c->ops->wait(c, &r));
    for (size_t i = 0; i < n; i += 4096)
        if (data[i] != (unsigned char)(i >> 12))
            return wrong("huge");
    if (data[n - 1] != 77)
        return wrong("huge's end");
    free(data);
    return SY_OK;
}

/* --- ends ----------------------------------------------------------------------------------------- */

static sy_status stopped_rank(const struct sy_comm *c, const char *operation) {
    int64_t v = 1, at[65], all[64];
    struct sy_comm_request r;
    for (int i = 0; i <= c->size; i++)
        at[i] = 8 * i;
    SY_TRY(c->ops->agree(c, SY_OK));
    if (c->rank == 1)
        raise(SIGSTOP);
    if (strcmp(operation, "sum_i64") == 0)
        return c->ops->sum_i64(c, SY_OK, &v, 1);
    if (strcmp(operation, "all_to_all") == 0)
        return c->ops->all_to_all(c, SY_OK, all, at, bytes_of(8 * 64, 0), at);
    if (strcmp(operation, "receive") == 0 && c->rank == 0) {
        SY_TRY(c->ops->recv_begin(c, 1, 0, &v, sizeof v, &r));
        return c->ops->wait(c, &r);
    }
    return c->ops->agree(c, SY_OK);
}

/* Rank 1 is stopped while rank 0 reads and writes its memory. */
static sy_status stopped_in_the_middle(const struct sy_comm *c) {
    size_t n = (size_t)200 << 20;
    char *out = bytes_of(n, c->rank + 1), *in = bytes_of(n, 0);
    struct sy_comm_request r[2];
    SY_TRY(c->ops->agree(c, SY_OK));
    if (c->rank > 1)
        return c->ops->agree(c, SY_OK);
    SY_TRY(c->ops->recv_begin(c, !c->rank, 0, in, n, &r[0]));
    SY_TRY(c->ops->send_begin(c, !c->rank, 0, out, n, &r[1]));
    if (c->rank == 1) {
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        raise(SIGSTOP);
    }
    sy_status status = c->ops->wait(c, &r[0]);
    status = status == SY_OK ? c->ops->wait(c, &r[1]) : status;
    free(in);
    free(out);
    return status == SY_OK ? c->ops->agree(c, SY_OK) : status;
}

/* Rank 1 computes, and makes no call: what it has begun moves all the same. */
static sy_status computing_rank(const struct sy_comm *c) {
    size_t n = (size_t)1 << 20;
    char *out = bytes_of(n, c->rank + 1), *in = bytes_of(n, 0);
    int64_t at[65], back[65];
    struct sy_comm_request r;
    for (int i = 0; i <= c->size; i++)
        at[i] = back[i] = (int64_t)n / c->size * i;
    SY_TRY(c->ops->all_to_all_begin(c, SY_OK, out, at, in, back, &r));
    double begin = sy_clock();
    while (c->rank == 1 && sy_clock() - begin < 4)
        ;
    SY_TRY(c->ops->wait(c, &r));
    if (c->rank != 1 && sy_clock() - begin > 3)
        SY_FAIL(SY_ERR_RUNTIME, "rank %d waited %g s for a rank that had begun", c->rank, sy_clock() - begin);
    for (int i = 0; i < c->size; i++)
        if (in[back[i]] != i + 1 || in[back[i + 1] - 1] != i + 1)
            return wrong("all_to_all");
    SY_TRY(c->ops->agree(c, SY_OK));
    free(out);
    free(in);
    return SY_OK;
}

static sy_status asked_to_stop(const struct sy_comm *c, int stopped) {
    double begin = sy_clock();
    SY_TRY(c->ops->agree(c, SY_OK));
    stop = 1;
    if (c->rank == 1 && stopped)
        raise(SIGSTOP);
    while (c->rank == 1 && sy_clock() - begin < 4) /* it computes: alive, and waited for */
        ;
    return c->ops->agree(c, SY_OK);
}

static sy_status play(const struct sy_comm *c, void *arg) {
    (void)arg;
    if (strcmp(c->ops->name, "mpi") != 0)
        SY_FAIL(SY_ERR_RUNTIME, "the transport is %s", c->ops->name);
    if (strcmp(scene, "bytes") == 0)
        return many_bytes(c);
    if (strcmp(scene, "huge") == 0)
        return huge(c);
    if (strcmp(scene, "computes") == 0)
        return computing_rank(c);
    if (strcmp(scene, "middle") == 0)
        return stopped_in_the_middle(c);
    if (strcmp(scene, "asked") == 0 || strcmp(scene, "asked-stopped") == 0)
        return asked_to_stop(c, strcmp(scene, "asked-stopped") == 0);
    if (strcmp(scene, "fails") == 0)
        return c->rank == 1 ? sy_fail(SY_ERR_DATA, "a damaged shard") : c->ops->agree(c, SY_OK);
    if (strcmp(scene, "killed") == 0 && c->rank == 1)
        raise(SIGKILL);
    return stopped_rank(c, scene);
}

int main(int argc, char **argv) {
    double begin = sy_clock();
    if (argc <= LIMIT)
        return 2;
    signal(SIGTERM, SIG_IGN); /* of mpirun, when another rank has failed: the file is written all the same */
    scene = argv[SCENE];
    struct sy_world_options o = {
        .ranks = 1, .launched = 1, .init_limit = 60, .limit = atof(argv[LIMIT]), .stop = &stop};
    int ranks;
    struct sy_launch place = {0};
    sy_status status = sy_world_size(&o, &ranks, &place);
    if (strcmp(scene, "absent") == 0 && place.rank == 1)
        raise(SIGSTOP);
    if (strcmp(scene, "absent") == 0 || strcmp(scene, "alone") == 0)
        o.init_limit = o.limit;
    if (status == SY_OK)
        status = sy_world_run(&o, play, NULL);
    char path[4096];
    snprintf(path, sizeof path, "%s/%d", argv[DIR], place.rank);
    FILE *f = fopen(path, "w");
    if (!f)
        return 99;
    fprintf(f, "%d %.1f %s\n", sy_status_exit_code(status), sy_clock() - begin,
            status == SY_OK ? "" : sy_error_message());
    fclose(f);
    if (status != SY_OK)
        sleep(2); /* mpirun ends the others when one has failed: they are given time */
    return sy_status_exit_code(status);
}
