/* The byte tokenizer: a round trip of all bytes, what gives no text, what is refused; its tokenizer.json is
 * itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tokenizer/tokenizer.h"

static struct sy_tokenizer *bytes_of(int64_t vocab_size) {
    struct sy_tokenizer *t = NULL;
    assert_int_equal(sy_tokenizer_create(&(struct sy_tokenizer_options){.vocab_size = vocab_size}, &t),
                     SY_OK);
    return t;
}

static void test_round_trip(void **state) {
    (void)state;
    struct sy_tokenizer *t = bytes_of(259);
    struct sy_tokens tokens = {0};
    struct sy_text back = {0};
    char text[600];
    for (int i = 0; i < 600; i++)
        text[i] = (char)(255 - i);
    assert_int_equal(sy_tokenizer_encode(t, text, 600, &tokens), SY_OK);
    assert_int_equal(tokens.n, 600);
    assert_int_equal(tokens.id[0], 255);
    assert_int_equal(tokens.id[255], 0);
    assert_int_equal(sy_tokenizer_decode(t, tokens.id, tokens.n, SY_DECODE_START, &back), SY_OK);
    assert_int_equal(back.n, 600);
    assert_memory_equal(text, back.s, 600);
    free(tokens.id);
    free(back.s);
    sy_tokenizer_destroy(t);
}

static void test_specials(void **state) {
    (void)state;
    struct sy_tokenizer *t = bytes_of(300);
    assert_int_equal(sy_tokenizer_bos(t), 256);
    assert_int_equal(sy_tokenizer_eos(t), 257);
    assert_int_equal(sy_tokenizer_pad(t), 258);
    assert_int_equal(sy_tokenizer_n_ids(t), 259);
    int32_t tokens[] = {256, 'h', 299, 'i', 257, 258, 258};
    struct sy_text text = {0};
    assert_int_equal(sy_tokenizer_decode(t, tokens, 7, 0, &text), SY_OK);
    assert_string_equal(text.s, "hi");
    text.n = 0;
    assert_int_equal(sy_tokenizer_decode(t, tokens, 7, SY_DECODE_SPECIAL, &text), SY_OK);
    assert_string_equal(text.s, "<|bos|>hi<|eos|><|pad|><|pad|>");
    tokens[2] = 300;
    assert_int_equal(sy_tokenizer_decode(t, tokens, 7, 0, &text), SY_ERR_DATA);
    assert_string_equal(sy_error_message(), "token 2 is 300, outside the vocabulary of 300");
    tokens[2] = -1;
    assert_int_equal(sy_tokenizer_decode(t, tokens, 7, 0, &text), SY_ERR_DATA);
    free(text.s);
    sy_tokenizer_destroy(t);
}

static void refused(const char *path, int64_t vocab_size, const char *bos, sy_status status,
                    const char *why) {
    struct sy_tokenizer *t = NULL;
    struct sy_tokenizer_options o = {.path = path, .vocab_size = vocab_size, .bos = bos};
    assert_int_equal(sy_tokenizer_create(&o, &t), status);
    if (!strstr(sy_error_message(), why))
        fail_msg("no \"%s\" in: %s", why, sy_error_message());
    assert_null(t);
}

static void test_refused(void **state) {
    (void)state;
    refused("byte", 258, NULL, SY_ERR_USAGE, "model.vocab_size = 258: the tokenizer \"byte\" has 259 ids");
    refused("byte", (int64_t)1 << 31, NULL, SY_ERR_USAGE, "2147483648");
    refused("byte", 259, "<s>", SY_ERR_USAGE, "the byte tokenizer has its own");
    refused("no/tokenizer.json", 0, NULL, SY_ERR_IO, "tokenizer.path = \"no/tokenizer.json\": No such file");
    refused("src", 0, NULL, SY_ERR_IO, "tokenizer.path: src/tokenizer.json: No such file");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_specials),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
