/* Which bytes are UTF-8 (RFC 3629; Unicode 15, table 3-7: no overlong forms, no surrogates, nothing
 * beyond U+10FFFF). */
#ifndef SY_BASE_UTF8_H
#define SY_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define SY_UTF8_BOM "\xef\xbb\xbf"         /* U+FEFF */
#define SY_UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Length of the longest prefix of whole characters. */
size_t sy_utf8_span(const char *s, size_t n);

/* s[0 … n-1] does not begin with a whole character, n > 0: how many bytes one U+FFFD stands for (the
 * longest beginning of a character, or else one byte). *is_cut: these are all n, and more bytes could
 * make them a character. */
size_t sy_utf8_broken(const char *s, size_t n, int *is_cut);

/* Writes s to `to` with U+FFFD in the place of what is broken and returns its length, at most 3 n; `to`
 * NULL: only that. */
size_t sy_utf8_clean(const char *s, size_t n, char *to);

/* Where the character that holds byte `at` < n of valid text begins. */
size_t sy_utf8_start(const char *s, size_t at);

/* The character of valid text that begins at *at < n; *at moves behind it. Writes a character, at most
 * four bytes, and returns its length. */
uint32_t sy_utf8_code(const char *s, size_t n, size_t *at);
size_t sy_utf8_put(uint32_t code, char *to);

#endif
