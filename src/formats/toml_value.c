/* TOML strings, arrays and inline tables. See toml.h. */
#include "formats/toml_internal.h"

#include <string.h>

/* ---- strings ---- */

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Appends a code point as UTF-8. */
static size_t put_utf8(char *at, uint32_t c) {
    if (c < 0x80) {
        at[0] = (char)c;
        return 1;
    }
    int n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (int i = n - 1; i > 0; i--, c >>= 6)
        at[i] = (char)(0x80 | (c & 0x3f));
    at[0] = (char)(lead[n] | c);
    return (size_t)n;
}

/* \uXXXX or \UXXXXXXXX, in->p after the letter. */
static sy_status read_code_point(struct sy_toml_parser *in, int digits, char *at, size_t *n) {
    uint32_t c = 0;
    for (int i = 0; i < digits; i++, in->p++) {
        int d = in->p < in->end ? hex_digit(*in->p) : -1;
        if (d < 0)
            return sy_toml_fail(in, "\\%c needs %d hexadecimal digits", digits == 4 ? 'u' : 'U', digits);
        c = c << 4 | (uint32_t)d;
    }
    if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return sy_toml_fail(in, "U+%04X is not a Unicode character", c);
    *n += put_utf8(at, c);
    return SY_OK;
}

/* In a multi-line string: a backslash at the end of a line swallows it and all white space after it. in->p
 * is after the backslash. False if that is not what follows. */
