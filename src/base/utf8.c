/* UTF-8: see utf8.h. */
#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

/* How many bytes from s on fit the beginning of one character, the first counted; *length: what it
 * needs, 0 if no character begins with s[0]. */
static size_t fitting(const unsigned char *s, size_t n, size_t *length) {
    unsigned char lead = s[0], low = 0x80, high = 0xbf;
    *length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (lead == 0xe0)
        low = 0xa0;
    else if (lead == 0xed)
        high = 0x9f;
    else if (lead == 0xf0)
        low = 0x90;
    else if (lead == 0xf4)
        high = 0x8f;
    size_t fit = 1;
    for (; fit < *length && fit < n; fit++) {
        if (s[fit] < low || s[fit] > high)
            break;
        low = 0x80;
        high = 0xbf;
    }
    return fit;
}

size_t sy_utf8_span(const char *text, size_t n) {
    const unsigned char *s = (const unsigned char *)text;
    size_t i = 0;
    while (i < n) {
        uint64_t eight;
        while (n - i >= sizeof eight &&
               (memcpy(&eight, s + i, sizeof eight), (eight & 0x8080808080808080u) == 0))
            i += sizeof eight;
        if (i == n)
            break;
        size_t length, fit = fitting(s + i, n - i, &length);
        if (fit != length)
            break;
        i += length;
    }
    return i;
}

size_t sy_utf8_broken(const char *s, size_t n, int *is_cut) {
    size_t length, fit = fitting((const unsigned char *)s, n, &length);
    *is_cut = fit == n && fit < length;
    return fit;
}

size_t sy_utf8_clean(const char *s, size_t n, char *to) {
    size_t at = 0, length = 0;
    int is_cut;
    while (at < n) {
        size_t whole = sy_utf8_span(s + at, n - at);
        if (to)
            memcpy(to + length, s + at, whole);
        length += whole;
        at += whole;
        if (at == n)
            break;
        if (to)
            memcpy(to + length, SY_UTF8_REPLACEMENT, 3);
        length += 3;
        at += sy_utf8_broken(s + at, n - at, &is_cut);
    }
    return length;
}

size_t sy_utf8_start(const char *s, size_t at) {
    while (at > 0 && ((unsigned char)s[at] & 0xc0) == 0x80)
        at--;
    return at;
}

uint32_t sy_utf8_code(const char *text, size_t n, size_t *at) {
    const unsigned char *s = (const unsigned char *)text + *at;
    size_t length = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    uint32_t code = length == 1 ? s[0] : s[0] & (0x7fu >> length);
    length = length <= n - *at ? length : n - *at;
    for (size_t i = 1; i < length; i++)
        code = code << 6 | (s[i] & 0x3f);
    *at += length;
    return code;
}

size_t sy_utf8_put(uint32_t code, char *to) {
    size_t length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = length; i-- > 1; code >>= 6)
        to[i] = (char)(0x80 | (code & 0x3f));
    to[0] = (char)(length == 1 ? code : (0xf00u >> length & 0xff) | code);
    return length;
}
