/* The plan is the code that takes the memory: its bytes are those that a session takes of its device, to
 * the page; and what cannot be numbered or addressed is refused by the plan, with the numbers, before
 * anything is taken. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../lib/session.h"

static struct sy_config *config_of(const char *flavor, const char *(*keys)[2], size_t n) {
    const char *options[][2] = {{"model.flavor", flavor},
                                {"training.dataset_path", "tests/data/prose.jsonl"},
                                {"training.global_batch_size", "16"},
                                {"training.seq_len", "32"},
                                {"run.threads", "2"}};
    struct sy_config *c = config_with(options, sizeof options / sizeof *options);
    set_options(c, keys, n);
    expect_ok(sy_config_finish(c, false));
    return c;
}

static sy_status measure(struct sy_config *c, struct sy_arena *a) {
    struct sy_params *p;
    *a = sy_arena_measure();
    assert_int_equal(sy_params_create(&c->model, &c->moe, &p), SY_OK);
    struct sy_mesh mesh = sy_mesh_alone(c);
    sy_status status = sy_session_measure(c, p, &mesh, a);
    sy_params_destroy(p);
    return status;
}

static size_t bytes_of(const struct sy_arena *a, const char *tag) {
    for (int i = 0; i < a->n_tags; i++)
        if (strcmp(a->tags[i].name, tag) == 0)
            return a->tags[i].bytes;
    fail_msg("the plan says nothing of \"%s\"", tag);
    return 0;
}

/* Closed views of guarded memory in this process. */
static size_t guarded_bytes(int *blocks) {
    FILE *f = fopen("/proc/self/maps", "r");
    char line[512], perms[8];
    size_t sum = 0, lo, hi;
    *blocks = 0;
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        if (strstr(line, "memfd:switchyard") && sscanf(line, "%zx-%zx %7s", &lo, &hi, perms) == 3 &&
            perms[0] == '-') {
            sum += hi - lo;
            ++*blocks;
        }
    fclose(f);
    return sum;
}

/* What a session of `keys` takes, beside the plan: whole pages for each arena, and no more. */
static void check_plan(const char *flavor, const char *(*keys)[2], size_t n) {
    struct sy_config *c = config_of(flavor, keys, n);
    struct sy_session *s;
    struct sy_arena plan;
    int blocks;
    assert_int_equal(measure(c, &plan), SY_OK);
    size_t twice = bytes_of(&plan, "batch") + bytes_of(&plan, "update"); /* on the host, and on the device */
    size_t planned = plan.used - plan.guards - twice / 2;
    expect_ok(sy_session_create(c, NULL, SY_SESSION_TRAIN | SY_SESSION_DATA | SY_SESSION_INIT, &s));
    size_t taken = guarded_bytes(&blocks), page = (size_t)sysconf(_SC_PAGESIZE);
    if (taken < planned || taken >= planned + (size_t)blocks * page)
        fail_msg("%s: %zu bytes planned, %zu taken in %d blocks", flavor, planned, taken, blocks);
    sy_session_destroy(s);
    assert_int_equal(guarded_bytes(&blocks), 0);
    sy_config_destroy(c);
}

static void plan_is_what_is_taken(void **state) {
    (void)state;
    static const char *modes[] = {"none", "full", "selective"};
    if (SY_ARENA_GUARD)
        skip();
    for (int i = 0; i < 3; i++) {
        const char *keys[][2] = {{"run.device", "guarded"}, {"activation_checkpoint.mode", modes[i]}};
        check_plan(i == 1 ? "micro_gqa" : "micro_mla", keys, 2);
    }
    const char *cut[][2] = {{"run.device", "guarded"},  {"numerics.lanes", "4"},
                            {"numerics.cell", "2"},     {"training.local_batch_size", "3"},
                            {"numerics.class", "fp32"}, {"run.tier", "ref"}};
    check_plan("micro_gqa", cut, 6);
    const char *dense[][2] = {{"run.device", "guarded"},
                              {"model.n_dense_layers", "2"},
                              {"model.n_layers", "2"},
                              {"model.inter_dim", "64"}};
    check_plan("micro_gqa", dense, 4);
}

/* Segments that start at multiples of 16 have more rows than routes: what fits on a CPU may not fit there. */
static void rows_are_numbers_of_32_bits(void **state) {
    (void)state;
    const char *keys[][2] = {{"moe.num_experts", "1024"},
                             {"training.global_batch_size", "262144"},
                             {"training.local_batch_size", "262144"},
                             {"run.device", "cpu"}};
    struct sy_arena a;
    for (int guarded = 0; guarded < 2; guarded++) {
        keys[3][1] = guarded ? "guarded" : "cpu";
        struct sy_config *c = config_of("micro_mla", keys, 4);
        if (measure(c, &a) != (guarded ? SY_ERR_USAGE : SY_OK))
            fail_msg("%s", sy_error_message());
        if (guarded) {
            assert_non_null(strstr(sy_error_message(), "262144 sequences that start at multiples of 16"));
            assert_non_null(strstr(sy_error_message(), "2147483647"));
        }
        sy_config_destroy(c);
    }
}

/* A step on sequences of one's own names tokens by the same numbers as one that fetched. */
static void feed_is_in_the_order_of_the_walk(void **state) {
    (void)state;
    struct sy_config *c = config_of("micro_mla", NULL, 0);
    struct sy_session *s;
    int moved = 0;
    expect_ok(sy_session_create(c, NULL, SY_SESSION_TRAIN, &s));
    for (int64_t k = 0; k < 16; k++) {
        assert_int_equal(s->feed.sequence[k], sy_walk_sequence(&s->walk, k));
        moved += s->feed.sequence[k] != k;
    }
    assert_true(moved > 0);
    close_session(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_is_what_is_taken),
        cmocka_unit_test(rows_are_numbers_of_32_bits),
        cmocka_unit_test(feed_is_in_the_order_of_the_walk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
