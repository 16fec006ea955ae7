/* Processes of torchrun become one MPI job: see mpi_torchrun.h. */
#include "comm/mpi_torchrun.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "comm/fault.h"

enum { LINE = 1024 };
_Static_assert(MPI_MAX_PORT_NAME <= LINE, "a port's name is a line");

static int *others;    /* rank 0: [size] sockets to the others, -1 */
static int first = -1; /* the others: to rank 0 */
static int server_end; /* open as long as this process is there: then ompi-server ends, too */

static int port_of(const struct sy_launch *place) {
    const char *agent = getenv("TORCHELASTIC_USE_AGENT_STORE");
    return place->port + (agent && strcmp(agent, "True") == 0);
}

/* --- lines ---------------------------------------------------------------------------------------- */

static int can_read(int file, double until) {
    double left = until - sy_clock();
    struct pollfd p = {.fd = file, .events = POLLIN};
    return left > 0 && poll(&p, 1, (int)(left * 1000) + 1) > 0;
}

/* Up to a newline, which is cut off; 0: it did not come. */
static int read_line(int file, char *line, double until) {
    for (size_t n = 0; n < LINE && can_read(file, until); n++) {
        if (read(file, line + n, 1) != 1)
            return 0;
        if (line[n] == '\n') {
            line[n] = 0;
            return n > 0;
        }
    }
    return 0;
}

static int write_line(int file, const char *text) {
    char line[LINE + 1];
    int n = snprintf(line, sizeof line, "%s\n", text);
    return n <= LINE && send(file, line, (size_t)n, MSG_NOSIGNAL) == n;
}

/* --- ompi-server ---------------------------------------------------------------------------------- */

/* Ends when its standard input does, that is with this process, however that ends. */
static const char script[] =
    "command -v ompi-server >/dev/null || exit 1;"
    "ompi-server --no-daemonize -r + 2>&1 >/dev/null & server=$!; read -r end; kill $server 2>/dev/null";

static int spawn(int in, int out) {
    extern char **environ;
    char *argv[] = {"sh", "-c", (char *)(uintptr_t)script, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;
    pid_t child;
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 0); /* as this process runs, so may its server */
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 0);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in, 0);
    posix_spawn_file_actions_adddup2(&files, out, 1);
    posix_spawnattr_init(&attributes);
    sigemptyset(&none); /* this thread has all signals blocked */
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int why = posix_spawnp(&child, "sh", &files, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return why;
}

/* uri [LINE]: where it can be reached. */
static sy_status start_server(char *uri, double until) {
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
        SY_FAIL(SY_ERR_RUNTIME, "no pipe to ompi-server: %s", strerror(errno));
    int why = spawn(in[0], out[1]);
    close(in[0]);
    close(out[1]);
    server_end = in[1];
    int there = why == 0;
    do /* it may have warnings to give */
        there = there && read_line(out[0], uri, until);
    while (there && !strstr(uri, "tcp://"));
    close(out[0]);
    if (!there)
        SY_FAIL(SY_ERR_UNAVAILABLE,
                "torchrun's processes find each other through Open MPI's ompi-server, which "
                "cannot be started here: install Debian's openmpi-bin, or use mpirun");
    return SY_OK;
}

/* --- rank 0 --------------------------------------------------------------------------------------- */

