/* The store of a checkpoint: the order and pieces of its calls, no byte depends on them, its failures. */
#include "ckpt_case.h"

struct recorder {
    const struct model *model;
    int64_t piece, n_calls, fail_at;
    struct sy_ckpt_range last;
};

static void check_call(struct recorder *r, const struct sy_ckpt_range *range) {
    const struct sy_params *p = r->model->params;
    const struct sy_tensor *t = &p->tensor[range->tensor], *before = &p->tensor[r->last.tensor];
    int64_t left = t->n - range->first;
    assert_int_equal(range->first % r->piece, 0);
    assert_int_equal(range->n, left < r->piece ? left : r->piece);
    assert_true(range->n > 0);
    assert_true(range->kind == SY_CKPT_WEIGHTS || !flat_is_buffer(p, t));
    if (r->n_calls++ == 0 || range->kind > r->last.kind)
        assert_int_equal(range->first, 0);
    else if (range->tensor == r->last.tensor)
        assert_int_equal(range->first, r->last.first + r->last.n);
    else
        assert_true(range->kind == r->last.kind && range->first == 0 && strcmp(t->name, before->name) > 0 &&
                    r->last.first + r->last.n == before->n);
    r->last = *range;
}

static sy_status get_recorded(void *self, const struct sy_ckpt_range *range, float *x) {
    struct recorder *r = self;
    check_call(r, range);
    if (r->n_calls == r->fail_at)
        SY_FAIL(SY_ERR_PEER, "a peer that holds this part is gone");
    return get_flat((void *)(uintptr_t)r->model, range, x);
}

static sy_status put_recorded(void *self, const struct sy_ckpt_range *range, const float *x) {
    struct recorder *r = self;
    check_call(r, range);
    if (r->n_calls == r->fail_at)
        SY_FAIL(SY_ERR_PEER, "a peer that holds this part is gone");
    return put_flat((void *)(uintptr_t)r->model, range, x);
}

static sy_status save_recorded(struct recorder *r, const char *run, char *path) {
    struct sy_ckpt_store store = {.self = r, .get = get_recorded, .put = put_recorded, .piece = r->piece};
    struct sy_ckpt_state state = state_of(r->model, &store, 1);
    struct sy_ckpt_save_options options = {0};
    return sy_ckpt_save(run_of(run), &state, &options, path);
}

static sy_status load_recorded(struct recorder *r, const char *path) {
    struct sy_ckpt_store store = {.self = r, .get = get_recorded, .put = put_recorded, .piece = r->piece};
    struct sy_ckpt_target target = {r->model->params, &store, 1};
    struct sy_ckpt *c = NULL;
    assert_int_equal(sy_ckpt_open(path, 1, &c), SY_OK);
    sy_status status = sy_ckpt_load(c, &target, NULL, NULL);
    sy_ckpt_close(c);
    return status;
}

static void test_pieces(void **unused) {
    (void)unused;
    static const int64_t pieces[] = {1024, 2048, 5 * 1024, SY_CKPT_PIECE};
    struct model x = make_model("micro_gqa"), y = make_model("micro_gqa");
    char first[SY_CKPT_PATH_BYTES], path[SY_CKPT_PATH_BYTES];
    save(&x, "first", 1, 0, 0, first);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct recorder w = {.model = &x, .piece = pieces[i]}, r = {.model = &y, .piece = pieces[i]};
        assert_int_equal(save_recorded(&w, "pieces", path), SY_OK);
        same_files(first, path);
        memset(y.w, 0, 4 * (size_t)flat_size(y.params));
        assert_int_equal(load_recorded(&r, path), SY_OK);
        assert_int_equal(r.n_calls, w.n_calls);
        assert_memory_equal(x.w, y.w, 4 * (size_t)flat_size(x.params));
        assert_true(i > 0 || w.n_calls > x.params->n_tensors * 3 + 8);
    }
    static const int64_t not_possible[] = {-1024, 1000, 1, (int64_t)SY_CKPT_MAX_PIECE + 1024};
    for (size_t i = 0; i < sizeof not_possible / sizeof *not_possible; i++) {
        struct recorder r = {.model = &x, .piece = not_possible[i]};
        assert_int_equal(save_recorded(&r, "none", NULL), SY_ERR_USAGE);
        assert_non_null(strstr(sy_error_message(), "must be a multiple of 1024"));
        assert_int_equal(load_recorded(&r, path), SY_ERR_USAGE);
        assert_int_equal(r.n_calls, 0);
    }
    free_model(&x);
    free_model(&y);
    remove_run("first");
    remove_run("pieces");
    remove_run("none");
}

/* What the store fails with is what save and load fail with; a save leaves nothing behind. */
static void test_store_fails(void **unused) {
    (void)unused;
    struct model x = make_model("micro_gqa");
    char path[SY_CKPT_PATH_BYTES], top[1024];
    struct recorder all = {.model = &x, .piece = 1024};
    assert_int_equal(save_recorded(&all, "whole", path), SY_OK);
    snprintf(top, sizeof top, "%s/checkpoints", run_of("fails"));
    for (int64_t k = 1; k <= all.n_calls; k += 17) {
        struct recorder w = {.model = &x, .piece = 1024, .fail_at = k}, r = w;
        assert_int_equal(save_recorded(&w, "fails", NULL), SY_ERR_PEER);
        assert_non_null(strstr(sy_error_message(), "a peer that holds"));
        assert_int_equal(count_entries(top), 0);
        assert_int_equal(load_recorded(&r, path), SY_ERR_PEER);
        assert_int_equal(r.n_calls, k);
    }
    free_model(&x);
    remove_run("whole");
    remove_run("fails");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_store_fails),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder) != 0;
}
