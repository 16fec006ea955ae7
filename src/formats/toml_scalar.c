/* TOML booleans, numbers, dates and times, and the shortest text of a double. See toml.h.
 *
 * Doubles go through strtod and snprintf without a decimal point (digits and an exponent only), so that no
 * locale matters.
 */
#include "formats/toml.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct text {
    const char *p, *end;
};

static bool digit(char c) { return c >= '0' && c <= '9'; }

static bool equals(const char *text, size_t n, const char *word) {
    return n == strlen(word) && !memcmp(text, word, n);
}

static sy_status bad(const char *text, size_t n, const char *what) {
    SY_FAIL(SY_ERR_USAGE, "'%.*s' %s", (int)(n < 60 ? n : 60), text, what);
}

/* ---- numbers ---- */

/* Copies digits without underscores; the length, or -1 if there are none or an underscore is not between
 * two digits. */
static int64_t copy_digits(struct text *in, char *out) {
    int64_t n = 0;
    while (in->p < in->end && (digit(*in->p) || *in->p == '_')) {
        if (*in->p == '_') {
            if (!n || !digit(in->p[-1]) || in->p + 1 == in->end || !digit(in->p[1]))
                return -1;
        } else {
            out[n++] = *in->p;
        }
        in->p++;
    }
    return n ? n : -1;
}

static sy_status read_based(const char *text, size_t n, int base, int64_t *out) {
    uint64_t v = 0;
    if (n < 3)
        return bad(text, n, "has no digits");
    for (size_t i = 2; i < n; i++) {
        char c = text[i];
        if (c == '_') {
            if (i == 2 || i + 1 == n || text[i - 1] == '_')
                return bad(text, n, "is not a number: '_' must stand between two digits");
            continue;
        }
        int d = digit(c)               ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : 99;
        if (d >= base)
            return bad(text, n, "is not an integer of its base");
        if (v > ((uint64_t)INT64_MAX - (uint64_t)d) / (uint64_t)base)
            return bad(text, n, "does not fit into 64 bits");
        v = v * (uint64_t)base + (uint64_t)d;
    }
    *out = (int64_t)v;
    return SY_OK;
}

static sy_status read_decimal(const char *text, size_t n, const char *digits, int64_t n_digits,
                              int64_t *out) {
    uint64_t v = 0, most = (uint64_t)INT64_MAX + (text[0] == '-');
    for (int64_t i = 0; i < n_digits; i++) {
        uint64_t d = (uint64_t)(digits[i] - '0');
        if (v > (most - d) / 10)
            return bad(text, n, "does not fit into 64 bits");
        v = v * 10 + d;
    }
    *out = text[0] == '-' ? (int64_t)(0 - v) : (int64_t)v;
    return SY_OK;
}

/* The exponent's digits, cut at a billion: no document has that many digits to make up for it. */
static int64_t exponent_of(const char *digits, int64_t n, bool negative) {
    int64_t v = 0;
    for (int64_t i = 0; i < n && v < 1000000000; i++)
        v = 10 * v + (digits[i] - '0');
    return negative ? -v : v;
}

