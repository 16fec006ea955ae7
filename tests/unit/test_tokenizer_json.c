/* tokenizer.json against Hugging Face's tokenizers: ids that it gave (tests/data/tokenizers, written by
 * tools/tokenizer_compare.py), the texts that these decode to; what is not known is refused by name; which tokens begin and
 * end a document.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/json.h"
#include "tokenizer/model.h"
#include "tokenizer/tokenizer.h"

static const char *const kinds[] = {"deepseek", "gpt2",          "llama3",    "metaspace",
                                    "o200k",    "sentencepiece", "starcoder", "qwen"};
enum { KINDS = sizeof kinds / sizeof *kinds };

static struct sy_tokenizer *opened(const char *path, const char *eos) {
    struct sy_tokenizer *t = NULL;
    if (sy_tokenizer_create(&(struct sy_tokenizer_options){.path = path, .eos = eos}, &t) != SY_OK)
        fail_msg("%s", sy_error_message());
    return t;
}

/* --- the oracle ------------------------------------------------------------------------------------- */

/* One line: {"text": …, "ids": […], "back": what they decode to, if not the text}. */
static void check_line(const struct sy_tokenizer *t, struct sy_encoder *e, const json_t *line) {
    const json_t *ids = json_object_get(line, "ids");
    const char *text = json_string_value(json_object_get(line, "text"));
    size_t n = json_string_length(json_object_get(line, "text"));
    struct sy_tokens tokens = {0};
    struct sy_text back = {0};
    assert_int_equal(sy_encoder_add(e, text, n, &tokens), SY_OK);
    if (tokens.n != json_array_size(ids))
        fail_msg("%s: %zu tokens, not %zu", text, tokens.n, json_array_size(ids));
    for (size_t i = 0; i < tokens.n; i++)
        if (tokens.id[i] != json_integer_value(json_array_get(ids, i)))
            fail_msg("%s: token %zu is %d", text, i, tokens.id[i]);
    assert_int_equal(sy_tokenizer_decode(t, tokens.id, tokens.n, SY_DECODE_START | SY_DECODE_SPECIAL, &back),
                     SY_OK);
    const json_t *other = json_object_get(line, "back");
    const char *want = other ? json_string_value(other) : text;
    if (back.n != (other ? json_string_length(other) : n) || memcmp(back.s, want, back.n) != 0)
        fail_msg("%s: decodes to %s", want, back.s);
    free(tokens.id);
    free(back.s);
}

static void check_kind(const char *kind) {
    char path[200], *line = NULL;
    size_t capacity = 0;
    int n = 0;
    snprintf(path, sizeof path, "tests/data/tokenizers/%s.json", kind);
    struct sy_tokenizer *t = opened(path, "<|endoftext|>");
    struct sy_encoder *e = NULL;
    assert_int_equal(sy_encoder_create(t, &e), SY_OK);
    snprintf(path, sizeof path, "tests/data/tokenizers/%s.jsonl", kind);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (getline(&line, &capacity, f) > 0) {
        json_t *value = json_loads(line, JSON_ALLOW_NUL, NULL);
        assert_non_null(value);
        check_line(t, e, value);
        n++;
        json_decref(value);
    }
    fclose(f);
    free(line);
    assert_int_equal(n, 48);
    sy_encoder_destroy(e);
    sy_tokenizer_destroy(t);
}

static void test_oracle(void **state) {
    (void)state;
    for (int i = 0; i < KINDS; i++)
        check_kind(kinds[i]);
}

/* A word met before is looked up: the same text twice in one encoder, and in a new one. */
static void test_again(void **state) {
    (void)state;
    struct sy_tokenizer *t = opened("tests/data/tokenizers/qwen.json", "<|endoftext|>");
    struct sy_encoder *e = NULL;
    struct sy_tokens once = {0}, twice = {0};
    char text[20001];
    for (int i = 0; i < 20000; i++)
        text[i] = "ab c\n7z, "[(i * 7 + i / 9) % 9];
    text[20000] = 0;
    assert_int_equal(sy_encoder_create(t, &e), SY_OK);
    assert_int_equal(sy_tokenizer_encode(t, text, 20000, &once), SY_OK);
    for (int round = 0; round < 2; round++) {
        twice.n = 0;
        assert_int_equal(sy_encoder_add(e, text, 20000, &twice), SY_OK);
        assert_int_equal(once.n, twice.n);
        assert_memory_equal(once.id, twice.id, once.n * sizeof *once.id);
    }
    assert_int_equal(sy_encoder_add(e, "ab\xff", 3, &twice), SY_ERR_DATA);
    assert_string_equal(sy_error_message(),
                        "byte 2 of the text, 0xff, is not UTF-8: this tokenizer reads characters");
    free(once.id);
    free(twice.id);
    sy_encoder_destroy(e);
    sy_tokenizer_destroy(t);
}

