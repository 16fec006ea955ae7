/* What a TOML document may consist of: UTF-8 (RFC 3629), and no control character but tab and newline (LF or
 * CR LF). Checked for the whole text before it is read, so that the reader need not.
 */
#include "formats/toml_internal.h"

/* The length of the valid UTF-8 sequence at p, 0 if there is none (RFC 3629: no surrogates, nothing longer
 * than needed). */
static int utf8_length(const unsigned char *p, size_t n) {
    if (p[0] < 0x80)
        return 1;
    int length = p[0] >= 0xc2 && p[0] <= 0xdf   ? 2
                 : p[0] >= 0xe0 && p[0] <= 0xef ? 3
                 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
                                                : 0;
    if (!length || (size_t)length > n)
        return 0;
    for (int i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return length;
}

bool sy_toml_is_utf8(const char *text, size_t n) {
    for (size_t i = 0; i < n;) {
        int length = utf8_length((const unsigned char *)text + i, n - i);
        if (!length)
            return false;
        i += (size_t)length;
    }
    return true;
}

sy_status sy_toml_check_text(struct sy_toml_parser *in) {
    const unsigned char *p = (const unsigned char *)in->p, *end = (const unsigned char *)in->end;
    in->line = 1;
    while (p < end) {
        int length = utf8_length(p, (size_t)(end - p));
        if (!length)
            return sy_toml_fail(in, "not valid UTF-8 (byte 0x%02x)", *p);
        if (*p == '\n')
            in->line++;
        else if (*p == '\r' && (p + 1 == end || p[1] != '\n'))
            return sy_toml_fail(in, "a carriage return without a newline after it");
        else if ((*p < 0x20 && *p != '\t' && *p != '\r') || *p == 0x7f)
            return sy_toml_fail(in, "control character 0x%02x", *p);
        p += length;
    }
    in->line = 1;
    return SY_OK;
}
