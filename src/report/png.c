/* A PNG of indexed colours (ISO/IEC 15948), in base64: signature, IHDR, PLTE, tRNS, IDAT, IEND. */
#include <string.h>
#include <stdlib.h>
#include <zlib.h>

#include "report/page.h"

static void base64(struct sy_page *p, const unsigned char *s, size_t n) {
    static const char letter[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        unsigned v = (unsigned)s[i] << 16;
        v |= i + 1 < n ? (unsigned)s[i + 1] << 8 : 0;
        v |= i + 2 < n ? s[i + 2] : 0;
        char four[4] = {letter[v >> 18], letter[v >> 12 & 63], i + 1 < n ? letter[v >> 6 & 63] : '=',
                        i + 2 < n ? letter[v & 63] : '='};
        sy_text_add(&p->text, four, 4);
    }
}

static void word(unsigned char out[4], uint32_t v) {
    for (int i = 0; i < 4; i++)
        out[i] = (unsigned char)(v >> (24 - 8 * i));
}

static void chunk(struct sy_text *to, const char *type, const unsigned char *data, size_t n) {
    unsigned char head[4], sum[4];
    uLong crc = crc32(crc32(0, NULL, 0), (const Bytef *)type, 4);
    if (n)
        crc = crc32(crc, data, (uInt)n);
    word(head, (uint32_t)n);
    word(sum, (uint32_t)crc);
    sy_text_add(to, (char *)head, 4);
    sy_text_add(to, type, 4);
    sy_text_add(to, (const char *)data, n);
    sy_text_add(to, (char *)sum, 4);
}

/* Rows, each after its filter's number (0: none), compressed. */
static int pixels(struct sy_text *to, const struct sy_picture *c) {
    size_t width = (size_t)c->width, n = (width + 1) * (size_t)c->height;
    uLong bytes = compressBound(n);
    unsigned char *rows = calloc(n, 1), *packed = malloc(bytes);
    int ok = rows && packed;
    for (int y = 0; ok && y < c->height; y++)
        memcpy(rows + (size_t)y * (width + 1) + 1, c->index + (size_t)y * width, width);
    ok = ok && compress2(packed, &bytes, rows, n, 9) == Z_OK;
    if (ok)
        chunk(to, "IDAT", packed, bytes);
    free(rows);
    free(packed);
    return ok;
}

void sy_put_png(struct sy_page *p, const struct sy_picture *c) {
    static const unsigned char transparent[1] = {0};
    struct sy_text png = {0};
    unsigned char head[13] = {[8] = 8, [9] = 3}; /* 8 bits, indexed */
    word(head, (uint32_t)c->width);
    word(head + 4, (uint32_t)c->height);
    sy_text_add(&png, "\x89PNG\r\n\x1a\n", 8);
    chunk(&png, "IHDR", head, sizeof head);
    chunk(&png, "PLTE", c->colour, 3 * 256);
    chunk(&png, "tRNS", transparent, sizeof transparent);
    int ok = pixels(&png, c);
    chunk(&png, "IEND", NULL, 0);
    if (ok && !png.failed)
        base64(p, (unsigned char *)png.s, png.n);
    else
        p->text.failed = 1;
    free(png.s);
}
