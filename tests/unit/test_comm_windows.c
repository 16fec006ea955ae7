/* Ranks that write into each other's memory: what was written before a flag is there when it is seen, round
 * after round, also when ranks are late; a wait ends when a rank it needs has left, or after the limit; a
 * dead communicator refuses to write. Run under TSan.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "comm/comm.h"
#include "switchyard.h"

enum { MOST = 8, ROUNDS = 60, WORDS = 300 };

struct room { /* of one rank */
    sy_comm_flag arrived[MOST], taken[MOST];
    int64_t from[MOST][WORDS];
};

struct job {
    struct room room[MOST];
    int wrong[MOST], leaves, silent;
    double limit;
    sy_status status[MOST];
    char message[MOST][300];
};

static void flags_of(struct job *j, int size, int rank, int taken, sy_comm_flag **flag) {
    for (int r = 0; r < size; r++)
        flag[r] = taken ? &j->room[r].taken[rank] : &j->room[r].arrived[rank];
}

static sy_status one_round(const struct sy_comm *c, struct job *j, uint64_t round) {
    const struct sy_comm_windows *w = c->ops->windows;
    sy_comm_flag *arrived[MOST], *taken[MOST];
    struct room *mine = &j->room[c->rank];
    flags_of(j, c->size, c->rank, 0, arrived);
    flags_of(j, c->size, c->rank, 1, taken);
    SY_TRY(w->wait(c, mine->taken, round - 1));
    SY_TRY(w->write_begin(c));
    for (int r = 0; r < c->size; r++)
        for (int i = 0; i < WORDS; i++)
            j->room[r].from[c->rank][i] = (int64_t)round * 1000000 + c->rank * 1000 + i;
    w->write_end(c, arrived, round);
    if (round % 7 == (uint64_t)c->rank % 7)
        usleep(200); /* late */
    SY_TRY(w->wait(c, mine->arrived, round));
    for (int r = 0; r < c->size; r++)
        for (int i = 0; i < WORDS; i++)
            j->wrong[c->rank] += mine->from[r][i] != (int64_t)round * 1000000 + r * 1000 + i;
    SY_TRY(w->write_begin(c));
    w->write_end(c, taken, round);
    return SY_OK;
}

static sy_status rounds(const struct sy_comm *c, void *arg) {
    struct job *j = arg;
    for (uint64_t k = 1; k <= ROUNDS; k++)
        SY_TRY(one_round(c, j, k));
    return SY_OK;
}

static void test_rounds(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= MOST; ranks++) {
        struct job *j = calloc(1, sizeof *j);
        assert_non_null(j);
        assert_int_equal(sy_comm_threads_run(ranks, rounds, j), SY_OK);
        for (int r = 0; r < ranks; r++)
            assert_int_equal(j->wrong[r], 0);
        free(j);
    }
}

/* The last rank leaves, or stays away until the others' limit is over. */
static sy_status deserted(const struct sy_comm *c, void *arg) {
    struct job *j = arg;
    struct sy_comm mine = *c;
    mine.limit = j->limit;
    for (uint64_t k = 1; k <= 3; k++)
        SY_TRY(one_round(&mine, j, k));
    if (c->rank == c->size - 1) {
        if (j->silent)
            usleep(600000);
        return SY_OK;
    }
    j->status[c->rank] = one_round(&mine, j, 4);
    snprintf(j->message[c->rank], sizeof j->message[c->rank], "%s", sy_error_message());
    if (mine.ops->windows->write_begin(&mine) == SY_OK)
        j->wrong[c->rank]++;
    return SY_OK;
}

static void test_ends(void **state) {
    (void)state;
    for (int silent = 0; silent < 2; silent++) {
        struct job *j = calloc(1, sizeof *j);
        assert_non_null(j);
        j->silent = silent;
        j->limit = silent ? 0.2 : 0;
        assert_int_equal(sy_comm_threads_run(3, deserted, j), SY_OK);
        for (int r = 0; r < 2; r++) {
            assert_int_equal(j->status[r], SY_ERR_PEER);
            assert_non_null(strstr(j->message[r], "window: rank 2"));
            assert_non_null(strstr(j->message[r], silent ? "did not come within 0.2 s" : "has left"));
            assert_int_equal(j->wrong[r], 0);
        }
        free(j);
    }
}

static void test_who_has_windows(void **state) {
    (void)state;
    struct sy_comm self = sy_comm_self();
    assert_null(self.ops->windows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounds),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_who_has_windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