/* Short and long words by the same merges: each way against merging one pair at a time. */
static void test_merging(void **state) {
    (void)state;
    struct sy_merges m = {0};
    struct sy_merging w = {0};
    uint32_t x = 1;
    assert_int_equal(sy_merges_init(&m, 300), 1);
    for (uint32_t rank = 0; rank < 300; rank++) {
        x = x * 1664525 + 1013904223;
        sy_merges_put(&m, (int32_t)(x >> 24) % (4 + (int32_t)rank),
                      (int32_t)(x >> 8 & 0xff) % (4 + (int32_t)rank), rank, 4 + (int32_t)rank);
    }
    for (size_t n = 1; n < 400; n += n < 60 ? 1 : 37) {
        int32_t slow[400];
        size_t left = n;
        assert_int_equal(sy_merging_reach(&w, n), 1);
        for (size_t i = 0; i < n; i++)
            slow[i] = w.id[i] = (int32_t)((x = x * 1664525 + 1013904223) >> 30);
        w.n = n;
        sy_merge_word(&m, &w);
        for (;;) {
            const struct sy_merge *best = NULL;
            size_t at = 0;
            for (size_t i = 0; i + 1 < left; i++) {
                const struct sy_merge *merge = sy_merges_find(&m, slow[i], slow[i + 1]);
                if (merge && (!best || merge->rank < best->rank))
                    best = merge, at = i;
            }
            if (!best)
                break;
            slow[at] = best->into;
            memmove(slow + at + 1, slow + at + 2, (left - at - 2) * sizeof *slow);
            left--;
        }
        assert_int_equal(w.n, left);
        assert_memory_equal(w.id, slow, left * sizeof *slow);
    }
    sy_merging_free(&w);
    sy_merges_free(&m);
}

/* --- what is refused -------------------------------------------------------------------------------- */

static char *read_file(const char *path) {
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    char *text = calloc(1, 1 << 20);
    assert_true(fread(text, 1, (1 << 20) - 1, f) > 0);
    fclose(f);
    return text;
}

