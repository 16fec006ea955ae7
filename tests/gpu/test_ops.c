/* Every op of the list on the GPU against the same call on this machine's CPU in class sm90, bit for bit:
 * made-up calls (ops/calls.h), random and adversarial, as tests/ops/test_calls.c has them for tiers; a
 * product by every tile (ops/tiles.h).
 *
 *     test_ops [--calls N] [OP...]       N edge calls of each op (60), typical ones, of products large ones
 *
 * Prints a table, and for an op that differs its first calls that do. A child of this process holds the GPU:
 * if an op ends it (a fault, a kernel that never ends), the next child goes on with the next op. Exit 0
 * when all agree, 1 when not, 77 without a GPU.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "device/cuda.h"
#include "ops/calls.h"

enum { CALLS = 60, TYPICAL = 2, MANY = 4, SAID = 4, SECONDS_AN_OP = 60, WORKSPACE = 64 << 20 };

struct sides {
    struct sy_exec cpu, gpu;
    struct sy_device open, *device; /* a CPU with the GPU's segments */
    char *rubbish;
};

static void fatal(const char *what) {
    printf("%s: %s\n", what, sy_error_message());
    exit(2);
}

static void open_sides(struct sides *s) {
    if (sy_device_cuda_create(-1, &s->device) != SY_OK)
        fatal("no GPU");
    s->open = *sy_device_cpu();
    s->open.segment = s->device->segment;
    s->cpu = (struct sy_exec){.device = &s->open, .scratch_bytes = sy_calls_scratch_bytes()};
    sy_exec_set_class(&s->cpu, SY_NUMERIC_SM90);
    if (sy_ops_select("auto", &s->cpu.ops) != SY_OK || sy_pool_create(0, &s->cpu.pool) != SY_OK)
        fatal("the CPU");
    size_t bytes = s->cpu.scratch_bytes * (size_t)sy_pool_size(s->cpu.pool);
    s->cpu.scratch = aligned_alloc(64, bytes);
    s->gpu = s->cpu;
    s->gpu.device = s->device;
    s->gpu.ops = sy_ops_cuda();
    s->gpu.pool = NULL;
    s->gpu.scratch_bytes = WORKSPACE;
    s->gpu.scratch = s->device->alloc(s->device, SY_PLACE_DEVICE, s->gpu.scratch_bytes);
    s->rubbish = malloc(s->gpu.scratch_bytes);
    if (!s->cpu.scratch || !s->gpu.scratch || !s->rubbish)
        fatal("no memory for scratch");
    memset(s->rubbish, 0xff, s->gpu.scratch_bytes); /* NaN: nothing may depend on what was there */
    memset(s->cpu.scratch, 0xff, bytes);
}

static struct sy_call *done(const struct sy_exec *x, int op, enum sy_call_size size, uint64_t seed) {
    struct sy_call *c = NULL;
    if (sy_call_create(x, op, size, seed, &c) != SY_OK)
        fatal(sy_calls_op(op));
    sy_call_reset(x, c);
    sy_call_run(x, c);
    if (sy_call_finish(x, c) == SY_OK)
        return c;
    sy_call_destroy(c);
    return NULL;
}

struct count {
    int calls, differ, failed;
};

struct made {
    int op;
    enum sy_call_size size;
    uint64_t seed;
};

/* A call on the GPU beside what the CPU made of it; a line for one of the first that differ. columns: of the
 * tiles that a product is made to take; 0: its own. */
static void compare_with(struct sides *s, const struct made *m, const struct sy_call *want, int columns,
                         struct count *n) {
    static const int bands[] = {SY_TILE_BAND, 1, 3};
    struct sy_tuning tuning = {.forced = {columns, bands[m->seed % 3]}};
    char text[256] = "";
    struct sy_call *got;
    n->calls++;
    s->gpu.tuning = &tuning;
    if (!(got = done(&s->gpu, m->op, m->size, m->seed))) {
        n->failed++;
        snprintf(text, sizeof text, "%.250s", sy_error_message());
    } else if (sy_call_differs(got, want, text, sizeof text)) {
        n->differ++;
    }
    if (text[0] && n->differ + n->failed <= SAID)
        printf("    %s call %llu (kind %d), tiles of %d columns: %s\n",
               m->size == SY_CALL_EDGE   ? "edge"
               : m->size == SY_CALL_MANY ? "large"
                                         : "typical",
               (unsigned long long)m->seed, m->size == SY_CALL_EDGE ? (int)(m->seed % 6) : 0, columns, text);
    sy_call_destroy(got);
}