static sy_status listen_at(int port, int *out) {
    int file = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1, no = 0;
    struct addrinfo want = {.ai_family = AF_INET6, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *all;
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    if (file < 0) { /* a host without IPv6 */
        want.ai_family = AF_INET;
        file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    }
    if (file < 0 || getaddrinfo(NULL, service, &want, &all) != 0)
        SY_FAIL(SY_ERR_IO, "no socket for the other ranks: %s", strerror(errno));
    setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (want.ai_family == AF_INET6)
        setsockopt(file, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
    int bad = bind(file, all->ai_addr, all->ai_addrlen) != 0 || listen(file, SOMAXCONN) != 0, why = errno;
    freeaddrinfo(all);
    if (bad)
        SY_FAIL(SY_ERR_IO,
                "port %d, at which rank 0 waits for the others: %s; give torchrun another --master-port",
                port, strerror(why));
    *out = file;
    return SY_OK;
}

static int absent_rank(int rank, const void *arg) {
    (void)arg;
    return rank > 0 && others[rank] < 0 ? rank : -1;
}

static sy_status accept_all(int file, const struct sy_launch *place, double seconds, double until) {
    char line[LINE], names[200];
    for (int here = 1; here < place->size;) {
        int rank, size, s = can_read(file, until) ? accept4(file, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (s < 0 && sy_clock() >= until) {
            sy_fault_name(place->size, absent_rank, NULL, names, sizeof names);
            SY_FAIL(SY_ERR_PEER, "start: %s did not come within %g s (comm.init_timeout_seconds)", names,
                    seconds);
        }
        double soon = sy_clock() + 2; /* what connects and says nothing is no rank */
        if (s < 0 || !read_line(s, line, soon < until ? soon : until) ||
            sscanf(line, "switchyard %d of %d", &rank, &size) != 2 || size != place->size || rank < 1 ||
            rank >= size || others[rank] >= 0) {
            if (s >= 0)
                close(s);
            continue;
        }
        others[rank] = s;
        here++;
    }
    return SY_OK;
}

static sy_status be_first(const struct sy_launch *place, double seconds) {
    double until = sy_clock() + seconds;
    char uri[LINE];
    int file = -1;
    others = malloc((size_t)place->size * sizeof *others);
    if (!others)
        SY_FAIL(SY_ERR_MEMORY, "no memory for %d ranks", place->size);
    for (int r = 0; r < place->size; r++)
        others[r] = -1;
    SY_TRY(listen_at(port_of(place), &file));
    sy_status status = start_server(uri, until);
    if (status == SY_OK)
        status = accept_all(file, place, seconds, until);
    close(file);
    SY_TRY(status);
    for (int r = 1; r < place->size; r++)
        if (!write_line(others[r], uri))
            SY_FAIL(SY_ERR_PEER, "start: rank %d has left", r);
    setenv("OMPI_MCA_pmix_server_uri", uri, 1);
    return SY_OK;
}

/* --- the others ----------------------------------------------------------------------------------- */

static int connect_once(const struct sy_launch *place) {
    struct addrinfo want = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *all;
    char service[16];
    int file = -1;
    snprintf(service, sizeof service, "%d", port_of(place));
    if (getaddrinfo(place->address, service, &want, &all) != 0)
        return -1;
    for (const struct addrinfo *a = all; a && file < 0; a = a->ai_next) {
        file = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, 0);
        if (file >= 0 && connect(file, a->ai_addr, a->ai_addrlen) != 0) {
            close(file);
            file = -1;
        }
    }
    freeaddrinfo(all);
    return file;
}

static sy_status no_first(const struct sy_launch *place, double seconds) {
    SY_FAIL(
        SY_ERR_PEER,
        "start: rank 0, at MASTER_ADDR = %s, port %d, did not come within %g s (comm.init_timeout_seconds)",
        place->address, port_of(place), seconds);
}

static sy_status be_another(const struct sy_launch *place, double seconds) {
    double until = sy_clock() + seconds;
    char line[LINE];
    while ((first = connect_once(place)) < 0) {
        if (sy_clock() > until)
            return no_first(place, seconds);
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    snprintf(line, sizeof line, "switchyard %d of %d", place->rank, place->size);
    if (!write_line(first, line) || !read_line(first, line, until))
        return no_first(place, seconds);
    setenv("OMPI_MCA_pmix_server_uri", line, 1);
    return SY_OK;
}

/* In a Slurm job (srun started torchrun): Open MPI would take the process for one of srun's, and look for the
 * PMI of a step that has none for it. This is what it knows such a process by. */
static void is_not_of_srun(void) { unsetenv("SLURM_NODELIST"); }

sy_status sy_torchrun_before(const struct sy_launch *place, double seconds) {
    is_not_of_srun();
    return place->rank == 0 ? be_first(place, seconds) : be_another(place, seconds);
}

/* --- one job -------------------------------------------------------------------------------------- */

static sy_status check(int code, const char *function) {
    char text[MPI_MAX_ERROR_STRING];
    int n = 0;
    if (code == MPI_SUCCESS)
        return SY_OK;
    MPI_Error_string(code, text, &n);
    SY_FAIL(SY_ERR_RUNTIME, "%s, between processes of torchrun: %.*s", function, n, text);
}

/* `rank` comes to those before it. Its name is told when it is its turn: two would not be told apart. */
static sy_status take(int rank, MPI_Comm *all) {
    char name[LINE] = "";
    MPI_Comm both, joined;
    if (others) {
        SY_TRY(check(MPI_Open_port(MPI_INFO_NULL, name), "MPI_Open_port"));
        if (!write_line(others[rank], name))
            SY_FAIL(SY_ERR_PEER, "start: rank %d has left", rank);
    }
    SY_TRY(check(MPI_Comm_accept(name, MPI_INFO_NULL, 0, *all, &both), "MPI_Comm_accept"));
    SY_TRY(check(MPI_Intercomm_merge(both, 0, &joined), "MPI_Intercomm_merge"));
    MPI_Comm_set_errhandler(joined, MPI_ERRORS_RETURN);
    *all = joined;
    return SY_OK;
}

static sy_status come(MPI_Comm *all) {
    char name[LINE];
    MPI_Comm both;
    if (!read_line(first, name, sy_clock() + 1e6)) /* sy_comm_mpi_run has a limit for all of it */
        SY_FAIL(SY_ERR_PEER, "start: rank 0 has left");
    SY_TRY(check(MPI_Comm_connect(name, MPI_INFO_NULL, 0, MPI_COMM_SELF, &both), "MPI_Comm_connect"));
    SY_TRY(check(MPI_Intercomm_merge(both, 1, all), "MPI_Intercomm_merge"));
    MPI_Comm_set_errhandler(*all, MPI_ERRORS_RETURN);
    return SY_OK;
}

sy_status sy_torchrun_join(const struct sy_launch *place, MPI_Comm *all) {
    MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
    *all = MPI_COMM_SELF;
    if (place->rank > 0)
        SY_TRY(come(all));
    for (int r = place->rank + 1; r < place->size; r++)
        SY_TRY(take(r, all));
    return SY_OK;
}