/* The text with the first `from` made `to`. */
static char *changed(const char *text, const char *from, const char *to) {
    const char *at = strstr(text, from);
    if (!at)
        fail_msg("no %s", from);
    char *out = calloc(1, strlen(text) + strlen(to) + 1);
    memcpy(out, text, (size_t)(at - text));
    strcat(out, to);
    strcat(out, at + strlen(from));
    return out;
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *kind, *from, *to, *why;
        sy_status status;
    } cases[] = {
        {"gpt2", "\"type\":\"BPE\"", "\"type\":\"Unigram\"",
         "f: model.type = \"Unigram\": not known here; known: \"BPE\"", SY_ERR_UNAVAILABLE},
        {"gpt2", "\"dropout\":null", "\"dropout\":0.1", "f: model.dropout = 0.1", SY_ERR_UNAVAILABLE},
        {"gpt2", "\"end_of_word_suffix\":null", "\"end_of_word_suffix\":\"</w>\"",
         "f: model.end_of_word_suffix = \"</w>\"", SY_ERR_UNAVAILABLE},
        {"gpt2", "\"fuse_unk\":false", "\"fuse_unk\":7", "f: model.fuse_unk = 7", SY_ERR_UNAVAILABLE},
        {"gpt2", "\"vocab\":{", "\"other\":1,\"vocab\":{", "f: model.other = 1: not known here",
         SY_ERR_UNAVAILABLE},
        {"gpt2", "\"version\":\"1.0\"", "\"version\":\"2.0\"", "f.version = \"2.0\"", SY_ERR_UNAVAILABLE},
        {"gpt2", "\"normalizer\":null", "\"normalizer\":{\"type\":\"Lowercase\"}",
         "f: normalizer.type = \"Lowercase\": not known here; known: NFC", SY_ERR_UNAVAILABLE},
        {"qwen", "\"type\":\"Split\"", "\"type\":\"Punctuation\"",
         "f: pre_tokenizer.pretokenizers[0].type = \"Punctuation\"", SY_ERR_UNAVAILABLE},
        {"qwen", "\"Isolated\"", "\"Elsewhere\"", "pretokenizers[0].behavior = \"Elsewhere\"",
         SY_ERR_UNAVAILABLE},
        {"qwen", "(?i:", "(?m:", "the pattern's \"(?m:", SY_ERR_UNAVAILABLE},
        {"qwen", "(?!\\\\S)", "(?!\\\\b)", "\\b", SY_ERR_UNAVAILABLE},
        {"qwen", "(?i:", "(?i:(", "the pattern is broken", SY_ERR_DATA},
        {"deepseek", "{1,3}", "{0,3}", "can match an empty text", SY_ERR_UNAVAILABLE},
        {"gpt2", "\"decoder\":{\"type\":\"ByteLevel\"", "\"decoder\":{\"type\":\"WordPiece\"",
         "f: decoder.type = \"WordPiece\"", SY_ERR_UNAVAILABLE},
        {"gpt2", "\"post_processor\":{\"type\":\"ByteLevel\"", "\"post_processor\":{\"type\":\"Other\"",
         "f: post_processor.type = \"Other\"", SY_ERR_UNAVAILABLE},
        {"gpt2", "\"!\":5", "\"!\":6", "has id 6, as another has", SY_ERR_DATA},
        {"gpt2", "\"!\":5", "\"!!\":5", "model.vocab has no token for byte 0x21 (\"!\")", SY_ERR_UNAVAILABLE},
        {"gpt2", "\"merges\":[[", "\"merges\":[[\"zzz\",\"y\"],[", "the left is no token of model.vocab",
         SY_ERR_DATA},
        {"gpt2", "\"merges\":[[", "\"merges\":[\"a b c\",[", "model.merges[0] must be", SY_ERR_DATA},
        {"gpt2", "{\"id\":0,", "{\"id\":3,", "\"<|endoftext|>\" has id 3, its place is 0", SY_ERR_DATA},
        {"sentencepiece", "\"<0x41>\":", "\"<0x4z>\":", "has no token for byte 0x41", SY_ERR_UNAVAILABLE},
        {"sentencepiece", "{\"type\":\"ByteFallback\"},", "", "no ByteFallback beside model.byte_fallback",
         SY_ERR_UNAVAILABLE},
        {"metaspace", "\"unk_token\":\"<unk>\"", "\"unk_token\":null", "texts would lose the characters",
         SY_ERR_UNAVAILABLE},
        {"metaspace", "\"first\"", "\"last\"", "prepend_scheme = \"last\"", SY_ERR_UNAVAILABLE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[200];
        struct sy_bpe *bpe = NULL;
        snprintf(path, sizeof path, "tests/data/tokenizers/%s.json", cases[i].kind);
        char *text = read_file(path), *bad = changed(text, cases[i].from, cases[i].to);
        if (sy_bpe_parse("f", text, strlen(text), &bpe) != SY_OK)
            fail_msg("%s", sy_error_message());
        sy_bpe_destroy(bpe);
        bpe = NULL;
        sy_status status = sy_bpe_parse("f", bad, strlen(bad), &bpe);
        if (status != cases[i].status || !strstr(sy_error_message(), cases[i].why))
            fail_msg("case %zu: status %d, no \"%s\" in: %s", i, (int)status, cases[i].why,
                     status == SY_OK ? "success" : sy_error_message());
        assert_null(bpe);
        free(text);
        free(bad);
    }
}

