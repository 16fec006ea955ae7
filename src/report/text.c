/* Pieces of a page: text, numbers. See page.h. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "report/page.h"

void sy_page_put(struct sy_page *p, const char *fmt, ...) {
    char text[4096];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n > 0)
        sy_text_add(&p->text, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

static const char *entity(unsigned char c) {
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    case '`':
        return "&#96;";
    default:
        return c < 32 || c == 127 ? " " : NULL;
    }
}

void sy_page_text(struct sy_page *p, const char *s) {
    size_t n = strlen(s);
    while (n) {
        size_t whole = sy_utf8_span(s, n), at = 0;
        for (size_t i = 0; i < whole; i++) {
            const char *e = entity((unsigned char)s[i]);
            if (!e)
                continue;
            sy_text_add(&p->text, s + at, i - at);
            sy_text_add(&p->text, e, strlen(e));
            at = i + 1;
        }
        sy_text_add(&p->text, s + at, whole - at);
        s += whole;
        n -= whole;
        if (n) {
            int is_cut;
            size_t broken = sy_utf8_broken(s, n, &is_cut);
            sy_text_add(&p->text, SY_UTF8_REPLACEMENT, 3);
            s += broken;
            n -= broken;
        }
    }
}

void sy_page_real(struct sy_page *p, double x) {
    if (isfinite(x))
        sy_page_put(p, "%.9g", x);
    else
        sy_page_put(p, "null");
}

/* 1e-05 -> 1e-5 */
static void tidy_exponent(char *s) {
    char *e = strchr(s, 'e');
    if (!e)
        return;
    char *digits = e + 1 + (e[1] == '-' || e[1] == '+'), *to = e[1] == '-' ? e + 2 : e + 1;
    while (*digits == '0' && digits[1])
        digits++;
    memmove(to, digits, strlen(digits) + 1);
}

const char *sy_short(double x, char out[SY_SHORT]) {
    static const char *const prefixes[] = {"", "k", "M", "G", "T", "P"};
    double size = fabs(x);
    int k = 0;
    if (!isfinite(x)) {
        snprintf(out, SY_SHORT, "–");
    } else if (size != 0 && (size < 1e-3 || size >= 1e18)) {
        snprintf(out, SY_SHORT, "%.3g", x);
        tidy_exponent(out);
    } else {
        for (; size >= 9999.5 || (k && size >= 999.5); k++)
            size /= 1000;
        snprintf(out, SY_SHORT, k ? "%s%.3g%s" : "%s%.4g%s", x < 0 ? "−" : "", size, prefixes[k > 5 ? 5 : k]);
        tidy_exponent(out);
    }
    return out;
}

const char *sy_spaced(int64_t n, char out[SY_SHORT]) {
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%lld", (long long)n), at = 0;
    for (int i = 0; i < length; i++) {
        if (i && digits[i - 1] != '-' && (length - i) % 3 == 0 && length > 4 && at + 4 < SY_SHORT)
            at += snprintf(out + at, (size_t)(SY_SHORT - at), "\xe2\x80\x89");
        if (at + 1 < SY_SHORT)
            out[at++] = digits[i];
    }
    out[at] = 0;
    return out;
}
