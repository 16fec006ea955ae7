/* Checkpoints over ranks: no byte depends on how many there are or on what each has; any other ranks load it;
 * what fails on one fails on all, and leaves nothing behind. */
#include "ckpt_case.h"

#include <switchyard.h>

#include "parallel/shard.h"

enum { MOST = 8 };

enum deal {
    BLOCKS,
    WHOLE,
    COPIES,
    DEALS
}; /* blocks of each tensor; whole tensors in turn; all has everybody */

struct job {
    const struct model *from;
    struct model *to; /* of each rank with COPIES, else of all */
    enum deal deal;
    const char *run, *path; /* to save to; to load from */
    int failing, silent;    /* ranks, or -1 */
    sy_status status[MOST];
    char message[MOST][2048], where[MOST][SY_CKPT_PATH_BYTES];
    int64_t step[MOST];
};

struct seat { /* a rank's store */
    struct job *job;
    const struct sy_comm *comm;
    int64_t calls;
};

static struct sy_ckpt_part part_of(void *self, enum sy_ckpt_kind kind, int tensor) {
    struct seat *s = self;
    (void)kind;
    int64_t n = s->job->from->params->tensor[tensor].n;
    struct sy_range_of own = sy_shard_range(&(struct sy_shard){s->comm->rank, s->comm->size}, n);
    int answers = tensor % s->comm->size == s->comm->rank && s->comm->rank != s->job->silent;
    if (s->job->deal == BLOCKS)
        return (struct sy_ckpt_part){own.first, own.n, s->comm->rank != s->job->silent};
    return (struct sy_ckpt_part){0, s->job->deal == COPIES || answers ? n : 0, answers};
}

static sy_status get(void *self, const struct sy_ckpt_range *range, float *x) {
    struct seat *s = self;
    if (s->comm->rank == s->job->failing && s->calls++ == 2)
        SY_FAIL(SY_ERR_RUNTIME, "planted");
    return get_flat((void *)(uintptr_t)s->job->from, range, x);
}

static sy_status put(void *self, const struct sy_ckpt_range *range, const float *x) {
    struct seat *s = self;
    if (s->comm->rank == s->job->failing && s->calls++ == 2)
        SY_FAIL(SY_ERR_RUNTIME, "planted");
    return put_flat(&s->job->to[s->job->deal == COPIES ? s->comm->rank : 0], range, x);
}

static struct sy_ckpt_store store_on(struct seat *s) {
    return (struct sy_ckpt_store){
        .self = s, .comm = s->comm, .part = part_of, .get = get, .put = put, .piece = 2048};
}

static void note(struct job *job, const struct sy_comm *c, sy_status status) {
    job->status[c->rank] = status;
    if (status != SY_OK)
        snprintf(job->message[c->rank], sizeof job->message[0], "%s", sy_error_message());
}

static sy_status save_rank(const struct sy_comm *c, void *arg) {
    struct job *job = arg;
    struct seat seat = {job, c, 0};
    struct sy_ckpt_store store = store_on(&seat);
    struct sy_ckpt_state state = state_of(job->from, &store, 1);
    struct sy_ckpt_save_options options = {.max_file_bytes = 100000};
    note(job, c, sy_ckpt_save(job->run, &state, &options, job->where[c->rank]));
    return SY_OK;
}

static sy_status load_rank(const struct sy_comm *c, void *arg) {
    struct job *job = arg;
    struct seat seat = {job, c, 0};
    struct sy_ckpt_store store = store_on(&seat);
    struct sy_ckpt_target target = {job->from->params, &store, 1};
    struct sy_ckpt *ckpt = NULL;
    SY_TRY(sy_ckpt_open(job->path, 1, &ckpt));
    note(job, c, sy_ckpt_load(ckpt, &target, NULL, NULL));
    sy_ckpt_close(ckpt);
    return SY_OK;
}

static sy_status find_rank(const struct sy_comm *c, void *arg) {
    struct job *job = arg;
    struct sy_ckpt *ckpt = NULL;
    note(job, c, sy_ckpt_find_latest(job->run, NULL, c, &ckpt));
    job->step[c->rank] = ckpt ? sy_ckpt_info(ckpt)->step : 0;
    sy_ckpt_close(ckpt);
    return SY_OK;
}

static void run_on(int ranks, sy_status (*fn)(const struct sy_comm *, void *), struct job *job) {
    sy_status status = sy_comm_threads_run(ranks, fn, job);
    if (status != SY_OK)
        fail_msg("%s", sy_error_message());
}

static void all_end(const struct job *job, int ranks, sy_status status, const char *what) {
    for (int r = 0; r < ranks; r++)
        if (job->status[r] != status || (what && !strstr(job->message[r], what)))
            fail_msg("rank %d of %d: status %d, not %d with \"%s\": %s", r, ranks, job->status[r], status,
                     what ? what : "", job->message[r]);
}

static void clear(struct model *x) {
    size_t bytes = 4 * (size_t)flat_size(x->params);
    memset(x->w, 0xff, bytes);
    memset(x->m, 0, bytes);
    memset(x->v, 0, bytes);
}

