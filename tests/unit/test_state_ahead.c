/* A piece of the state that was asked for ahead is what a read of just that piece gives, and of no other; what
 * is written in between is seen. On a device whose memory the host cannot touch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config/config.h"
#include "train/state.h"

enum { N = 64 };

struct lab {
    struct sy_config *config;
    struct sy_params *params;
    struct sy_device *device;
    struct sy_exec x;
    struct sy_state state;
    int tensor[2]; /* trained, of 4 N elements at least */
};

static int open_lab(void **user) {
    static struct lab l;
    struct sy_owner own = sy_owner_of_all();
    float x[4 * N];
    assert_int_equal(sy_config_create(&l.config), SY_OK);
    assert_int_equal(sy_config_load_file(l.config, "configs/micro_gqa.toml"), SY_OK);
    assert_int_equal(sy_config_finish(l.config, false), SY_OK);
    assert_int_equal(sy_params_create(&l.config->model, &l.config->moe, &l.params), SY_OK);
    assert_int_equal(sy_device_guarded_create(&l.device), SY_OK);
    l.x = (struct sy_exec){.device = l.device};
    assert_int_equal(sy_state_init(l.params, &l.x, &own, 1, &l.state), SY_OK);
    for (int i = 0, n = 0; n < 2; i++)
        if (sy_state_is_trained(l.params, i) && l.params->tensor[i].n >= 4 * N)
            l.tensor[n++] = i;
    for (int kind = SY_STATE_W; kind < SY_STATE_KINDS; kind++)
        for (int k = 0; k < 2; k++) {
            for (int i = 0; i < 4 * N; i++)
                x[i] = (float)(1000 * k + 10000 * kind + i);
            assert_int_equal(sy_state_write(&l.state, (enum sy_state_kind)kind, l.tensor[k], 0, 4 * N, x),
                             SY_OK);
        }
    *user = &l;
    return 0;
}

static int close_lab(void **user) {
    struct lab *l = *user;
    sy_state_fini(&l->state);
    sy_device_destroy(l->device);
    sy_params_destroy(l->params);
    sy_config_destroy(l->config);
    return 0;
}

static void reads(struct lab *l, enum sy_state_kind kind, int k, int first, float want) {
    float x[N];
    assert_int_equal(sy_state_read(&l->state, kind, l->tensor[k], first, N, x), SY_OK);
    assert_true(x[0] == want && x[N - 1] == want + N - 1);
}

static void just_that_piece(void **user) {
    struct lab *l = *user;
    static const struct {
        enum sy_state_kind kind;
        int k, first;
    } read[] = {{SY_STATE_W, 0, N},
                {SY_STATE_W, 0, 2 * N},
                {SY_STATE_W, 1, N},
                {SY_STATE_M, 0, N},
                {SY_STATE_V, 1, 0}};
    for (size_t i = 0; i < sizeof read / sizeof *read; i++) {
        sy_state_ahead(&l->state, SY_STATE_W, l->tensor[0], N, N);
        reads(l, read[i].kind, read[i].k, read[i].first,
              (float)(1000 * read[i].k + 10000 * (int)read[i].kind + read[i].first));
    }
}

static void what_was_written_since(void **user) {
    struct lab *l = *user;
    float x[N], was[N];
    assert_int_equal(sy_state_read(&l->state, SY_STATE_W, l->tensor[0], N, N, was), SY_OK);
    for (int i = 0; i < N; i++)
        x[i] = (float)(i - 7);
    sy_state_ahead(&l->state, SY_STATE_W, l->tensor[0], N, N);
    assert_int_equal(sy_state_write(&l->state, SY_STATE_W, l->tensor[0], N, N, x), SY_OK);
    reads(l, SY_STATE_W, 0, N, -7.0f);
    assert_int_equal(sy_state_write(&l->state, SY_STATE_W, l->tensor[0], N, N, was), SY_OK);
    sy_state_ahead(&l->state, SY_STATE_W, l->tensor[0], N, N); /* of use once */
    reads(l, SY_STATE_W, 0, N, N);
    assert_int_equal(l->state.ahead.n, 0);
    reads(l, SY_STATE_W, 0, N, N);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(just_that_piece),
        cmocka_unit_test(what_was_written_since),
    };
    return cmocka_run_group_tests(tests, open_lab, close_lab);
}
