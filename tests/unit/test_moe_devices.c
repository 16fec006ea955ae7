/* The MoE layer by itself on devices that are not a plain CPU. Segments at multiples of 16, and memory
 * that the host cannot touch between ops, give the bits of the CPU. A device that fails once, at each of
 * its waits in turn, fails the call that was under way, on all ranks unless it was behind the call's
 * agreement; nobody hangs, nothing is left in flight, and the call made again has its bits.
 *
 * Checks on ranks are counted and asserted after the threads are gone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "layerapi/layerapi.h"
#include "moe_public_problem.h"

enum kind { PLAIN, SEGMENTS_OF_16, GUARDED, FAILS_ONCE };

#if SY_ARENA_GUARD || defined(__SANITIZE_THREAD__)
enum { LAST_KIND = SEGMENTS_OF_16 }; /* a sanitizer reads memory by itself */
#else
enum { LAST_KIND = GUARDED };
#endif

struct answer {
    float y[T * D], dx[T * D], w[T * MOST_K], bias[MOST_E];
    int32_t ids[T * MOST_K];
    struct tensors grads[RANKS]; /* experts' in the first */
};

static float x[T * D], dy[T * D];
static struct tensors weights;

struct job {
    const struct problem *problem;
    const char *cls;
    int ranks;
    enum sy_moe_recompute recompute;
    enum kind kind;
    struct answer *out;
    int bad, fail_at;     /* of this rank's waits, the one that fails */
    int failed, together; /* whether it came so far; whether the call failed on all ranks */
    int wrong[RANKS];
    char what[RANKS][512];
};

static int has_bias(const struct problem *p) { return strstr(p->options, "load_balance_coeff=0") == NULL; }

/* --- a device whose wait fails once ------------------------------------------------------------ */

struct faulty {
    struct sy_device device;
    int left, failed; /* waits until then */
};

static sy_status faulty_wait(const struct sy_device *d) {
    struct faulty *f = d->state;
    if (f->left-- != 0)
        return SY_OK;
    f->failed = 1;
    SY_FAIL(SY_ERR_RUNTIME, "the device has failed, as planted");
}

static sy_status device_of(const struct job *j, int rank, struct faulty *f, struct sy_device **guarded,
                           const struct sy_device **out) {
    *f = (struct faulty){.device = *sy_device_cpu(), .left = -1};
    *guarded = NULL;
    f->device.state = f;
    if (j->kind == SEGMENTS_OF_16)
        f->device.segment = 16;
    if (j->kind == FAILS_ONCE && rank == j->bad) {
        f->device.wait = faulty_wait;
        f->left = j->fail_at;
    }
    *out = &f->device;
    if (j->kind != GUARDED)
        return SY_OK;
    SY_TRY(sy_device_guarded_create(guarded));
    *out = *guarded;
    return SY_OK;
}

/* --- a rank ------------------------------------------------------------------------------------ */

struct mine {
    struct faulty faulty;
    struct sy_device *guarded;
    const struct sy_device *device;
    const struct sy_comm *comm;
    struct sy_config *config;
    struct sy_moe *moe;
    int64_t first, n;
    struct sy_moe_tensors w, g;
};

static sy_status create(struct job *j, struct mine *m, int rank) {
    struct sy_moe_options o = options_of(j->problem, j->cls);
    o.recompute = j->recompute;
    o.threads = 1 + rank % 2;
    return sy_moe_create_on(m->device, m->config, &o, m->comm, &m->moe);
}
static sy_status set_weights(struct job *j, struct mine *m, int rank) {
    int64_t first, n;
    sy_moe_experts(m->moe, &first, &n);
    m->w = view(j->problem, &weights, first);
    m->g = view(j->problem, &j->out->grads[rank], 0);
    struct sy_moe_tensors e = view(j->problem, &j->out->grads[0], first);
    m->g.w1 = e.w1;
    m->g.w3 = e.w3;
    m->g.w2 = e.w2;
    return sy_moe_set_weights(m->moe, &m->w, 3);
}
static sy_status forward(struct job *j, struct mine *m, int rank) {
    (void)rank;
    int64_t row = m->first * S, k = j->problem->top_k;
    struct sy_moe_batch b = {
        .n_sequences = m->n, .ids_out = j->out->ids + row * k, .w_out = j->out->w + row * k};
    return sy_moe_forward(m->moe, 1, &b, x + row * D, j->out->y + row * D);
}
static sy_status backward(struct job *j, struct mine *m, int rank) {
    (void)rank;
    return sy_moe_backward(m->moe, 1, dy + m->first * S * D, j->out->dx + m->first * S * D, &m->g);
}
static sy_status update(struct job *j, struct mine *m, int rank) {
    (void)j;
    (void)rank;
    return sy_moe_update_bias(m->moe);
}
static sy_status bias(struct job *j, struct mine *m, int rank) {
    float unused[MOST_E];
    return has_bias(j->problem) ? sy_moe_expert_bias(m->moe, rank == 0 ? j->out->bias : unused) : SY_OK;
}

