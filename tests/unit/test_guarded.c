/* The guarded device keeps its word: what is between two ops cannot be touched, what ops and copies do is
 * right. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "moe/dispatch.h"
#include "ops/wrapped.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

enum { SEQUENCES = 3, S = 5, E = 4, K = 2, ROUTES = SEQUENCES * S * K };

struct lab {
    struct sy_device *device;
    struct sy_ops ops;
    struct sy_exec x;
    struct sy_arena arena;
    struct sy_dispatch d;
    int32_t *ids;
};

static void carve(void *self, struct sy_arena *a) {
    struct lab *l = self;
    l->x.scratch = sy_arena_take(a, "scratch", 1, l->x.scratch_bytes);
    sy_dispatch_take(&l->x, a, &(struct sy_dispatch_bounds){SEQUENCES, SEQUENCES * S, E, K}, &l->d);
    l->ids = sy_arena_take(a, "ids", ROUTES, sizeof *l->ids);
}

static void open_lab(struct lab *l) {
    const struct sy_ops *inner;
    *l = (struct lab){0};
    assert_int_equal(sy_device_guarded_create(&l->device), SY_OK);
    assert_int_equal(sy_ops_select("ref", &inner), SY_OK);
    sy_ops_guard(inner, &l->ops);
    l->x = (struct sy_exec){.ops = &l->ops, .device = l->device, .scratch_bytes = 1 << 16};
    assert_int_equal(sy_arena_build(l->device, "lab", carve, l, &l->arena), SY_OK);
    int32_t ids[ROUTES];
    for (int i = 0; i < ROUTES; i += K) {
        ids[i] = i % (E - 1);
        ids[i + 1] = E - 1;
    }
    l->device->copy(l->device, l->ids, ids, sizeof ids);
    sy_dispatch_sort(&l->x, &l->d, SEQUENCES, S, l->ids);
}

static void close_lab(struct lab *l) {
    sy_arena_fini(&l->arena);
    sy_device_destroy(l->device);
}

/* How a process that does this ends: 0, or the signal. */
static int fate(struct lab *l, void (*what)(struct lab *l)) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        what(l);
        _exit(0);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

static volatile int64_t seen;
static void read_a_count(struct lab *l) { seen = l->d.offset[1] - l->d.offset[0]; }
static void read_a_flag(struct lab *l) { seen = *l->d.n_tiles; }
static void write_an_id(struct lab *l) { l->ids[0] = 0; }
static void read_the_last_byte(struct lab *l) { seen = l->arena.base[l->arena.used - 1]; }
static void run_an_op(struct lab *l) { sy_dispatch_sort(&l->x, &l->d, SEQUENCES, S, l->ids); }
static void copy_out(struct lab *l) {
    int64_t offset[E * SEQUENCES + 1];
    l->device->copy(l->device, offset, l->d.offset, sizeof offset);
    seen = offset[E * SEQUENCES];
}

static void peeks_fault(void **state) {
    (void)state;
#ifdef SANITIZED
    skip();
#endif
    struct lab l;
    open_lab(&l);
    assert_int_equal(fate(&l, read_a_count), SIGSEGV);
    assert_int_equal(fate(&l, read_a_flag), SIGSEGV);
    assert_int_equal(fate(&l, write_an_id), SIGSEGV);
    assert_int_equal(fate(&l, read_the_last_byte), SIGSEGV);
    assert_int_equal(fate(&l, run_an_op), 0);
    assert_int_equal(fate(&l, copy_out), 0);
    close_lab(&l);
}

/* Segments start at multiples of 16; the rows between have no route. */
static void segments_are_padded(void **state) {
    (void)state;
    struct lab l;
    int64_t offset[E * SEQUENCES + 1];
    open_lab(&l);
    int32_t *route = malloc((size_t)l.d.rows * sizeof *route), row[ROUTES];
    assert_non_null(route);
    l.device->copy(l.device, offset, l.d.offset, sizeof offset);
    l.device->copy(l.device, row, l.d.row, sizeof row);
    assert_true(offset[E * SEQUENCES] <= l.d.rows && l.device->segment == 16);
    l.device->copy(l.device, route, l.d.route, (size_t)offset[E * SEQUENCES] * sizeof *route);
    int routes = 0;
    for (int i = 0; i <= E * SEQUENCES; i++)
        assert_int_equal(offset[i] % 16, 0);
    for (int64_t r = 0; r < offset[E * SEQUENCES]; r++)
        if (route[r] >= 0) {
            assert_int_equal(row[route[r]], r);
            routes++;
        }
    assert_int_equal(routes, ROUTES);
    free(route);
    close_lab(&l);
}

/* The host's own memory is the host's; what was freed can be taken again. */
static void blocks(void **state) {
    (void)state;
    struct sy_device *d;
    assert_int_equal(sy_device_guarded_create(&d), SY_OK);
    char *host = d->alloc(d, SY_PLACE_HOST, 100);
    host[99] = 7;
    assert_true(d->alias(d, host) == host);
    for (int i = 0; i < 200; i++) {
        char *p = d->alloc(d, SY_PLACE_DEVICE, 10000), out = 1;
        assert_non_null(p);
        d->copy(d, &out, p + 9999, 1);
        assert_int_equal(out, 0);
        d->copy(d, p + 5000, host + 99, 1);
        d->copy(d, &out, p + 5000, 1);
        assert_int_equal(out, 7);
        d->open(d);
        d->open(d); /* an op in an op */
        d->close(d);
        p[0] = 3;
        d->close(d);
        d->free(d, SY_PLACE_DEVICE, p, 10000);
    }
    d->free(d, SY_PLACE_HOST, host, 100);
    assert_int_equal(d->wait(d), SY_OK);
    sy_device_destroy(d);
    sy_device_destroy(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(peeks_fault), cmocka_unit_test(segments_are_padded),
                                       cmocka_unit_test(blocks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
