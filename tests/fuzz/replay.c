/* Feeds files to a fuzz target without libFuzzer: every file of the folders (or files) given, once each, in
 * bytewise order. Exit 0 if none crashed, 1 if there was nothing to feed: a corpus that is not there must not
 * pass.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int n_fed;

/* A buffer of exactly the file's size, so that ASan sees a read past its end. */
static int feed_file(const char *path, size_t size) {
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(size ? size : 1);
    int ok = f && data && fread(data, 1, size, f) == size;
    if (f)
        fclose(f);
    if (ok) {
        LLVMFuzzerTestOneInput(data, size);
        n_fed++;
    } else {
        fprintf(stderr, "%s: cannot be read\n", path);
    }
    free(data);
    return ok;
}

static int feed(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return 0;
    }
    if (!S_ISDIR(st.st_mode))
        return feed_file(path, (size_t)st.st_size);
    struct dirent **entry;
    int n = scandir(path, &entry, NULL, alphasort), ok = n >= 0;
    for (int i = 0; i < n; i++) {
        char inner[4096];
        if (entry[i]->d_name[0] != '.' &&
            snprintf(inner, sizeof inner, "%s/%s", path, entry[i]->d_name) < (int)sizeof inner)
            ok = feed(inner) && ok;
        free(entry[i]);
    }
    if (n >= 0)
        free(entry);
    return ok;
}

int main(int argc, char **argv) {
    int ok = 1;
    for (int i = 1; i < argc; i++)
        ok = feed(argv[i]) && ok;
    printf("%d inputs\n", n_fed);
    return ok && n_fed > 0 ? 0 : 1;
}