/* `digits` has room for n + 32 bytes. */
static sy_status read_number(const char *text, size_t n, char *digits, struct sy_toml_value *out) {
    static const char malformed[] = "is not a value that TOML knows; a string needs quotes";
    struct text in = {text, text + n};
    if (in.p < in.end && (*in.p == '+' || *in.p == '-'))
        in.p++;
    const char *first = in.p;
    int64_t n_digits = copy_digits(&in, digits), n_fraction = 0, exponent = 0;
    if (n_digits < 0)
        return bad(text, n, malformed);
    if (n_digits > 1 && *first == '0')
        return bad(text, n, "is not a number: leading zeros are not allowed");
    if (in.p == in.end) {
        out->type = SY_TOML_INTEGER;
        return read_decimal(text, n, digits, n_digits, &out->as.integer);
    }
    if (*in.p == '.') {
        in.p++;
        if ((n_fraction = copy_digits(&in, digits + n_digits)) < 0)
            return bad(text, n, "is not a number: digits are missing around '.'");
        n_digits += n_fraction;
    }
    if (in.p < in.end && (*in.p == 'e' || *in.p == 'E')) {
        bool negative = ++in.p < in.end && *in.p == '-';
        if (in.p < in.end && (*in.p == '+' || *in.p == '-'))
            in.p++;
        int64_t n_exponent = copy_digits(&in, digits + n_digits);
        if (n_exponent < 0)
            return bad(text, n, "is not a number: digits are missing after 'e'");
        exponent = exponent_of(digits + n_digits, n_exponent, negative);
    }
    if (in.p != in.end)
        return bad(text, n, malformed);
    snprintf(digits + n_digits, 32, "e%lld", (long long)(exponent - n_fraction));
    double x = strtod(digits, NULL);
    if (isinf(x))
        return bad(text, n, "does not fit into a double");
    out->type = SY_TOML_REAL;
    out->as.real = text[0] == '-' ? -x : x;
    return SY_OK;
}

/* ---- dates and times ---- */

/* Exactly n digits. */
static bool read_field(struct text *in, int n, int *out) {
    int v = 0;
    for (int i = 0; i < n; i++, in->p++) {
        if (in->p == in->end || !digit(*in->p))
            return false;
        v = 10 * v + (*in->p - '0');
    }
    *out = v;
    return true;
}

static bool read_mark(struct text *in, char c) {
    return in->p < in->end && *in->p == c ? (in->p++, true) : false;
}

