/* TOML on stdin, tagged JSON on stdout: the decoder that the public toml-test suite drives. Exit 1 on an
 * invalid document.
 */
#include "toml_tagged.h"

static char *read_all(FILE *f, size_t *n) {
    size_t room = 1 << 16;
    char *bytes = malloc(room);
    *n = 0;
    while (bytes) {
        *n += fread(bytes + *n, 1, room - *n, f);
        if (*n < room)
            return bytes;
        char *wider = realloc(bytes, room *= 2);
        if (!wider)
            free(bytes);
        bytes = wider;
    }
    return NULL;
}

int main(void) {
    size_t n;
    char *bytes = read_all(stdin, &n);
    struct sy_toml *doc;
    if (!bytes) {
        fprintf(stderr, "toml_decode: no memory\n");
        return 1;
    }
    if (sy_toml_parse("stdin", bytes, n, &doc) != SY_OK) {
        fprintf(stderr, "%s\n", sy_error_message());
        free(bytes);
        return 1;
    }
    tagged_value(stdout, sy_toml_root(doc));
    putchar('\n');
    sy_toml_destroy(doc);
    free(bytes);
    return fflush(stdout) ? 1 : 0;
}