static void same_state(const struct model *x, const struct model *y) {
    for (int i = 0; i < x->params->n_tensors; i++) {
        const struct sy_tensor *t = &x->params->tensor[i];
        int64_t at = flat_at(x->params, t);
        assert_memory_equal(x->w + at, y->w + at, 4 * (size_t)t->n);
        assert_memory_equal(x->m + at, y->m + at, 4 * (size_t)t->n);
        assert_memory_equal(x->v + at, y->v + at, 4 * (size_t)t->n);
    }
}

static void test_any_ranks(void **unused) {
    (void)unused;
    static const int sizes[] = {1, 2, 3, 8};
    struct model x = make_model("micro_mla"), y[MOST];
    for (int r = 0; r < MOST; r++)
        y[r] = make_model("micro_mla");
    char one[SY_CKPT_PATH_BYTES];
    save(&x, "one", 1, 0, 100000, one);
    for (int deal = 0; deal < DEALS; deal++)
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            struct job job = {.from = &x, .to = y, .deal = (enum deal)deal, .failing = -1, .silent = -1};
            job.run = run_of("many");
            run_on(sizes[k], save_rank, &job);
            all_end(&job, sizes[k], SY_OK, NULL);
            assert_true(same_files(one, job.where[sizes[k] - 1]) > 8); /* several files of each kind */
            job.path = job.where[0];
            int others = sizes[(k + 1) % 4];
            for (int r = 0; r < MOST; r++)
                clear(&y[r]);
            run_on(others, load_rank, &job);
            all_end(&job, others, SY_OK, NULL);
            for (int r = 0; r < (deal == COPIES ? others : 1); r++)
                same_state(&x, &y[r]);
            run_on(others, find_rank, &job);
            all_end(&job, others, SY_OK, NULL);
            assert_int_equal(job.step[others - 1], 1);
        }
    free_model(&x);
    for (int r = 0; r < MOST; r++)
        free_model(&y[r]);
    remove_run("one");
    remove_run("many");
}

/* A bit of any file: whoever reads it, all know, and which file. */
static void test_damage(void **unused) {
    (void)unused;
    struct model x = make_model("micro_mla"), y = make_model("micro_mla");
    char names[64][256], file[SY_CKPT_PATH_BYTES];
    struct job job = {.from = &x, .to = &y, .failing = -1, .silent = -1, .run = run_of("damage")};
    run_on(3, save_rank, &job);
    char *path = job.where[0];
    job.path = path;
    int n = list_files(path, names);
    for (int i = 0; i < n; i++) {
        const char *base = strrchr(names[i], '/') ? strrchr(names[i], '/') + 1 : names[i];
        size_t bytes = 0;
        assert_int_equal(sy_ckpt_join(file, path, names[i]), SY_OK);
        char *text = slurp(file, &bytes);
        for (size_t at = bytes / 5; at < bytes; at += bytes / 3) {
            text[at] ^= 4;
            spill(file, text, bytes);
            run_on(3, find_rank, &job);
            all_end(&job, 3, SY_ERR_DATA, base);
            if (strstr(base, ".safetensors") && !strstr(base, "index")) {
                run_on(3, load_rank, &job);
                all_end(&job, 3, SY_ERR_DATA, base);
            }
            text[at] ^= 4;
        }
        spill(file, text, bytes);
        free(text);
    }
    run_on(3, find_rank, &job);
    all_end(&job, 3, SY_OK, NULL);
    free_model(&x);
    free_model(&y);
    remove_run("damage");
}

static void test_one_fails(void **unused) {
    (void)unused;
    struct model x = make_model("micro_mla"), y = make_model("micro_mla");
    char top[1024];
    for (int rank = 0; rank < 3; rank++) {
        struct job job = {.from = &x, .to = &y, .failing = rank, .silent = -1, .run = run_of("fails")};
        snprintf(top, sizeof top, "%s/checkpoints", job.run);
        run_on(3, save_rank, &job);
        all_end(&job, 3, SY_ERR_RUNTIME, "planted");
        assert_int_equal(count_entries(top), 0);
        job.failing = -1;
        job.silent = rank;
        run_on(3, save_rank, &job);
        all_end(&job, 3, SY_ERR_RUNTIME, "3 ranks wrote");
        assert_int_equal(count_entries(top), 0);
    }
    struct job job = {.from = &x, .to = &y, .failing = -1, .silent = -1, .run = run_of("fails")};
    run_on(3, save_rank, &job);
    all_end(&job, 3, SY_OK, NULL);
    job.path = job.where[0];
    job.failing = 1;
    run_on(3, load_rank, &job);
    all_end(&job, 3, SY_ERR_RUNTIME, "planted");
    free_model(&x);
    free_model(&y);
    remove_run("fails");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_any_ranks), cmocka_unit_test(test_damage),
                                       cmocka_unit_test(test_one_fails)};
    return cmocka_run_group_tests(tests, make_folder, remove_folder) != 0;
}
