/* The strict JSON layer: what is refused, where the message points, getters, canonical text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"

static json_t *parsed(const char *text) {
    json_t *value = NULL;
    assert_int_equal(sy_json_parse("t", text, strlen(text), 0, &value), SY_OK);
    return value;
}

static void refuses(const char *text, const char *message) {
    json_t *value = NULL;
    assert_int_equal(sy_json_parse("t.json", text, strlen(text), 4, &value), SY_ERR_DATA);
    assert_null(value);
    if (!strstr(sy_error_message(), message))
        fail_msg("\"%s\" lacks \"%s\"", sy_error_message(), message);
}

static void test_refused(void **state) {
    (void)state;
    refuses("", "t.json:1:");
    refuses("{\"a\":1,\n\"a\":2}", "t.json:2: duplicate");
    refuses("{\"a\":1} x", "t.json:1:");
    refuses("{\"a\":\"\xff\"}", "t.json:1:");
    refuses("{\"a\":\"\\u0000\"}", "t.json:1:");
    refuses("3", "t.json:1:");
    refuses("[\n1,\n]", "t.json:3:");
    refuses("\n[[[[[]]]]]", "t.json:2: nested more than 4");
    refuses("[99999999999999999999]", "t.json:1:");
}

static void test_depth_ignores_strings(void **state) {
    (void)state;
    json_t *value = NULL;
    const char *text = "{\"a\":\"[[[[[[\\\"[[[[{{{{\"}";
    assert_int_equal(sy_json_parse("t", text, strlen(text), 1, &value), SY_OK);
    json_decref(value);
}

static void test_getters(void **state) {
    (void)state;
    json_t *value = parsed("{\"i\":7,\"r\":0.5,\"s\":\"x\",\"b\":true,\"o\":{},\"a\":[],\"z\":null}");
    int64_t i = 0;
    double r = 0;
    const char *s = NULL;
    json_t *inner = NULL;
    assert_int_equal(sy_json_get_int("t", value, "i", 0, 7, &i), SY_OK);
    assert_int_equal(i, 7);
    assert_int_equal(sy_json_get_int("t", value, "i", 0, 6, &i), SY_ERR_DATA);
    assert_string_equal(sy_error_message(), "t: key \"i\" is 7, must be in 0 … 6");
    assert_int_equal(sy_json_get_int("t", value, "r", 0, 6, &i), SY_ERR_DATA);
    assert_string_equal(sy_error_message(), "t: key \"r\" must be an integer, is a real");
    assert_int_equal(sy_json_get_int("t", value, "nope", 0, 6, &i), SY_ERR_DATA);
    assert_string_equal(sy_error_message(), "t: key \"nope\" is missing");
    assert_int_equal(sy_json_get_real("t", value, "r", 0, 1, &r), SY_OK);
    assert_true(r == 0.5);
    assert_int_equal(sy_json_get_real("t", value, "i", 0, 10, &r), SY_OK);
    assert_true(r == 7.0);
    assert_int_equal(sy_json_get_real("t", value, "r", 1, 2, &r), SY_ERR_DATA);
    assert_int_equal(sy_json_get_string("t", value, "s", &s), SY_OK);
    assert_string_equal(s, "x");
    assert_int_equal(sy_json_get_string("t", value, "z", &s), SY_ERR_DATA);
    assert_int_equal(sy_json_get_object("t", value, "o", &inner), SY_OK);
    assert_int_equal(sy_json_get_object("t", value, "a", &inner), SY_ERR_DATA);
    assert_int_equal(sy_json_get_array("t", value, "a", &inner), SY_OK);
    assert_int_equal(sy_json_get_array("t", NULL, "a", &inner), SY_ERR_DATA);
    assert_int_equal(sy_json_get_array("t", inner, "a", &inner), SY_ERR_DATA);
    assert_true(sy_json_has(value, "i"));
    assert_false(sy_json_has(value, "z"));
    assert_false(sy_json_has(NULL, "z"));
    json_decref(value);
}

static void prints(const char *text, int style, const char *want) {
    json_t *value = parsed(text);
    char *got = NULL;
    size_t bytes = 0;
    assert_int_equal(sy_json_print(value, style, &got, &bytes), SY_OK);
    assert_string_equal(got, want);
    assert_int_equal(bytes, strlen(want));
    free(got);
    json_decref(value);
}

static void test_print(void **state) {
    (void)state;
    prints("{ \"b\" : 1, \"a\": [0.1, \"\xc3\xa4\"] }", SY_JSON_COMPACT,
           "{\"b\":1,\"a\":[0.10000000000000001,\"\xc3\xa4\"]}");
    prints("{\"b\":1,\"a\":2}", SY_JSON_SORTED, "{\"a\":2,\"b\":1}");
    prints("{\"b\":1,\"a\":2}", SY_JSON_SORTED | SY_JSON_INDENT, "{\n  \"a\": 2,\n  \"b\": 1\n}\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_depth_ignores_strings),
        cmocka_unit_test(test_getters),
        cmocka_unit_test(test_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
