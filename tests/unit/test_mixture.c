/* Sources that take turns: the rule is done again here by hand, with fractions as they are written down;
 * each source's sequences are those of a run that has it alone; a stretch that is moved goes on where the
 * one before ended.
 */
#include <math.h>

#include "data/mixture.h"
#include "token_files.h"

enum { SEQ = 16, MOST = 6 };

static struct sy_tokenizer *byte;
static const char *path[MOST];

static struct sy_data_options data_options(void) {
    return (struct sy_data_options){.shuffle = 1, .seed = 3, .holdout = 0.1, .tokenizer = byte};
}

static struct sy_mixture *open_mixture(const int64_t *weight, int n, int64_t seq_len) {
    const struct sy_mixture_options o = {data_options(), path, weight, n, seq_len};
    struct sy_mixture *m = NULL;
    if (sy_mixture_open(&o, &m) != SY_OK)
        fail_msg("%s", sy_error_message());
    return m;
}

/* n·w_i/Σw − taken_i against that of k, over the common denominator. */
static int is_larger(const int64_t *w, int64_t sum, int64_t n, const int64_t *taken, int i, int k) {
    return n * w[i] - taken[i] * sum > n * w[k] - taken[k] * sum;
}

static void check_sequence(const struct sy_mixture *m, const struct sy_mixture_place *p, int64_t n,
                           int source, int64_t number, struct sy_loader **alone) {
    int32_t got[3 * SEQ], want[3 * SEQ];
    assert_int_equal(sy_mixture_fetch(m, p, n * SEQ, got, got + SEQ, got + 2 * SEQ), SY_OK);
    assert_int_equal(sy_loader_fetch(alone[source], number * SEQ, want, want + SEQ, want + 2 * SEQ), SY_OK);
    assert_memory_equal(got, want, sizeof got);
}

static void check_schedule(const int64_t *w, int n_sources, int64_t n) {
    struct sy_mixture *m = open_mixture(w, n_sources, SEQ);
    struct sy_loader *alone[MOST];
    const struct sy_mixture_place begin = {0};
    int64_t sum = 0, taken[MOST] = {0};
    for (int i = 0; i < n_sources; i++) {
        struct sy_data_options o = data_options();
        sum += w[i];
        assert_int_equal(sy_loader_create(m->of[i].corpus, &o, SEQ, &alone[i]), SY_OK);
    }
    for (int64_t k = 0; k < n; k++) {
        int best = 0;
        for (int i = 1; i < n_sources; i++)
            if (is_larger(w, sum, k, taken, i, best))
                best = i;
        check_sequence(m, &begin, k, best, taken[best], alone);
        taken[best]++;
    }
    for (int i = 0; i < n_sources; i++) { /* nobody is ever a whole sequence behind */
        assert_true(fabs((double)taken[i] - (double)n * (double)w[i] / (double)sum) < n_sources);
        sy_loader_destroy(alone[i]);
    }
    sy_mixture_close(m);
}

static void schedule(void **state) {
    (void)state;
    check_schedule((const int64_t[]){7, 3}, 2, 45);
    check_schedule((const int64_t[]){3, 7}, 2, 45);
    check_schedule((const int64_t[]){1, 1, 1}, 3, 20);
    check_schedule((const int64_t[]){14, 6, 40}, 3, 200); /* divided by 2 */
    check_schedule((const int64_t[]){1, 100, 13, 2, 2, 57}, 6, 600);
}

/* 7:3 as it is printed in docs/NUMERICS.md. */
static void printed(void **state) {
    (void)state;
    struct sy_mixture *m = open_mixture((const int64_t[]){7, 3}, 2, SEQ);
    char turns[11] = "";
    assert_int_equal(m->period, 10);
    for (int i = 0; i < 10; i++)
        turns[i] = (char)('a' + m->turn[i].source);
    assert_string_equal(turns, "abaabaabaa");
    sy_mixture_close(m);
}

