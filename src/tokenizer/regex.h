/* Patterns as tokenizer.json has them, which are Oniguruma's (Ruby syntax), by pcre2.
 *
 * pattern.c translates what pcre2 reads otherwise: \s \S \w \W by Unicode's properties as Oniguruma has
 * them, scripts by Script and not by Script_Extensions, \v \u; ^ and $ at lines. What has no translation
 * is refused with its place, as is a pattern that matches nothing. With pcre2's JIT where there is one.
 */
#ifndef SY_TOKENIZER_REGEX_H
#define SY_TOKENIZER_REGEX_H

#include "base/status.h"
#include "base/text.h"

struct sy_regex;
struct sy_matcher; /* what a thread matches with */

/* Local. `where` names the pattern in messages. Errors: ERR_UNAVAILABLE no translation, ERR_DATA broken,
 * ERR_MEMORY. */
sy_status sy_regex_create(const char *where, const char *pattern, struct sy_regex **out);
void sy_regex_destroy(struct sy_regex *regex);

sy_status sy_matcher_create(struct sy_matcher **out);
void sy_matcher_destroy(struct sy_matcher *matcher);

/* Local. The first match from byte `from` on of valid UTF-8; *found 0 if there is none. Errors: ERR_DATA
 * the pattern takes too many steps on this text. */
sy_status sy_regex_find(const struct sy_regex *regex, struct sy_matcher *matcher, const char *text, size_t n,
                        size_t from, int *found, size_t *start, size_t *end);

/* Local. For the room. The pattern in pcre2's syntax. */
sy_status sy_pattern_translate(const char *where, const char *pattern, struct sy_text *out);

#endif