/* The call; if it fails on all ranks, once more. Where it failed on one alone, it was made. */
static sy_status make(struct job *j, struct mine *m, int rank,
                      sy_status (*fn)(struct job *, struct mine *, int)) {
    int32_t status = (int32_t)fn(j, m, rank), all[RANKS] = {0};
    int planted = status != SY_OK && strstr(sy_error_message(), "as planted") != NULL, n = 0;
    if (j->kind != FAILS_ONCE || m->comm == NULL)
        return (sy_status)status;
    SY_TRY(m->comm->ops->all_gather(m->comm, SY_OK, &status, sizeof status, all));
    for (int r = 0; r < j->ranks; r++)
        n += all[r] == SY_ERR_RUNTIME;
    if (status != SY_OK && !planted)
        snprintf(j->what[rank], sizeof j->what[rank], "another error: %s", sy_error_message()),
            j->wrong[rank]++;
    if (n != 0 && n != 1 && n != j->ranks)
        snprintf(j->what[rank], sizeof j->what[rank], "%d of %d ranks have failed", n, j->ranks),
            j->wrong[rank]++;
    if (rank == j->bad && n > 0)
        j->together = n == j->ranks;
    return n == j->ranks ? fn(j, m, rank) : SY_OK;
}

static sy_status rank_main(const struct sy_comm *comm, void *arg) {
    static sy_status (*const step[])(struct job *, struct mine *, int) = {create,   set_weights, forward,
                                                                          backward, update,      bias};
    struct job *j = arg;
    int rank = comm ? sy_comm_rank(comm) : 0;
    struct mine m = {.comm = comm, .config = config_of(j->problem->options)};
    m.first = B * rank / j->ranks;
    m.n = B * (rank + 1) / j->ranks - m.first;
    sy_status status = device_of(j, rank, &m.faulty, &m.guarded, &m.device);
    if (status != SY_OK || !m.config)
        abort();
    for (size_t i = 0; i < sizeof step / sizeof *step && status == SY_OK; i++)
        status = make(j, &m, rank, step[i]);
    if (rank == j->bad)
        j->failed = m.faulty.failed;
    sy_moe_destroy(m.moe);
    sy_config_destroy(m.config);
    sy_device_destroy(m.guarded);
    return status;
}

static void run(struct job *j) {
    memset(j->out, 0, sizeof *j->out);
    memset(j->wrong, 0, sizeof j->wrong);
    sy_status status = j->ranks > 1 ? sy_comm_threads_run(j->ranks, rank_main, j) : rank_main(NULL, j);
    if (status != SY_OK)
        fail_msg("%s, %s, %d ranks, device %d, wait %d: %s", j->problem->name, j->cls, j->ranks, (int)j->kind,
                 j->fail_at, sy_error_message());
    for (int r = 0; r < j->ranks; r++)
        if (j->wrong[r])
            fail_msg("%s, rank %d of %d, wait %d: %s", j->problem->name, r, j->ranks, j->fail_at, j->what[r]);
}

/* --- the bits of the CPU ----------------------------------------------------------------------- */

static void same(const struct job *j, const struct answer *want) {
    if (memcmp(j->out, want, sizeof *want) == 0)
        return;
    const struct answer *a = j->out;
    const char *which = differs(&a->grads[0], &want->grads[0], 1);
    fail_msg("%s, %s, %d ranks, recompute %d, device %d: y %d dx %d bias %d, gradient of %s",
             j->problem->name, j->cls, j->ranks, (int)j->recompute, (int)j->kind,
             memcmp(a->y, want->y, sizeof a->y) != 0, memcmp(a->dx, want->dx, sizeof a->dx) != 0,
             memcmp(a->bias, want->bias, sizeof a->bias) != 0, which ? which : "a dense weight");
}

static void test_bits(void **state) {
    (void)state;
    static struct answer want, got;
    static const char *const cls[] = {"x86", "fp32", "sm90"};
    for (int i = 0; i < N_PROBLEMS; i++)
        for (int ranks = 1; ranks <= RANKS; ranks++)
            for (int kind = SEGMENTS_OF_16; kind <= LAST_KIND; kind++) {
                int recompute = (i + ranks + kind) % 3;
                struct job j = {
                    .problem = &problems[i], .cls = cls[(i + ranks) % 3], .ranks = ranks, .out = &want};
                j.recompute = (enum sy_moe_recompute)recompute;
                run(&j);
                j.kind = (enum kind)kind;
                j.out = &got;
                run(&j);
                same(&j, &want);
            }
}

/* --- failures ---------------------------------------------------------------------------------- */

/* Waits of a Local call, or behind the agreement of theirs: weights are stored, y and dx are on their way
 * to the caller, the bias has moved, is on its way. */
static int waits_alone(const struct problem *p) { return 4 + has_bias(p); }

static void each_wait(const struct problem *p, int ranks, enum sy_moe_recompute recompute, int bad) {
    static struct answer want, got;
    int together = 0, alone = 0; /* waits that failed on all ranks, on one */
    struct job j = {
        .problem = p, .cls = "x86", .ranks = ranks, .recompute = recompute, .out = &want, .bad = bad};
    run(&j);
    j.kind = FAILS_ONCE;
    j.out = &got;
    do {
        j.failed = 0;
        run(&j);
        if (!j.failed || j.together) /* else one rank has not seen its y or dx */
            same(&j, &want);
        together += j.failed && j.together;
        alone += j.failed && !j.together;
        j.fail_at++;
    } while (j.failed);
    assert_int_equal(alone, waits_alone(p));
    assert_true(together >= 8);
}

static void test_failing_device(void **state) {
    (void)state;
    alarm(300);                 /* a rank that hangs ends the test */
    for (int i = 0; i < 3; i++) /* the experts' weights after, before, and padding */
        each_wait(&problems[i], 3, (enum sy_moe_recompute)i, i);
    alarm(0);
}

int main(void) {
    fill(x, T * D, 11, 1.0f);
    fill(dy, T * D, 12, 1.0f);
    fill_weights(&weights);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bits), cmocka_unit_test(test_failing_device)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