/* Another length of sequences: what each source has given stays given, and the turns begin anew. */
static void stretches(void **state) {
    (void)state;
    const int64_t w[] = {5, 2, 1};
    struct sy_mixture *m = open_mixture(w, 3, SEQ), *longer = open_mixture(w, 3, 24);
    struct sy_mixture_place place = {0};
    int32_t got[3 * 24], want[3 * 24];
    int64_t taken[3] = {0}, at = 13 * SEQ;
    for (int64_t n = 0; n < 13; n++)
        taken[m->turn[n % m->period].source] += SEQ;
    assert_int_equal(sy_mixture_move(m, SEQ, at, &place), SY_OK);
    assert_int_equal(place.from, at);
    for (int i = 0; i < 3; i++)
        assert_int_equal(place.tokens[i], taken[i]);
    for (int64_t n = 0; n < 20; n++, at += 24) {
        int source = longer->turn[n % longer->period].source;
        assert_int_equal(sy_mixture_fetch(longer, &place, at, got, got + 24, got + 48), SY_OK);
        assert_int_equal(
            sy_loader_fetch(longer->of[source].loader, taken[source], want, want + 24, want + 48), SY_OK);
        assert_memory_equal(got, want, sizeof got);
        taken[source] += 24;
    }
    assert_int_equal(sy_mixture_fetch(longer, &place, at + 1, got, got, got), SY_ERR_USAGE);
    assert_int_equal(sy_mixture_fetch(longer, &place, place.from - 24, got, got, got), SY_ERR_USAGE);
    assert_int_equal(sy_mixture_move(longer, 24, at, &place), SY_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(place.tokens[i], taken[i]);
    sy_mixture_close(m);
    sy_mixture_close(longer);
}

static void places_in_json(void **state) {
    (void)state;
    struct sy_mixture *m = open_mixture((const int64_t[]){5, 2, 1}, 3, SEQ);
    struct sy_mixture_place place = {100, {60, 30, 10}}, back;
    json_t *json = sy_mixture_place_json(m, &place);
    assert_int_equal(sy_mixture_place_read(m, "x", json, 100 + SEQ, &back), SY_OK);
    assert_int_equal(back.from, 100);
    assert_memory_equal(back.tokens, place.tokens, 3 * sizeof *back.tokens);
    assert_int_equal(sy_mixture_place_read(m, "x", json, 99, &back), SY_ERR_DATA); /* it begins later */
    json_array_set_new(json_object_get(json, "tokens"), 1, json_integer(31));
    assert_int_equal(sy_mixture_place_read(m, "x", json, 200, &back), SY_ERR_DATA);
    json_array_set_new(json_object_get(json, "tokens"), 1, json_integer(-1));
    assert_int_equal(sy_mixture_place_read(m, "x", json, 200, &back), SY_ERR_DATA);
    json_array_set_new(json_object_get(json, "tokens"), 1, json_string("30"));
    assert_int_equal(sy_mixture_place_read(m, "x", json, 200, &back), SY_ERR_DATA);
    assert_int_equal(sy_mixture_place_read(m, "x", NULL, 200, &back), SY_ERR_DATA);
    json_decref(json);
    sy_mixture_close(m);
}

static void is_other(const struct sy_mixture *m, const json_t *print, const char *message) {
    assert_int_equal(sy_mixture_check(m, "byte", "switchyard.json", print), SY_ERR_DATA);
    if (!strstr(sy_error_message(), message))
        fail_msg("\"%s\" lacks \"%s\"", sy_error_message(), message);
}

static void fingerprints(void **state) {
    (void)state;
    struct sy_mixture *m = open_mixture((const int64_t[]){5, 2}, 2, SEQ);
    struct sy_mixture *heavier = open_mixture((const int64_t[]){5, 4}, 2, SEQ);
    struct sy_mixture *more = open_mixture((const int64_t[]){5, 2, 1}, 3, SEQ);
    struct sy_mixture *alone = open_mixture((const int64_t[]){5}, 1, SEQ);
    json_t *two = NULL, *one = NULL;
    assert_int_equal(sy_mixture_fingerprint(m, "byte", &two), SY_OK);
    assert_int_equal(sy_mixture_fingerprint(alone, "byte", &one), SY_OK);
    assert_int_equal(sy_mixture_check(m, "byte", "switchyard.json", two), SY_OK);
    assert_int_equal(sy_mixture_check(alone, "byte", "switchyard.json", one), SY_OK);
    is_other(heavier, two, "source 1 of data.sources had the weight 2 when the run began, now it is 4");
    is_other(more, two, "the run began with 2 sources (data.sources), now there are 3");
    is_other(alone, two, "the run began with 2 sources (data.sources), now there are 1");
    is_other(m, one, "the run began with 1 sources (data.sources), now there are 2");
    json_array_clear(json_object_get(two, "sources"));
    is_other(m, two, "began with 0 sources");
    json_decref(two);
    json_decref(one);
    sy_mixture_close(m);
    sy_mixture_close(heavier);
    sy_mixture_close(more);
    sy_mixture_close(alone);
}

static void held_out(void **state) {
    (void)state;
    struct sy_mixture *m = open_mixture((const int64_t[]){5, 2, 1}, 3, SEQ);
    int32_t got[3 * SEQ], want[3 * SEQ];
    int64_t n = 0;
    for (int i = 0; i < 3; i++) {
        assert_true(sy_loader_eval_count(m->of[i].loader) > 0);
        for (int64_t k = 0; k < sy_loader_eval_count(m->of[i].loader); k++, n++) {
            assert_int_equal(sy_mixture_eval_fetch(m, n, got, got + SEQ, got + 2 * SEQ), SY_OK);
            assert_int_equal(sy_loader_eval_fetch(m->of[i].loader, k, want, want + SEQ, want + 2 * SEQ),
                             SY_OK);
            assert_memory_equal(got, want, sizeof got);
        }
    }
    assert_int_equal(sy_mixture_eval_count(m), n);
    assert_int_equal(sy_mixture_eval_fetch(m, n, got, got, got), SY_ERR_USAGE);
    sy_mixture_close(m);
    /* texts of one's own for it: no source holds anything out */
    struct sy_mixture_options o = {data_options(), path, (const int64_t[]){1, 1}, 2, SEQ};
    o.data.validation_paths = &path[5];
    o.data.n_validation_paths = 1;
    assert_int_equal(sy_mixture_open(&o, &m), SY_OK);
    assert_int_equal(m->of[0].documents->n_heldout, 20);
    assert_int_equal(m->of[0].documents->n_train, 20);
    assert_int_equal(m->of[1].documents->n_heldout, 0);
    sy_mixture_close(m);
}

static void errors(void **state) {
    (void)state;
    struct sy_mixture *m = NULL;
    struct sy_mixture_options o = {data_options(), path, (const int64_t[]){1000000, 999999}, 2, SEQ};
    assert_int_equal(sy_mixture_open(&o, &m), SY_ERR_USAGE);
    assert_non_null(strstr(sy_error_message(), "add up to 1999999, at most 1048576"));
    o.weight = (const int64_t[]){1, 1};
    o.data.holdout = 0;
    o.data.validate = 1;
    assert_int_equal(sy_mixture_open(&o, &m), SY_ERR_USAGE);
    assert_non_null(strstr(sy_error_message(), "nothing is held out of the 2 sources"));
}

/* Sources of 20 documents, each of its own letters. */
static int begin(void **state) {
    static char names[MOST][256];
    if (make_room(state) != 0 || sy_tokenizer_create(&(struct sy_tokenizer_options){0}, &byte) != SY_OK)
        return -1;
    for (int i = 0; i < MOST; i++) {
        snprintf(names[i], sizeof names[i], "%s/%d.jsonl", room, i);
        path[i] = names[i];
        FILE *f = fopen(path[i], "wb");
        for (int k = 0; f && k < 20; k++)
            fprintf(f, "{\"text\":\"%c%0*d\"}\n", 'a' + i, 1 + (k * 7 + i) % 23, k);
        if (!f || fclose(f) != 0)
            return -1;
    }
    return 0;
}

static int end(void **state) {
    sy_tokenizer_destroy(byte);
    return remove_room(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(schedule),     cmocka_unit_test(printed),
                                       cmocka_unit_test(stretches),    cmocka_unit_test(places_in_json),
                                       cmocka_unit_test(fingerprints), cmocka_unit_test(held_out),
                                       cmocka_unit_test(errors)};
    return cmocka_run_group_tests(tests, begin, end) != 0;
}
