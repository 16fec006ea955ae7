/* A passed self-test: see selftest_kept.h. */
#include "train/selftest_kept.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/build_id.h"
#include "base/folders.h"

enum { TEXT = 600 };

/* The driver's own version; the CUDA version that it is for says less. */
static void driver_version(char out[64]) {
    FILE *f = fopen("/sys/module/nvidia/version", "r");
    out[0] = '\0';
    if (!f)
        return;
    if (!fgets(out, 64, f))
        out[0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    fclose(f);
}

/* 0: this build cannot be told from others. */
static int text_of(const struct sy_cuda_about *gpu, const char *cls, char out[TEXT]) {
    char build[SY_BUILD_ID_CHARS], driver[64];
    sy_build_id(build);
    driver_version(driver);
    snprintf(out, TEXT, "switchyard self-test passed\ngpu %s %s\ndriver %s, CUDA %d\nbuild %s\nclass %s\n",
             gpu->uuid, gpu->name, driver, gpu->driver, build, cls);
    return build[0] != '\0';
}

/* 0: there is no place for it, or its path is too long. */
static int folder(char out[SY_PATH_BYTES]) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = cache && cache[0] == '/' ? snprintf(out, SY_PATH_BYTES, "%s/switchyard", cache)
            : home && home[0] == '/' ? snprintf(out, SY_PATH_BYTES, "%s/.cache/switchyard", home)
                                     : 0;
    return n > 0 && n < SY_PATH_BYTES - 64;
}

static int path_of(const struct sy_cuda_about *gpu, char out[SY_PATH_BYTES]) {
    char in[SY_PATH_BYTES];
    if (!folder(in))
        return 0;
    int n = snprintf(out, SY_PATH_BYTES, "%s/selftest-%s", in, gpu->uuid);
    return n > 0 && n < SY_PATH_BYTES;
}

int sy_selftest_is_kept(const struct sy_cuda_about *gpu, const char *cls) {
    char want[TEXT], is[TEXT + 1], path[SY_PATH_BYTES];
    if (!text_of(gpu, cls, want) || !path_of(gpu, path))
        return 0;
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    size_t n = fread(is, 1, TEXT, f);
    fclose(f);
    is[n] = '\0';
    return strcmp(is, want) == 0;
}

/* Written beside it and renamed: whoever reads finds a whole one. */
void sy_selftest_keep(const struct sy_cuda_about *gpu, const char *cls) {
    char text[TEXT], in[SY_PATH_BYTES], path[SY_PATH_BYTES], new[SY_PATH_BYTES + 32];
    if (!text_of(gpu, cls, text) || !folder(in) || !path_of(gpu, path) || sy_folder_make(in) != SY_OK)
        return;
    snprintf(new, sizeof new, "%s.%ld", path, (long)getpid());
    FILE *f = fopen(new, "w");
    if (!f)
        return;
    int good = fputs(text, f) >= 0;
    good &= fclose(f) == 0;
    if (!good || rename(new, path) != 0)
        remove(new);
}
