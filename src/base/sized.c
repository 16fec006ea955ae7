/* Structs of options that a caller made: see sized.h. */
#include "base/sized.h"

#include <string.h>

enum { MOST = 1 << 16 };

sy_status sy_sized_read(const char *name, const void *given, size_t known, size_t first, void *own) {
    size_t size, n;
    if (!given)
        SY_FAIL(SY_ERR_USAGE, "%s: none is given (NULL)", name);
    memcpy(&size, given, sizeof size);
    n = size ? size : first;
    if (n < sizeof size || n > MOST)
        SY_FAIL(SY_ERR_USAGE, "%s: its size is %zu: set it to sizeof(%s), or 0 for that of version 0.1", name,
                size, name);
    for (size_t i = known; i < n; i++)
        if (((const unsigned char *)given)[i])
            SY_FAIL(SY_ERR_USAGE,
                    "%s: has %zu bytes, of which version " SY_VERSION
                    " knows %zu, and byte %zu is set: leave newer members 0, or use the newer library",
                    name, n, known, i);
    memset(own, 0, known);
    memcpy(own, given, n < known ? n : known);
    return SY_OK;
}
