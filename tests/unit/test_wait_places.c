/* A rank that does not come: the other's error names operation, layer and who did not, whichever wait of a
 * step it is. Rank 1 sleeps before its k-th all-to-all or message of a group, longer than rank 0 waits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <regex.h>

#include "../lib/counting_comm.h"
#include "../lib/session.h"

static const double limit = 0.25; /* that rank 0 waits */

/* Groups in the order in which sy_mesh_split makes them. */
enum { WORLD, DP, EP, EDP, SHARD, REPLICATE, EXPERT_SHARD, EXPERT_REPLICATE, PP };

struct stall {
    struct sy_config *config;
    int group;
    int64_t at, begun; /* before which rank 1 sleeps, from 0 (negative: none); how many it has begun */
    char message[2048];
    sy_status status;
};

static void before(void *arg, int group) {
    struct stall *q = arg;
    if (group == q->group && q->begun++ == q->at)
        nanosleep(&(struct timespec){.tv_nsec = 600000000}, NULL);
}

static sy_status step(struct stall *q, const struct sy_comm *world, struct sent_bytes *sent) {
    struct sy_session *s;
    struct sy_step_result r;
    SY_TRY(sy_session_join(
        &(struct sy_session_options){.config = q->config,
                                     .parts = SY_SESSION_TRAIN | SY_SESSION_DATA | SY_SESSION_INIT,
                                     .world = world},
        &s));
    SY_TRY(world->ops->agree(world, SY_OK));
    if (world->rank == 1) {
        sent->before = before;
        sent->arg = q;
    }
    sy_status status = sy_session_step(s, 0, &r);
    sent->before = NULL;
    if (world->rank == 0) {
        q->status = status;
        snprintf(q->message, sizeof q->message, "%s", sy_error_message());
    }
    sy_session_destroy(s);
    return status;
}

static sy_status as_rank(const struct sy_comm *world, void *arg) {
    struct sent_bytes sent = {0};
    struct counted state;
    struct sy_comm quick = *world;
    quick.limit = world->rank == 0 ? limit : 10;
    struct sy_comm counts = counting(&quick, &sent, &state);
    return step(arg, &counts, &sent);
}

struct axis {
    const char *what;
    int group;
    const char *key, *value, *more, *mode;
    const char *pattern; /* of the message */
    int layers;          /* how many other ones are named at least */
};

static struct sy_config *config_of(const struct axis *a) {
    const char *options[][2] = {{"model.flavor", "micro_mla"},
                                {"model.n_layers", "3"},
                                {"training.dataset_path", "tests/data/prose.jsonl"},
                                {"training.global_batch_size", "8"},
                                {"training.local_batch_size", "2"},
                                {"training.seq_len", "32"},
                                {"numerics.lanes", "4"},
                                {"numerics.class", "fp32"},
                                {"run.ranks", "2"},
                                {"run.threads", "2"},
                                {"activation_checkpoint.mode", a->mode},
                                {"parallelism.data_parallel_replicate_degree", a->more},
                                {a->key, a->value}};
    struct sy_config *c = config_with(options, sizeof options / sizeof *options);
    expect_ok(sy_config_finish(c, false));
    return c;
}

static int says(const char *pattern, const char *text) {
    regex_t r;
    assert_int_equal(regcomp(&r, pattern, REG_EXTENDED | REG_NOSUB), 0);
    int is = regexec(&r, text, 0, NULL, 0) == 0;
    regfree(&r);
    return is;
}

/* The first, the last and some between: each names its place; not all the same. */
static void check(const struct axis *a) {
    struct stall all = {.config = config_of(a), .group = a->group, .at = -1};
    char first[2048] = "";
    int others = 0;
    expect_ok(sy_comm_threads_run(2, as_rank, &all));
    assert_true(all.begun > 0);
    for (int i = 0; i < 4; i++) {
        struct stall q = {.config = all.config, .group = a->group, .at = (all.begun - 1) * i / 3};
        assert_int_equal(sy_comm_threads_run(2, as_rank, &q), SY_ERR_PEER);
        if (q.status != SY_ERR_PEER || !says(a->pattern, q.message))
            fail_msg("%s, %d of %d: %s", a->what, (int)q.at, (int)all.begun, q.message);
        if (i == 0)
            memcpy(first, q.message, sizeof first);
        others += strcmp(first, q.message) != 0;
    }
    if (others == 0)
        fail_msg("%s: always %s", a->what, first);
    sy_config_destroy(all.config);
}

static void every_wait_names_its_place(void **state) {
    (void)state;
#define NOT_COME "(rank 1|ranks 0 and 1) did not come within 0.25 s$"
    static const struct axis axes[] = {
        {"rows of experts", EP, "parallelism.expert_parallel_degree", "2", "2", "none",
         "^layer [12]: all_to_all: " NOT_COME, 1},
        {"rows of experts, recomputed", EP, "parallelism.expert_parallel_degree", "2", "2", "full",
         "^layer [12]: all_to_all: " NOT_COME, 1},
        {"gathered weights", SHARD, "parallelism.data_parallel_shard_degree", "2", "1", "none",
         "^weights of (layer [0-2]|embedding and head): receive: " NOT_COME, 1},
        {"spread weights", REPLICATE, "parallelism.data_parallel_shard_degree", "1", "2", "none",
         "^weights of (layer [0-2]|embedding and head): receive: " NOT_COME, 1},
        {"gradients", DP, "parallelism.data_parallel_shard_degree", "1", "2", "none",
         "^gradients of (layer [0-2]|embedding and head): all_to_all: " NOT_COME, 0},
        {"stages", PP, "parallelism.pipeline_parallel_degree", "2", "1", "none",
         "^stage [01], micro-batch [0-3]: receive: " NOT_COME, 1},
    };
#undef NOT_COME
    for (size_t i = 0; i < sizeof axes / sizeof *axes; i++)
        check(&axes[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_wait_names_its_place)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
