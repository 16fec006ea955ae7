/* Any bytes as a config file, or (first byte '-') as command-line arguments, one a line: a config or an error
 * comes out. One that finishes prints as TOML that loads and finishes to the same text.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "require.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct buffer {
    char text[1 << 17];
    size_t n;
};

static void collect(void *user, const char *text, size_t n) {
    struct buffer *b = user;
    require(b->n + n <= sizeof b->text);
    memcpy(b->text + b->n, text, n);
    b->n += n;
}

static sy_status take_flags(struct sy_config *cfg, const uint8_t *data, size_t size) {
    char text[4096], program[] = "switchyard", *argv[65] = {program};
    int argc = 1;
    size_t n = size < sizeof text - 1 ? size : sizeof text - 1;
    memcpy(text, data, n);
    text[n] = 0;
    for (char *p = text; argc < 64;) {
        argv[argc++] = p;
        p += strcspn(p, "\n");
        if (!*p)
            break;
        *p++ = 0;
    }
    int before = argc;
    sy_status status = sy_config_flags(cfg, &argc, argv);
    require(argc >= 1 && argc <= before && argv[0] == program);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct buffer a, b;
    struct sy_config *cfg, *again;
    if (size > 1 << 14 || sy_config_create(&cfg) != SY_OK)
        return 0;
    sy_status status = size && *data == '-' ? take_flags(cfg, data, size)
                                            : sy_config_load_text(cfg, "fuzz", (const char *)data, size);
    if (status == SY_OK)
        status = sy_config_finish(cfg, false);
    if (status != SY_OK)
        require(strlen(sy_error_message()) > 0);
    if (status == SY_OK && sy_config_create(&again) == SY_OK) {
        a.n = b.n = 0;
        sy_config_print(cfg, collect, &a);
        require(sy_config_load_text(again, "again", a.text, a.n) == SY_OK);
        require(sy_config_finish(again, false) == SY_OK);
        sy_config_print(again, collect, &b);
        require(a.n == b.n && !memcmp(a.text, b.text, a.n));
        sy_config_destroy(again);
    }
    sy_config_destroy(cfg);
    return 0;
}