/* Oniguruma's classes where pcre2 has others. */
static void test_pattern(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *text;
        size_t start, end;
    } cases[] = {
        {"\\s+", "a\xe1\xa0\x8e b", 4, 5},               /* U+180E is no space */
        {"\\w+", "-e\xcc\x81x", 1, 5},                   /* a mark is of a word */
        {"[^\\s]+", " \xc2\x85x", 3, 4},                 /* U+0085 is one */
        {"\\p{Han}+", "\xe3\x83\xbc\xe4\xb8\x80", 3, 6}, /* Script, not Script_Extensions */
        {"a{,b", "xa{,b", 1, 5},
        {"^b", "a\nb", 2, 3},
        {"\\u0041|\\v", "\x0b", 0, 1},
        {"(?i:'s)", "it'S", 2, 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sy_regex *regex = NULL;
        struct sy_matcher *matcher = NULL;
        int found = 0;
        size_t start = 0, end = 0;
        if (sy_regex_create("here", cases[i].pattern, &regex) != SY_OK)
            fail_msg("%s", sy_error_message());
        assert_int_equal(sy_matcher_create(&matcher), SY_OK);
        assert_int_equal(
            sy_regex_find(regex, matcher, cases[i].text, strlen(cases[i].text), 0, &found, &start, &end),
            SY_OK);
        if (!found || start != cases[i].start || end != cases[i].end)
            fail_msg("%s: %zu to %zu", cases[i].pattern, start, end);
        sy_regex_destroy(regex);
        sy_matcher_destroy(matcher);
    }
}

/* --- which tokens begin and end a document ---------------------------------------------------------- */

static char room[] = "/tmp/sy_tokenizer_XXXXXX";

static void put(const char *name, const char *text) {
    char path[300];
    snprintf(path, sizeof path, "%s/%s", room, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void drop(const char *name) {
    char path[300];
    snprintf(path, sizeof path, "%s/%s", room, name);
    unlink(path);
}

static void ends_are(int bos, int eos, const char *option) {
    struct sy_tokenizer *t = NULL;
    struct sy_tokenizer_options o = {.path = room, .bos = option};
    if (sy_tokenizer_create(&o, &t) != SY_OK)
        fail_msg("%s", sy_error_message());
    assert_int_equal(sy_tokenizer_bos(t), bos);
    assert_int_equal(sy_tokenizer_eos(t), eos);
    sy_tokenizer_destroy(t);
}

static void test_ends(void **state) {
    (void)state;
    struct sy_tokenizer *t = NULL;
    assert_non_null(mkdtemp(room));
    char *text = read_file("tests/data/tokenizers/gpt2.json");
    put("tokenizer.json", text);
    assert_int_equal(sy_tokenizer_create(&(struct sy_tokenizer_options){.path = room}, &t), SY_ERR_USAGE);
    assert_non_null(strstr(sy_error_message(),
                           "nothing says which token ends a document: set tokenizer.eos_token "
                           "(special tokens: \"<|endoftext|>\", "));
    put("config.json", "{\"bos_token_id\": 1, \"eos_token_id\": [4, 2]}");
    ends_are(1, 4, NULL);
    ends_are(3, 4, "</s>");
    ends_are(-1, 4, "none");
    put("tokenizer_config.json", "{\"bos_token\": null, \"eos_token\": {\"content\": \"</s>\"}}");
    ends_are(-1, 3, NULL);
    put("tokenizer_config.json", "{\"bos_token\": \"<s>\", \"eos_token\": \"gone\"}");
    assert_int_equal(sy_tokenizer_create(&(struct sy_tokenizer_options){.path = room}, &t), SY_ERR_DATA);
    assert_non_null(strstr(sy_error_message(), "eos_token \"gone\" is no token"));
    drop("tokenizer_config.json");
    drop("config.json");
    char *with =
        changed(text, "\"post_processor\":{\"type\":\"ByteLevel\"",
                "\"post_processor\":{\"cls\":[\"x\",2],\"sep\":[\"x\",3],\"type\":\"BertProcessing\"");
    put("tokenizer.json", with);
    ends_are(2, 3, NULL);
    free(with);
    free(text);
    drop("tokenizer.json");
    rmdir(room);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_oracle),  cmocka_unit_test(test_again),   cmocka_unit_test(test_merging),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_pattern), cmocka_unit_test(test_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
