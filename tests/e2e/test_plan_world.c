/* What `plan --world` says is what a run does: the bytes that every rank sends in a step, by kind, are
 * within 2 % of those that a communicator has counted, and the memory that a rank takes is the plan's,
 * over many layouts of 1 to 8 ranks. A plan of another recompute is seen to be wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "commands/bench_bytes.h"
#include "parallel/plan.h"
#include "train/feed.h"

#include "../lib/counting_comm.h"
#include "../lib/session.h"

enum { MOST_RANKS = 8 };

/* Groups in the order in which sy_mesh_split makes them. */
enum { WORLD, DP, EP, EDP, SHARD, REPLICATE, EXPERT_SHARD, EXPERT_REPLICATE, PP };

struct of_rank {
    struct sent_bytes sent;
    struct sy_sent counters; /* of the run itself: what `bench model` shows */
    int64_t planned;         /* memory */
    int not_applied;
};

struct run {
    struct sy_config *config;
    struct sy_data data;
    struct of_rank rank[MOST_RANKS];
    int64_t taken; /* memory of all ranks, in so many blocks */
    int blocks;
    int guarded;
};

static struct sy_config *config_of(const char *(*more)[2], size_t n) {
    static const char *options[][2] = {{"model.flavor", "micro_mla"},
                                       {"model.n_layers", "8"},
                                       {"model.dim", "128"},
                                       {"model.inter_dim", "256"},
                                       {"model.moe_inter_dim", "64"},
                                       {"model.q_lora_rank", "64"},
                                       {"model.kv_lora_rank", "64"},
                                       {"training.dataset_path", "tests/data/prose.jsonl"},
                                       {"training.global_batch_size", "16"},
                                       {"training.local_batch_size", "2"},
                                       {"training.seq_len", "32"},
                                       {"training.steps", "2"},
                                       {"debug.moe_force_load_balance", "true"},
                                       {"numerics.lanes", "8"},
                                       {"run.threads", "8"}, /* of all ranks */
                                       {"run.tier", "avx2"}};
    struct sy_config *c = config_with(options, sizeof options / sizeof *options);
    set_options(c, more, n);
    expect_ok(sy_config_finish(c, false));
    return c;
}

/* Closed views of guarded memory in this process. */
static int64_t guarded_bytes(int *blocks) {
    FILE *f = fopen("/proc/self/maps", "r");
    char line[512], perms[8];
    size_t sum = 0, lo, hi;
    *blocks = 0;
    while (f && fgets(line, sizeof line, f))
        if (strstr(line, "memfd:switchyard") && sscanf(line, "%zx-%zx %7s", &lo, &hi, perms) == 3 &&
            perms[0] == '-') {
            sum += hi - lo;
            ++*blocks;
        }
    if (f)
        fclose(f);
    return (int64_t)sum;
}

/* --- a run ---------------------------------------------------------------------------------------------- */

static sy_status measured(const struct run *run, const struct sy_mesh *mesh, int64_t *bytes) {
    struct sy_params *p;
    struct sy_arena all = sy_arena_measure();
    SY_TRY(sy_params_create(&run->config->model, &run->config->moe, &p));
    sy_status status = sy_session_measure(run->config, p, mesh, &all);
    *bytes = (int64_t)(all.used - all.guards);
    for (int i = 0; i < all.n_tags; i++) /* of which the host has half */
        if (strcmp(all.tags[i].name, "batch") == 0 || strcmp(all.tags[i].name, "update") == 0)
            *bytes -= (int64_t)all.tags[i].bytes / 2;
    sy_params_destroy(p);
    return status;
}

/* A step: counted from after the session has been made, whose weights are gathered too. */
static sy_status step(struct run *run, const struct sy_comm *world, struct of_rank *own) {
    struct sy_session *s;
    struct sy_step_result r = {.applied = 1};
    SY_TRY(sy_session_join(&(struct sy_session_options){run->config, NULL,
                                                        SY_SESSION_TRAIN | SY_SESSION_DATA | SY_SESSION_INIT,
                                                        world, &run->data},
                           &s));
    memset(own->sent.all_to_all, 0, sizeof own->sent.all_to_all);
    memset(own->sent.messages, 0, sizeof own->sent.messages);
    struct sy_sent before = sy_sent_by(s);
    sy_status status = run->guarded ? SY_OK : sy_session_step(s, 0, &r);
    own->counters = sy_sent_by(s);
    for (int k = 0; k < SY_TRAFFIC_KINDS; k++)
        own->counters.of[k] -= before.of[k];
    if (status == SY_OK)
        status = measured(run, &s->mesh, &own->planned);
    own->not_applied = !r.applied;
    status = world->ops->agree(world, status);
    if (world->rank == 0)
        run->taken = guarded_bytes(&run->blocks);
    status = world->ops->agree(world, status);
    sy_session_destroy(s);
    return status;
}