static int is_product(int op) { return strncmp(sy_calls_op(op), "linear", 6) == 0; }

/* One call on both sides, a product by each tile. */
static void compare(struct sides *s, int op, enum sy_call_size size, uint64_t seed, struct count *n) {
    static const int columns[] = {0, 256, 128, 64};
    struct sy_call *want = done(&s->cpu, op, size, seed);
    if (!want)
        fatal("the CPU");
    for (int i = 0; i < (is_product(op) ? 4 : 1) && !n->failed; i++)
        compare_with(s, &(struct made){op, size, seed}, want, columns[i], n);
    sy_call_destroy(want);
}

/* Whether all agree. A GPU that has failed for good ends the child: status 3. */
static int one_op(struct sides *s, int op, int calls) {
    struct count n = {0};
    double begin = sy_clock();
    alarm(SECONDS_AN_OP);
    s->device->copy(s->device, s->gpu.scratch, s->rubbish, s->gpu.scratch_bytes);
    for (int i = 0; i < calls && !n.failed; i++)
        compare(s, op, SY_CALL_EDGE, (uint64_t)i, &n);
    for (int i = 0; i < TYPICAL && !n.failed; i++)
        compare(s, op, SY_CALL_TYPICAL, (uint64_t)i, &n);
    for (int i = 0; i < MANY && !n.failed && is_product(op); i++)
        compare(s, op, SY_CALL_MANY, (uint64_t)i, &n);
    alarm(0);
    printf("%-18s %6d calls  %6d differ  %5.2f s%s\n", sy_calls_op(op), n.calls, n.differ, sy_clock() - begin,
           n.failed ? "  FAILED" : "");
    fflush(stdout);
    if (n.failed && sy_exec_wait(&s->gpu) != SY_OK)
        _exit(3);
    return !n.differ && !n.failed;
}

static int wanted(int op, char **names, int n) {
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], sy_calls_op(op)) == 0)
            return 1;
    return n == 0;
}

/* Ops from *at on, in a process of its own. */
static int child(int calls, char **names, int n, volatile int *at) {
    struct sides s = {0};
    const char *why;
    int bad = 0;
    if (sy_device_cuda_count(&why) == 0) {
        printf("no GPU: %s\n", why);
        return 77;
    }
    open_sides(&s);
    for (; *at < sy_calls_n_ops(); ++*at)
        if (wanted(*at, names, n))
            bad |= !one_op(&s, *at, calls);
    return bad;
}

/* The next child goes on behind the op that ended this one. */
int main(int argc, char **argv) {
    int calls = CALLS, first = 1, bad = 0, status;
    volatile int *at = mmap(NULL, sizeof *at, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (argc > 2 && strcmp(argv[1], "--calls") == 0) {
        calls = atoi(argv[2]);
        first = 3;
    }
    if (at == MAP_FAILED)
        return 2;
    for (*at = 0; *at < sy_calls_n_ops(); ++*at) {
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0)
            exit(child(calls, argv + first, argc - first, at));
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
            return 2;
        if (WIFEXITED(status) && (WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 2))
            return WEXITSTATUS(status);
        bad |= !WIFEXITED(status) || WEXITSTATUS(status) != 0;
        if (WIFSIGNALED(status))
            printf("%-18s ended by signal %d\n", sy_calls_op(*at), WTERMSIG(status));
    }
    printf(bad ? "the GPU and class sm90 differ\n" : "the GPU and class sm90 agree on every bit\n");
    return bad;
}
