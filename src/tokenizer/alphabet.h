/* Bytes as characters, as byte-level tokenizers spell their tokens.
 *
 *     byte b is U+00bb if that is printable (0x21 … 0x7e, 0xa1 … 0xac, 0xae … 0xff), else U+0100 + its
 *     number among the others, in ascending order        (Radford et al. 2019, "GPT-2")
 */
#ifndef SY_TOKENIZER_ALPHABET_H
#define SY_TOKENIZER_ALPHABET_H

#include <stdint.h>

#include "base/text.h"

enum { SY_ALPHABET_CODES = 0x144 }; /* code points below this may stand for a byte */

/* Local. The code point of a byte; the byte of a code point, or -1. */
int sy_alphabet_code(unsigned char byte);
int sy_alphabet_byte(uint32_t code);

/* Local. Adds the bytes that characters stand for; 0, and nothing added, if one of them stands for none
 * (or without memory: out->failed). Adds the characters of bytes. */
int sy_alphabet_to_bytes(const char *text, size_t n, struct sy_text *out);
void sy_alphabet_from_bytes(const char *bytes, size_t n, struct sy_text *out);

#endif
