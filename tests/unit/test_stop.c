/* When a run saves and stops: by steps, by one clock, when it is asked; all ranks alike. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "train/stop.h"

struct rank_case {
    struct sy_config *config;
    int stop_rank, save_rank, late_rank; /* -1: none */
    int asked[3], due[3];
};

static sy_status one_rank(const struct sy_comm *comm, void *arg) {
    struct rank_case *c = arg;
    int r = sy_comm_rank(comm);
    volatile int stop = r == c->stop_rank, save = 0;
    struct sy_io io = {.stop = &stop, .save = &save};
    struct sy_session session = {.config = c->config,
                                 .groups = {.world = *comm}};
    struct sy_stop s = sy_stop_begin(&session, &io);
    save = r == c->save_rank;
    if (r == c->late_rank)
        s.saved_at -= 61;
    c->asked[r] = sy_stop_asked(&s);
    c->due[r] = sy_stop_save_due(&s, 7);
    return SY_OK;
}

static void on_three_ranks(struct sy_config *config, struct rank_case c, int asked, int due) {
    c.config = config;
    assert_int_equal(sy_comm_threads_run(3, one_rank, &c), SY_OK);
    for (int r = 0; r < 3; r++) {
        assert_int_equal(c.asked[r], asked);
        assert_int_equal(c.due[r], due);
    }
}

static struct sy_config *make(double minutes, int64_t interval) {
    struct sy_config *config;
    assert_int_equal(sy_config_create(&config), SY_OK);
    config->checkpoint.interval_minutes = minutes;
    config->checkpoint.interval = interval;
    return config;
}

static void ranks_decide_alike(void **state) {
    (void)state;
    struct sy_config *config = make(1, 500);
    on_three_ranks(config, (struct rank_case){.stop_rank = -1, .save_rank = -1, .late_rank = -1}, 0, 0);
    on_three_ranks(config, (struct rank_case){.stop_rank = 2, .save_rank = -1, .late_rank = -1}, 1, 0);
    on_three_ranks(config, (struct rank_case){.stop_rank = -1, .save_rank = 1, .late_rank = -1}, 0, 1);
    on_three_ranks(config, (struct rank_case){.stop_rank = -1, .save_rank = -1, .late_rank = 0}, 0, 1);
    on_three_ranks(config, (struct rank_case){.stop_rank = -1, .save_rank = -1, .late_rank = 1}, 0,
                   0); /* not its clock */
    sy_config_destroy(config);
}

static void alone(void **state) {
    (void)state;
    struct sy_config *config = make(0, 5);
    struct sy_session session = {.config = config, .groups = sy_groups_self()};
    volatile int stop = 0, save = 3;
    struct sy_io nobody = {0}, io = {.stop = &stop, .save = &save};
    struct sy_stop s = sy_stop_begin(&session, &nobody);
    assert_int_equal(sy_stop_asked(&s), 0);
    s.saved_at -= 1e6; /* minutes are off */
    assert_int_equal(sy_stop_save_due(&s, 4), 0);
    assert_int_equal(sy_stop_save_due(&s, 5), 1);
    s = sy_stop_begin(&session, &io); /* what was asked before it began is not asked now */
    assert_int_equal(sy_stop_save_due(&s, 6), 0);
    save++;
    assert_int_equal(sy_stop_save_due(&s, 6), 1);
    assert_int_equal(sy_stop_save_due(&s, 7), 0);
    stop = 1;
    assert_int_equal(sy_stop_asked(&s), 1);
    config->checkpoint.interval_minutes = 0.5;
    assert_int_equal(sy_stop_save_due(&s, 7), 0);
    s.saved_at -= 29;
    assert_int_equal(sy_stop_save_due(&s, 7), 0);
    s.saved_at -= 2;
    assert_int_equal(sy_stop_save_due(&s, 7), 1);
    sy_stop_saved(&s);
    assert_int_equal(sy_stop_save_due(&s, 7), 0);
    sy_config_destroy(config);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ranks_decide_alike), cmocka_unit_test(alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
