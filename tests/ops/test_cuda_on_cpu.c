/* The sources of the GPU's ops, run on this CPU (cuda_on_cpu.h) and compared with the reference as the tiers
 * are (test_calls.c): the same made-up calls, word by word, with the threads of a block going up and going
 * down. What is left for a GPU to show are its own instructions, and races.
 */
#include "made_calls.h"

/* So little workspace that a sum over rows takes several launches; for attention backward, that some calls
 * have none and others take theirs in parts. A sort of routes has what it needs. */
enum { EDGES = 24, WORKSPACE = 16 << 10, ATTENTION = 400 << 10 };

extern int sy_on_cpu_order;
void sy_on_cpu_backwards(const int *in, int *out, int n, int barrier);

/* Products are the GPU's alone. */
static const char *const not_here[] = {"linear", "linear_dx", "linear_dw", "pack"};

#define X(name, type) \
    __attribute__((weak)) void sy_cuda_##name(const struct sy_exec *x, const struct type *op);
SY_OPS_LIST(X)
#undef X

/* The reference's table with all ops that there are in their place; how many. */
static int take_ops(struct sy_ops *ops) {
    int n = 0;
#define X(name, type)               \
    if (sy_cuda_##name) {           \
        ops->name = sy_cuda_##name; \
        n++;                        \
    }
    SY_OPS_LIST(X)
#undef X
    return n;
}

static int is_here(const char *op) {
    for (size_t i = 0; i < sizeof not_here / sizeof *not_here; i++)
        if (strcmp(op, not_here[i]) == 0)
            return 0;
    return 1;
}

static void equal(const struct sy_exec *ref, const struct sy_exec *x, int op, enum sy_call_size size,
                  uint64_t seed) {
    char text[200];
    struct sy_call *want = done(ref, op, size, seed);
    for (sy_on_cpu_order = 0; sy_on_cpu_order < 2; sy_on_cpu_order++) {
        struct sy_call *have = done(x, op, size, seed);
        if (sy_call_differs(have, want, text, sizeof text))
            fail_msg("%s (the reference): %s call %llu, threads going %s", text,
                     size == SY_CALL_EDGE ? "edge" : "typical", (unsigned long long)seed,
                     sy_on_cpu_order ? "down" : "up");
        sy_call_destroy(have);
    }
    sy_call_destroy(want);
}

static void ops_on_cpu(void **state) {
    (void)state;
    const char *why, *only = getenv("OP");
    struct sy_device device = *sy_device_cpu();
    device.segment = 16;
    struct sy_ops ops = *sy_ops_tier(0, &why);
    int n = take_ops(&ops);
    struct sy_exec ref = exec_open(sy_ops_tier(0, &why), &device, SY_NUMERIC_SM90, 1),
                   x = exec_with(&ops, &device, SY_NUMERIC_SM90, 1, ATTENTION);
    if (!only && n < sy_calls_n_ops() - (int)(sizeof not_here / sizeof *not_here))
        fail_msg("%d ops of %d are here", n, sy_calls_n_ops());
    for (int op = 0; op < sy_calls_n_ops(); op++) {
        if (!is_here(sy_calls_op(op)) || (only && strcmp(only, sy_calls_op(op)) != 0))
            continue;
        int little =
            strncmp(sy_calls_op(op), "attention", 9) != 0 && strcmp(sy_calls_op(op), "route_sort") != 0;
        x.scratch_bytes = little ? WORKSPACE : ATTENTION;
        for (uint64_t seed = 0; seed < EDGES; seed++)
            equal(&ref, &x, op, SY_CALL_EDGE, seed);
        equal(&ref, &x, op, SY_CALL_TYPICAL, 1);
    }
    exec_close(&x);
    exec_close(&ref);
}

/* A barrier holds the threads together whichever goes first; where one is missing, an order shows it. */
static void barriers_are_missed(void **state) {
    (void)state;
    enum { N = 64 };
    int in[N], out[2][N], backwards[N];
    for (int i = 0; i < N; i++)
        backwards[N - 1 - i] = in[i] = 100 + i;
    for (int barrier = 0; barrier < 2; barrier++) {
        for (sy_on_cpu_order = 0; sy_on_cpu_order < 2; sy_on_cpu_order++)
            sy_on_cpu_backwards(in, out[sy_on_cpu_order], N, barrier);
        assert_int_equal(memcmp(out[0], backwards, sizeof backwards) == 0, barrier);
        assert_int_equal(memcmp(out[1], backwards, sizeof backwards) == 0, barrier);
        assert_int_equal(memcmp(out[0], out[1], sizeof backwards) == 0, barrier);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ops_on_cpu), cmocka_unit_test(barriers_are_missed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