static int days_of(int year, int month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

static bool read_date(struct text *in, struct sy_toml_time *t) {
    return read_field(in, 4, &t->year) && read_mark(in, '-') && read_field(in, 2, &t->month) &&
           read_mark(in, '-') && read_field(in, 2, &t->day) && t->month >= 1 && t->month <= 12 &&
           t->day >= 1 && t->day <= days_of(t->year, t->month);
}

/* hh:mm:ss and an optional fraction, of which nine digits count. A second of 60 is a leap second. */
static bool read_time(struct text *in, struct sy_toml_time *t) {
    if (!read_field(in, 2, &t->hour) || !read_mark(in, ':') || !read_field(in, 2, &t->minute) ||
        !read_mark(in, ':') || !read_field(in, 2, &t->second) || t->hour > 23 || t->minute > 59 ||
        t->second > 60)
        return false;
    if (!read_mark(in, '.'))
        return true;
    if (in->p == in->end || !digit(*in->p))
        return false;
    for (int unit = 100000000; in->p < in->end && digit(*in->p); in->p++, unit /= 10)
        t->nanosecond += unit * (*in->p - '0');
    return true;
}

static bool read_offset(struct text *in, struct sy_toml_time *t) {
    int hour, minute;
    if (read_mark(in, 'Z') || read_mark(in, 'z'))
        return true;
    bool west = in->p < in->end && *in->p == '-';
    if (!read_mark(in, '+') && !read_mark(in, '-'))
        return false;
    if (!read_field(in, 2, &hour) || !read_mark(in, ':') || !read_field(in, 2, &minute) || hour > 23 ||
        minute > 59)
        return false;
    t->offset_minutes = (hour * 60 + minute) * (west ? -1 : 1);
    return true;
}

static sy_status read_moment(const char *text, size_t n, struct sy_toml_value *out) {
    struct text in = {text, text + n};
    struct sy_toml_time t = {0};
    bool ok = true;
    out->type = SY_TOML_TIME_LOCAL;
    if (text[2] != ':') {
        ok = read_date(&in, &t);
        out->type = SY_TOML_DATE_LOCAL;
        if (ok && in.p < in.end) {
            ok = read_mark(&in, 'T') || read_mark(&in, 't') || read_mark(&in, ' ');
            out->type = SY_TOML_DATETIME_LOCAL;
        }
    }
    if (ok && out->type != SY_TOML_DATE_LOCAL)
        ok = read_time(&in, &t);
    if (ok && out->type == SY_TOML_DATETIME_LOCAL && in.p < in.end) {
        ok = read_offset(&in, &t);
        out->type = SY_TOML_DATETIME;
    }
    if (!ok || in.p != in.end)
        return bad(text, n, "is not a date or time that exists, as in 1979-05-27T07:32:00Z");
    out->as.time = t;
    return SY_OK;
}

/* ---- what it is ---- */

static bool read_word(const char *text, size_t n, struct sy_toml_value *out) {
    if (equals(text, n, "true") || equals(text, n, "false")) {
        out->type = SY_TOML_BOOLEAN;
        out->as.boolean = n == 4;
        return true;
    }
    bool sign = n && (*text == '+' || *text == '-');
    if (equals(text + sign, n - sign, "inf") || equals(text + sign, n - sign, "nan")) {
        out->type = SY_TOML_REAL;
        out->as.real = text[sign] == 'i' ? (*text == '-' ? -INFINITY : INFINITY) : NAN;
        return true;
    }
    return false;
}

sy_status sy_toml_scalar(const char *text, size_t n, struct sy_toml_value *out) {
    if (!n)
        SY_FAIL(SY_ERR_USAGE, "a value is missing");
    if (read_word(text, n, out))
        return SY_OK;
    if (n > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'o' || text[1] == 'b')) {
        out->type = SY_TOML_INTEGER;
        return read_based(text, n, text[1] == 'x' ? 16 : text[1] == 'o' ? 8 : 2, &out->as.integer);
    }
    if ((n > 4 && digit(text[0]) && text[4] == '-' && digit(text[3])) ||
        (n > 2 && digit(text[0]) && text[2] == ':'))
        return read_moment(text, n, out);
    char small[128], *digits = n + 32 <= sizeof small ? small : malloc(n + 32);
    if (!digits)
        SY_FAIL(SY_ERR_MEMORY, "no memory for a number of %zu digits", n);
    sy_status status = read_number(text, n, digits, out);
    if (digits != small)
        free(digits);
    return status;
}

/* ---- printing ---- */

void sy_toml_real_print(double x, char out[SY_TOML_REAL_BYTES]) {
    char text[48], digits[24];
    int n = 0, exponent = 0;
    if (!isfinite(x)) {
        snprintf(out, SY_TOML_REAL_BYTES, "%s", isnan(x) ? "nan" : x < 0 ? "-inf" : "inf");
        return;
    }
    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, fabs(x));
        char *e = strchr(text, 'e');
        n = 0;
        for (char *p = text; p < e; p++)
            if (digit(*p))
                digits[n++] = *p;
        digits[n] = 0;
        exponent = (int)strtol(e + 1, NULL, 10);
        snprintf(text, sizeof text, "%se%d", digits, exponent - (n - 1));
        if (strtod(text, NULL) == fabs(x))
            break;
    }
    const char *sign = signbit(x) ? "-" : "";
    if (exponent < -4 || exponent > 15)
        snprintf(out, SY_TOML_REAL_BYTES, "%s%c%s%se%d", sign, digits[0], n > 1 ? "." : "", digits + 1,
                 exponent);
    else if (exponent < 0)
        snprintf(out, SY_TOML_REAL_BYTES, "%s0.%.*s%s", sign, -exponent - 1, "000", digits);
    else if (n <= exponent + 1)
        snprintf(out, SY_TOML_REAL_BYTES, "%s%s%.*s.0", sign, digits, exponent + 1 - n, "000000000000000");
    else
        snprintf(out, SY_TOML_REAL_BYTES, "%s%.*s.%s", sign, exponent + 1, digits, digits + exponent + 1);
}