static sy_status as_rank(const struct sy_comm *world, void *arg) {
    struct run *run = arg;
    struct counted state;
    struct of_rank *own = &run->rank[world->rank];
    struct sy_comm counts = counting(world, &own->sent, &state);
    return world->ops->agree(world, step(run, &counts, own));
}

/* --- the plan ------------------------------------------------------------------------------------------- */

/* first: of the pipeline; of a tied embedding it sends what is stored, the last the head's gradient. */
static int64_t counted_bytes(const struct sent_bytes *s, enum sy_traffic kind, int first) {
    switch (kind) {
    case SY_TRAFFIC_WEIGHTS:
        return s->messages[SHARD] + s->messages[REPLICATE] + s->messages[EXPERT_SHARD] +
               s->messages[EXPERT_REPLICATE] + (first ? s->all_to_all[PP] : 0);
    case SY_TRAFFIC_GRADIENTS:
        return s->all_to_all[DP] + s->all_to_all[EDP] + (first ? 0 : s->all_to_all[PP]);
    case SY_TRAFFIC_EXPERTS:
        return s->all_to_all[EP];
    default:
        return s->messages[PP];
    }
}

static int within(double planned, double counted, double share) {
    double off = planned > counted ? planned - counted : counted - planned;
    return off <= share * counted;
}

struct layout {
    const char *ranks, *pp, *shard, *replicate, *ep, *schedule, *mode, *tied;
};

static struct sy_config *layout_config(const struct layout *q, int guarded) {
    const char *options[][2] = {{"run.ranks", q->ranks},
                                {"parallelism.pipeline_parallel_degree", q->pp},
                                {"parallelism.data_parallel_shard_degree", q->shard},
                                {"parallelism.data_parallel_replicate_degree", q->replicate},
                                {"parallelism.expert_parallel_degree", q->ep},
                                {"parallelism.pipeline_parallel_schedule", q->schedule},
                                {"activation_checkpoint.mode", q->mode},
                                {"model.tie_word_embeddings", q->tied},
                                {"run.device", guarded ? "guarded" : "cpu"}};
    return config_of(options, sizeof options / sizeof *options);
}

/* guarded: the memory of ranks that have not begun; else what they send in a step. */
static void check(const struct layout *q, int guarded) {
    struct run run = {.config = layout_config(q, guarded), .guarded = guarded};
    struct sy_params *params;
    struct sy_plan *plan;
    int ranks = (int)run.config->run.ranks;
    int64_t planned = 0;
    expect_ok(sy_data_open(run.config, NULL, &run.data));
    expect_ok(sy_comm_threads_run(ranks, as_rank, &run));
    expect_ok(sy_params_create(&run.config->model, &run.config->moe, &params));
    expect_ok(sy_plan_create(run.config, params, ranks, sy_plan_gpu_at(0), &plan));
    for (int r = 0; r < ranks; r++) {
        struct sy_plan_bytes sent[SY_TRAFFIC_KINDS];
        sy_plan_sent(plan, r, sent);
        assert_false(run.rank[r].not_applied);
        planned += run.rank[r].planned;
        for (int k = 0; k < SY_TRAFFIC_KINDS && !guarded; k++) {
            int64_t counted = counted_bytes(&run.rank[r].sent, k, plan->mesh.dp > r);
            assert_true(run.rank[r].counters.of[k] == (double)counted);
            if (!within(sent[k].sent, (double)counted, 0.02))
                fail_msg("%s ranks, pipeline %s, shard %s, ep %s, rank %d: %s: planned %.0f, sent %lld",
                         q->ranks, q->pp, q->shard, q->ep, r, sy_traffic_names[k], sent[k].sent,
                         (long long)counted);
        }
    }
    int64_t pages = (int64_t)run.blocks * 4096; /* a block is whole ones */
    if (guarded && (run.taken < planned || !within((double)(planned + pages), (double)run.taken, 0.02)))
        fail_msg("%s ranks, pipeline %s, shard %s, ep %s: memory planned %lld, taken %lld in %d blocks",
                 q->ranks, q->pp, q->shard, q->ep, (long long)planned, (long long)run.taken, run.blocks);
    sy_plan_destroy(plan);
    sy_params_destroy(params);
    sy_data_close(&run.data);
    sy_config_destroy(run.config);
}

