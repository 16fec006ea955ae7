/* Training a byte-level BPE: against a trainer that counts all pairs anew before each merge; special tokens;
 * what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "tokenizer/alphabet.h"
#include "tokenizer/model.h"
#include "tokenizer/train.h"

static const char text[] =
    "the cat and the hat, that cat: aaaa aaaaa aaa aaaaaaaa thethe 1234567 1234 ababab abab "
    "babab caab \xc3\xa9t\xc3\xa9 \xc3\xa9t\xc3\xa9 na\xc3\xafve the the the";

static struct sy_text trained(const struct sy_train_bpe *how, int32_t *n_tokens) {
    struct sy_bpe_trainer *t = NULL;
    struct sy_text json = {0}, config = {0};
    if (sy_bpe_trainer_create(how, &t) != SY_OK)
        fail_msg("%s", sy_error_message());
    assert_int_equal(sy_bpe_trainer_add(t, text, sizeof text - 1), SY_OK);
    assert_int_equal(sy_bpe_trainer_finish(t, &json, &config, n_tokens), SY_OK);
    assert_non_null(strstr(config.s, "\"eos_token\": \"<|eos|>\""));
    sy_bpe_trainer_destroy(t);
    free(config.s);
    return json;
}

/* --- the slow way: one word, which is the text split at spaces by hand -------------------------------- */

struct slow {
    int32_t id[400];
    int n, ends[400]; /* a word's last place */
};

static int32_t byte_ids[256];

static void split_slow(struct slow *s) {
    int32_t next = 3;
    for (uint32_t code = 0; code < SY_ALPHABET_CODES; code++)
        if (sy_alphabet_byte(code) >= 0)
            byte_ids[sy_alphabet_byte(code)] = next++;
    s->n = 0;
    for (size_t i = 0; i < sizeof text - 1; i++) {
        s->ends[s->n] = text[i + 1] == ' ' || text[i + 1] == 0;
        s->id[s->n++] = byte_ids[(unsigned char)text[i]];
    }
}

/* The pair with the highest count; equal: the smaller one. 0: none has two. */
static int best_pair(const struct slow *s, int32_t *left, int32_t *right) {
    int best = 1;
    for (int i = 0; i + 1 < s->n; i++) {
        int count = 0;
        for (int k = 0; k + 1 < s->n && !s->ends[i]; k++)
            count += !s->ends[k] && s->id[k] == s->id[i] && s->id[k + 1] == s->id[i + 1];
        int smaller = s->id[i] != *left ? s->id[i] < *left : s->id[i + 1] < *right;
        if (count > best || (count == best && best > 1 && smaller)) {
            best = count;
            *left = s->id[i];
            *right = s->id[i + 1];
        }
    }
    return best > 1;
}

static void merge_slow(struct slow *s, int32_t left, int32_t right, int32_t into) {
    int to = 0;
    for (int i = 0; i < s->n; i++) {
        int both = i + 1 < s->n && !s->ends[i] && s->id[i] == left && s->id[i + 1] == right;
        s->id[to] = both ? into : s->id[i];
        i += both;
        s->ends[to++] = s->ends[i];
    }
    s->n = to;
}

static void test_merges(void **state) {
    (void)state;
    int32_t n = 0, left = 0, right = 0;
    struct sy_train_bpe how = {.vocab_size = 275, .min_frequency = 2, .pattern = " ?[^ ]+"};
    struct sy_text json = trained(&how, &n);
    json_t *root = NULL;
    struct slow s;
    struct sy_bpe *bpe = NULL;
    split_slow(&s);
    assert_int_equal(sy_bpe_parse("trained", json.s, json.n, &bpe), SY_OK);
    assert_int_equal(sy_json_parse("trained", json.s, json.n, 0, &root), SY_OK);
    json_t *merges = json_object_get(json_object_get(root, "model"), "merges");
    assert_int_equal(n, 275);
    assert_int_equal(json_array_size(merges), 275 - 259);
    for (int32_t i = 0; i < 275 - 259; i++) {
        assert_int_equal(best_pair(&s, &left, &right), 1);
        const json_t *pair = json_array_get(merges, (size_t)i);
        const char *a = json_string_value(json_array_get(pair, 0)),
                   *b = json_string_value(json_array_get(pair, 1));
        assert_int_equal(sy_strings_find(&bpe->vocab, a, strlen(a)), left);
        assert_int_equal(sy_strings_find(&bpe->vocab, b, strlen(b)), right);
        merge_slow(&s, left, right, 259 + i);
    }
    sy_bpe_destroy(bpe);
    json_decref(root);
    free(json.s);
}

static void test_options(void **state) {
    (void)state;
    static const char *const more[] = {"<|user|>", "<|tool|>"};
    int32_t n = 0;
    struct sy_train_bpe how = {.vocab_size = 2000, .min_frequency = 3, .more = more, .n_more = 2, .nfc = 1};
    struct sy_text json = trained(&how, &n), again = trained(&how, &n);
    struct sy_bpe *bpe = NULL;
    assert_string_equal(json.s, again.s);
    assert_in_range(n, 262, 300); /* pairs that occur thrice end before 2000 */
    assert_int_equal(sy_bpe_parse("trained", json.s, json.n, &bpe), SY_OK);
    assert_int_equal(bpe->n_ids, n);
    assert_int_equal(sy_strings_find(&bpe->vocab, "<|tool|>", 8), 4);
    assert_int_equal(bpe->template_bos, 0);
    assert_int_equal(bpe->n_normalizers, 1);
    sy_bpe_destroy(bpe);
    free(json.s);
    free(again.s);
}

static void refused(struct sy_train_bpe how, sy_status status, const char *why) {
    struct sy_bpe_trainer *t = NULL;
    assert_int_equal(sy_bpe_trainer_create(&how, &t), status);
    if (!strstr(sy_error_message(), why))
        fail_msg("no \"%s\" in: %s", why, sy_error_message());
    assert_null(t);
}

static void test_refused(void **state) {
    (void)state;
    static const char *const twice[] = {"<|eos|>"};
    refused((struct sy_train_bpe){.vocab_size = 258, .min_frequency = 1}, SY_ERR_USAGE,
            "must be in 259 … 4194304");
    refused((struct sy_train_bpe){.vocab_size = 300}, SY_ERR_USAGE, "must be at least 1");
    refused((struct sy_train_bpe){.vocab_size = 300, .min_frequency = 1, .pattern = "("}, SY_ERR_DATA,
            "broken");
    refused((struct sy_train_bpe){.vocab_size = 300, .min_frequency = 1, .more = twice, .n_more = 1},
            SY_ERR_USAGE, "special token \"<|eos|>\": empty, or there twice");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merges),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
