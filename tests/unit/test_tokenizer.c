/* The byte tokenizer: a round trip of all bytes, what gives no text, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "data/tokenizer.h"

static void test_round_trip(void **state) {
    (void)state;
    struct sy_tokenizer *t = NULL;
    assert_int_equal(sy_tokenizer_create("byte", 259, &t), SY_OK);
    unsigned char text[256], back[256];
    int32_t tokens[256];
    size_t n = 0, bytes = 0;
    for (int i = 0; i < 256; i++)
        text[i] = (unsigned char)(255 - i);
    assert_int_equal(sy_tokenizer_encode(t, text, 256, tokens, 256, &n), SY_OK);
    assert_int_equal(n, 256);
    assert_int_equal(tokens[0], 255);
    assert_int_equal(tokens[255], 0);
    assert_int_equal(sy_tokenizer_decode(t, tokens, n, (char *)back, 256, &bytes), SY_OK);
    assert_int_equal(bytes, 256);
    assert_memory_equal(text, back, 256);
    assert_int_equal(sy_tokenizer_encode(t, text, 256, tokens, 255, &n), SY_ERR_USAGE);
    assert_int_equal(sy_tokenizer_decode(t, tokens, 256, (char *)back, 255, &bytes), SY_ERR_USAGE);
    sy_tokenizer_destroy(t);
}

static void test_specials(void **state) {
    (void)state;
    struct sy_tokenizer *t = NULL;
    assert_int_equal(sy_tokenizer_create(NULL, 300, &t), SY_OK);
    assert_int_equal(sy_tokenizer_bos(t), 256);
    assert_int_equal(sy_tokenizer_eos(t), 257);
    assert_int_equal(sy_tokenizer_pad(t), 258);
    assert_int_equal(sy_tokenizer_n_ids(t), 259);
    int32_t tokens[] = {256, 'h', 299, 'i', 257, 258, 258};
    char text[2];
    size_t bytes = 0;
    assert_int_equal(sy_tokenizer_decode(t, tokens, 7, text, 2, &bytes), SY_OK);
    assert_int_equal(bytes, 2);
    assert_memory_equal(text, "hi", 2);
    tokens[2] = 300;
    assert_int_equal(sy_tokenizer_decode(t, tokens, 7, text, 2, &bytes), SY_ERR_DATA);
    assert_string_equal(sy_error_message(), "token 2 is 300, outside the vocabulary of 300");
    tokens[2] = -1;
    assert_int_equal(sy_tokenizer_decode(t, tokens, 7, text, 2, &bytes), SY_ERR_DATA);
    sy_tokenizer_destroy(t);
}

static void test_refused(void **state) {
    (void)state;
    struct sy_tokenizer *t = NULL;
    assert_int_equal(sy_tokenizer_create("byte", 258, &t), SY_ERR_USAGE);
    assert_non_null(strstr(sy_error_message(), "258"));
    assert_non_null(strstr(sy_error_message(), "259"));
    assert_int_equal(sy_tokenizer_create("byte", (int64_t)1 << 31, &t), SY_ERR_USAGE);
    assert_int_equal(sy_tokenizer_create("some/tokenizer.json", 259, &t), SY_ERR_UNAVAILABLE);
    assert_non_null(strstr(sy_error_message(), "tokenizer.json comes in a later one"));
    assert_null(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_specials),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