/* What is planned for another recompute is not what was sent. */
static void another_plan_is_not_what_was_done(void **state) {
    (void)state;
    const struct layout q = {"4", "2", "1", "2", "2", "1F1B", "selective", "false"};
    struct run run = {.config = layout_config(&q, 0)};
    struct sy_params *params;
    struct sy_plan *plan[2];
    struct sy_plan_bytes sent[SY_TRAFFIC_KINDS], full[SY_TRAFFIC_KINDS];
    expect_ok(sy_data_open(run.config, NULL, &run.data));
    expect_ok(sy_comm_threads_run(4, as_rank, &run));
    expect_ok(sy_params_create(&run.config->model, &run.config->moe, &params));
    expect_ok(sy_plan_create(run.config, params, 4, sy_plan_gpu_at(0), &plan[0]));
    sy_plan_sent(plan[0], 0, sent);
    run.config->activation_checkpoint.mode = SY_AC_FULL;
    expect_ok(sy_plan_create(run.config, params, 4, sy_plan_gpu_at(0), &plan[1]));
    sy_plan_sent(plan[1], 0, full);
    double rows = (double)counted_bytes(&run.rank[0].sent, SY_TRAFFIC_EXPERTS, 1);
    assert_true(rows > 0 && within(sent[SY_TRAFFIC_EXPERTS].sent, rows, 0.02));
    assert_false(within(full[SY_TRAFFIC_EXPERTS].sent, rows, 0.02));
    sy_plan_destroy(plan[0]);
    sy_plan_destroy(plan[1]);
    sy_params_destroy(params);
    sy_data_close(&run.data);
    sy_config_destroy(run.config);
}

static void a_run_does_what_was_planned(void **state) {
    (void)state;
    static const struct layout layouts[] = {
        {"1", "1", "-1", "1", "1", "1F1B", "selective", "false"},
        {"2", "1", "1", "2", "1", "1F1B", "full", "false"},
        {"3", "1", "1", "3", "1", "1F1B", "none", "false"},
        {"2", "2", "-1", "1", "1", "1F1B", "selective", "false"},
        {"4", "2", "1", "2", "1", "Interleaved1F1B", "full", "false"},
        {"6", "3", "1", "2", "1", "InterleavedZeroBubble", "none", "false"},
        {"8", "4", "1", "2", "1", "GPipe", "selective", "false"},
        {"8", "2", "1", "4", "1", "Interleaved1F1B", "full", "false"},
        {"2", "1", "2", "1", "1", "1F1B", "none", "false"},
        {"4", "1", "2", "2", "1", "1F1B", "full", "false"},
        {"3", "1", "3", "1", "1", "1F1B", "selective", "false"}, /* 3, 3 and 2 lanes */
        {"8", "2", "2", "2", "1", "Interleaved1F1B", "selective", "false"},
        {"4", "2", "2", "1", "1", "InterleavedZeroBubble", "none", "false"},
        {"2", "1", "1", "2", "2", "1F1B", "selective", "false"},
        {"4", "1", "1", "4", "2", "1F1B", "full", "false"},
        {"8", "2", "4", "1", "4", "Interleaved1F1B", "full", "false"},
        {"8", "2", "2", "2", "2", "InterleavedZeroBubble", "none", "false"},
        {"3", "1", "1", "3", "1", "1F1B", "none", "true"},
        {"2", "2", "-1", "1", "1", "1F1B", "selective", "true"},
        {"8", "4", "1", "2", "1", "GPipe", "selective", "true"},
        {"8", "2", "2", "2", "2", "InterleavedZeroBubble", "none", "true"},
    };
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
        for (int guarded = 0; guarded < 2; guarded++)
            check(&layouts[i], guarded);
}

/* --- 512 ranks ------------------------------------------------------------------------------------------ */

static void write_text(void *user, const char *text, size_t n) { sy_text_add(user, text, n); }

/* DeepSeek-V3 on 512 ranks: each weight has one owner, a rank's memory fits its GPU. The time it
 * takes stands in docs/BENCHMARKS.md. */
static void the_real_size_is_planned(void **state) {
    (void)state;
    struct sy_text text = {0};
    struct sy_io io = {.write = write_text, .user = &text};
    struct sy_config *c;
    struct sy_params *params;
    struct sy_plan *plan;
    expect_ok(sy_config_create(&c));
    expect_ok(sy_config_load_file(c, "configs/dsv3_671b.toml"));
    expect_ok(sy_plan(c, 0, NULL, &io));
    assert_non_null(strstr(text.s, "512 ranks = 8 in a pipeline x 64 for data"));
    assert_non_null(strstr(text.s, "a h200 has 141 GB: it fits"));
    expect_ok(sy_params_create(&c->model, &c->moe, &params));
    expect_ok(sy_plan_create(c, params, 512, sy_plan_gpu_at(0), &plan));
    int64_t owned = 0;
    for (int r = 0; r < 512; r++) {
        struct sy_plan_elements e = sy_plan_elements_of(plan, r);
        owned += e.own_dense + e.own_experts;
    }
    assert_int_equal(owned, params->n_parameters);
    sy_plan_destroy(plan);
    sy_params_destroy(params);
    sy_config_destroy(c);
    free(text.s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_run_does_what_was_planned),
                                       cmocka_unit_test(another_plan_is_not_what_was_done),
                                       cmocka_unit_test(the_real_size_is_planned)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
