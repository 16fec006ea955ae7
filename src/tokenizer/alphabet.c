/* Bytes as characters: see alphabet.h. */
#include "tokenizer/alphabet.h"

#include "base/utf8.h"

static int is_printable(int byte) { return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad); }

/* How many bytes below `byte` are not printable. */
static int number_of(int byte) { return byte <= 0x21 ? byte : byte <= 0xa0 ? 33 + byte - 0x7f : 67; }

int sy_alphabet_code(unsigned char byte) { return is_printable(byte) ? byte : 0x100 + number_of(byte); }

int sy_alphabet_byte(uint32_t code) {
    if (code < 0x100)
        return is_printable((int)code) ? (int)code : -1;
    if (code >= SY_ALPHABET_CODES)
        return -1;
    int number = (int)code - 0x100;
    return number < 33 ? number : number < 67 ? 0x7f + number - 33 : 0xad;
}

int sy_alphabet_to_bytes(const char *text, size_t n, struct sy_text *out) {
    size_t before = out->n;
    for (size_t at = 0; at < n;) {
        uint32_t code = sy_utf8_code(text, n, &at);
        int byte = sy_alphabet_byte(code);
        char c = (char)byte;
        if (byte < 0 || !sy_text_add(out, &c, 1)) {
            out->n = before;
            return 0;
        }
    }
    return 1;
}

void sy_alphabet_from_bytes(const char *bytes, size_t n, struct sy_text *out) {
    for (size_t i = 0; i < n; i++) {
        char s[4];
        sy_text_add(out, s, sy_utf8_put((uint32_t)sy_alphabet_code((unsigned char)bytes[i]), s));
    }
}