static bool skip_line_break(struct sy_toml_parser *in) {
    const char *p = in->p;
    while (p < in->end && (*p == ' ' || *p == '\t'))
        p++;
    if (p == in->end || (*p != '\n' && *p != '\r'))
        return false;
    for (; p < in->end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'); p++)
        in->line += *p == '\n';
    in->p = p;
    return true;
}

/* in->p after the backslash. */
static sy_status read_escape(struct sy_toml_parser *in, bool multi_line, char *at, size_t *n) {
    static const char letters[] = "btnfr\"\\", bytes[] = "\b\t\n\f\r\"\\";
    if (in->p == in->end)
        return sy_toml_fail(in, "the string does not end");
    if (multi_line && skip_line_break(in))
        return SY_OK;
    char c = *in->p++;
    if (c == 'u' || c == 'U')
        return read_code_point(in, c == 'u' ? 4 : 8, at, n);
    const char *found = c ? strchr(letters, c) : NULL;
    if (!found)
        return sy_toml_fail(in, "unknown escape '\\%c'; a backslash itself is written \\\\", c);
    *at = bytes[found - letters];
    ++*n;
    return SY_OK;
}

static int count_quotes(const struct sy_toml_parser *in, char quote, int most) {
    int n = 0;
    while (n < most && in->p + n < in->end && in->p[n] == quote)
        n++;
    return n;
}

/* An upper bound of the string's bytes: up to the first quote that can end it. No escape is longer than
 * what it means. */
static size_t longest(const struct sy_toml_parser *in, char quote, bool multi_line) {
    const char *p = in->p;
    for (; p < in->end; p++) {
        if (*p == '\\' && quote == '"')
            p++;
        else if (!multi_line && (*p == quote || *p == '\n'))
            break;
        else if (multi_line && *p == quote && in->end - p >= 3 && p[1] == quote && p[2] == quote)
            return (size_t)(p - in->p) + 2; /* up to two quotes may belong to it */
    }
    return (size_t)((p < in->end ? p : in->end) - in->p);
}

/* in->p after the opening quotes. */
static sy_status read_string_body(struct sy_toml_parser *in, char quote, bool multi_line,
                                  struct sy_toml_string *out) {
    size_t n = 0;
    int start = in->line;
    if (multi_line && in->p < in->end && (*in->p == '\n' || *in->p == '\r')) {
        in->p += *in->p == '\r' ? 2 : 1;
        in->line++;
    }
    char *text = sy_toml_take(in->doc, longest(in, quote, multi_line) + 1);
    if (!text)
        return sy_toml_no_memory(in);
    while (in->p < in->end) {
        char c = *in->p;
        if (c == quote) {
            int quotes = count_quotes(in, quote, multi_line ? 5 : 1);
            if (!multi_line || quotes >= 3) {
                in->p += quotes;
                for (quotes -= multi_line ? 3 : 1; quotes > 0; quotes--)
                    text[n++] = quote;
                text[n] = 0;
                *out = (struct sy_toml_string){text, n};
                return SY_OK;
            }
        }
        if (!multi_line && (c == '\n' || c == '\r'))
            return sy_toml_fail(in, "the string does not end on its line");
        in->p++;
        if (c == '\\' && quote == '"') {
            SY_TRY(read_escape(in, multi_line, text + n, &n));
            continue;
        }
        if (c == '\r')
            continue; /* CR LF is kept as LF */
        in->line += c == '\n';
        text[n++] = c;
    }
    in->line = start;
    return sy_toml_fail(in, "the string that begins here does not end");
}

sy_status sy_toml_read_line_string(struct sy_toml_parser *in, struct sy_toml_string *out) {
    char quote = *in->p++;
    return read_string_body(in, quote, false, out);
}

static sy_status read_string(struct sy_toml_parser *in, struct sy_toml_string *out) {
    char quote = *in->p;
    bool multi_line = count_quotes(in, quote, 3) == 3;
    in->p += multi_line ? 3 : 1;
    return read_string_body(in, quote, multi_line, out);
}

/* ---- arrays and inline tables ---- */

/* Blanks, newlines and comments: allowed anywhere in an array. */
static void skip_white(struct sy_toml_parser *in) {
    for (; in->p < in->end; in->p++) {
        if (*in->p == '#')
            while (in->p + 1 < in->end && in->p[1] != '\n')
                in->p++;
        else if (*in->p == '\n')
            in->line++;
        else if (*in->p != ' ' && *in->p != '\t' && *in->p != '\r')
            return;
    }
}

static sy_status read_array(struct sy_toml_parser *in, struct sy_toml_value *array) {
    int start = in->line;
    array->state = SY_TOML_CLOSED;
    in->p++;
    for (;;) {
        struct sy_toml_value *item = NULL;
        skip_white(in);
        if (in->p < in->end && *in->p == ']')
            break;
        if (in->p < in->end)
            SY_TRY(sy_toml_read_value(in, array->depth + 1, &item));
        skip_white(in);
        if (in->p == in->end) {
            in->line = start;
            return sy_toml_fail(in, "the array that begins here does not end");
        }
        if (array->as.array.last)
            array->as.array.last->next = item;
        else
            array->as.array.first = item;
        array->as.array.last = item;
        array->as.array.n++;
        if (*in->p == ']')
            break;
        if (*in->p != ',')
            return sy_toml_fail(in, "',' or ']' is missing in the array before '%c'", *in->p);
        in->p++;
    }
    in->p++;
    return SY_OK;
}

static sy_status read_inline_table(struct sy_toml_parser *in, struct sy_toml_value *table) {
    table->state = SY_TOML_OPEN_DOTTED;
    in->p++;
    sy_toml_skip_blanks(in);
    if (in->p < in->end && *in->p == '}') {
        in->p++;
        table->state = SY_TOML_CLOSED;
        return SY_OK;
    }
    for (;;) {
        SY_TRY(sy_toml_read_pair(in, table));
        sy_toml_skip_blanks(in);
        if (in->p == in->end || *in->p == '\n' || *in->p == '\r' || *in->p == '#')
            return sy_toml_fail(in, "an inline table must end with '}' on its line");
        char c = *in->p;
        if (c != ',' && c != '}')
            return sy_toml_fail(in, "',' or '}' is missing in the inline table before '%c'", c);
        in->p++;
        if (c == '}')
            break;
    }
    table->state = SY_TOML_CLOSED;
    return SY_OK;
}

/* ---- values ---- */

static bool in_scalar(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '+' || c == '-' || c == '.' || c == ':';
}

static sy_status read_scalar(struct sy_toml_parser *in, struct sy_toml_value *out) {
    const char *p = in->p;
    while (p < in->end && in_scalar(*p))
        p++;
    /* a date may be followed by one space and a time */
    if (p - in->p == 10 && in->p[4] == '-' && in->end - p >= 3 && p[0] == ' ' && p[1] >= '0' && p[1] <= '9')
        for (p++; p < in->end && in_scalar(*p); p++) {
        }
    if (p == in->p)
        return sy_toml_fail(in, "a value is missing");
    sy_status status = sy_toml_scalar(in->p, (size_t)(p - in->p), out);
    if (status != SY_OK)
        return sy_fail_context(status, "%s:%d", in->name, in->line);
    in->p = p;
    return SY_OK;
}

sy_status sy_toml_read_value(struct sy_toml_parser *in, int depth, struct sy_toml_value **out) {
    char c = in->p < in->end ? *in->p : 0;
    enum sy_toml_type type = c == '[' ? SY_TOML_ARRAY : c == '{' ? SY_TOML_TABLE : SY_TOML_STRING;
    SY_TRY(sy_toml_value_new(in, type, depth, out));
    if (c == '[')
        return read_array(in, *out);
    if (c == '{')
        return read_inline_table(in, *out);
    if (c == '"' || c == '\'')
        return read_string(in, &(*out)->as.string);
    return read_scalar(in, *out);
}
