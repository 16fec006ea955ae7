/* Runs a fuzz target with allocations that fail: the n-th alone, or the n-th and all later ones.
 *
 * The allocator is wrapped at link (--wrap of malloc, calloc, realloc, strdup, aligned_alloc, free, sy_fail);
 * jansson, zlib and zstd are shared libraries, so they are handed the wrapped one. An input is first run
 * undisturbed; the statuses that it gives to sy_fail are its trace. With a failure planted, one of two things
 * must come out: an ERR_MEMORY, which excuses a check of the target that does not hold; or the trace of the
 * undisturbed run, with every check. So a failure that is swallowed, or taken for damaged data, is found.
 * When the target has returned, nothing it allocated may be left.
 *
 * Under libFuzzer a hash of the input chooses n. Linked with replay.c (and --wrap=main) n goes from 1 to CAP
 * or until no allocation fails; failing_<x> without arguments reads tests/fuzz/corpus/<x>.
 */
#define FAILING_MALLOC_DRIVER
#include "failing_malloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>
#define ZSTD_STATIC_LINKING_ONLY
#include <zlib.h>
#include <zstd.h>

#include "base/status.h"

enum { CAP = 300, SLOTS = 1 << 18 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int __real_main(int argc, char **argv) __attribute__((weak)); /* libFuzzer's main is not wrapped */
int __wrap_main(int argc, char **argv);

#define WRAPPED(type, name, ...)     \
    type __real_##name(__VA_ARGS__); \
    type __wrap_##name(__VA_ARGS__)
WRAPPED(void *, malloc, size_t bytes);
WRAPPED(void *, calloc, size_t n, size_t bytes);
WRAPPED(void *, realloc, void *p, size_t bytes);
WRAPPED(void *, aligned_alloc, size_t alignment, size_t bytes);
WRAPPED(char *, strdup, const char *s);
WRAPPED(void, free, void *p);
WRAPPED(json_t *, json_loadb, const char *text, size_t bytes, size_t flags, json_error_t *error);
WRAPPED(int, inflateInit2_, z_streamp z, int bits, const char *version, int bytes);
WRAPPED(ZSTD_DCtx *, ZSTD_createDCtx, void);
sy_status __wrap_sy_fail(sy_status status, const char *fmt, ...) SY_PRINTF(2, 3);
sy_status __real_sy_fail(sy_status status, const char *fmt, ...) SY_PRINTF(2, 3);

/* --- what is planted, and what came of it; of the thread that runs the target --------------------------- */

static _Thread_local struct {
    int armed, all_later;
    int64_t fail_at, n; /* allocations are numbered from 1; 0 fails none */
    int64_t n_failed;
    int reported; /* ERR_MEMORY since the failure */
    uint64_t trace;
    int in_jansson;
    jmp_buf out;
} run;

static int fails(void) {
    if (!run.armed)
        return 0;
    run.n++;
    int now = run.fail_at && (run.n == run.fail_at || (run.all_later && run.n > run.fail_at));
    run.n_failed += now;
    return now;
}

/* --- live allocations: a hash table of pointers, linear probing ----------------------------------------- */

static void *live[SLOTS];
static int64_t n_live;

static size_t home(const void *p) { return (size_t)((uintptr_t)p * 0x9e3779b97f4a7c15u >> 46) % SLOTS; }

static size_t find(const void *p) {
    size_t i = home(p);
    while (live[i] && live[i] != p)
        i = (i + 1) % SLOTS;
    return i;
}

static void *add(void *p) {
    if (!p || !run.armed)
        return p;
    if (n_live > SLOTS / 2) {
        fprintf(stderr, "failing_malloc: too many allocations to follow\n");
        abort();
    }
    live[find(p)] = p;
    n_live++;
    return p;
}

static void drop(const void *p) {
    size_t hole = find(p), at = hole;
    if (!p || !live[hole])
        return;
    n_live--;
    live[hole] = NULL;
    for (;;) { /* what was pushed past the hole moves back */
        at = (at + 1) % SLOTS;
        if (!live[at])
            return;
        if ((at - home(live[at])) % SLOTS >= (at - hole) % SLOTS) {
            live[hole] = live[at];
            live[at] = NULL;
            hole = at;
        }
    }
}

static void free_all_live(void) {
    for (size_t i = 0; i < SLOTS && n_live; i++)
        if (live[i]) {
            __real_free(live[i]);
            live[i] = NULL;
            n_live--;
        }
}

/* --- the wrapped allocator ------------------------------------------------------------------------------ */

void *__wrap_malloc(size_t bytes) { return fails() ? NULL : add(__real_malloc(bytes)); }
void *__wrap_calloc(size_t n, size_t bytes) { return fails() ? NULL : add(__real_calloc(n, bytes)); }
char *__wrap_strdup(const char *s) { return fails() ? NULL : add(__real_strdup(s)); }

void *__wrap_aligned_alloc(size_t alignment, size_t bytes) {
    return fails() ? NULL : add(__real_aligned_alloc(alignment, bytes));
}

void *__wrap_realloc(void *p, size_t bytes) {
    if (fails())
        return NULL;
    drop(p);
    void *q = __real_realloc(p, bytes);
    add(q ? q : p);
    return q;
}

void __wrap_free(void *p) {
    drop(p);
    __real_free(p);
}

void *failing_malloc_own(size_t bytes) { return add(__real_malloc(bytes)); }

static void *zlib_alloc(void *user, unsigned n, unsigned bytes) {
    (void)user;
    return __wrap_calloc(n, bytes);
}
static void *zstd_alloc(void *user, size_t bytes) {
    (void)user;
    return __wrap_malloc(bytes);
}
static void other_free(void *user, void *p) {
    (void)user;
    __wrap_free(p);
}

int __wrap_inflateInit2_(z_streamp z, int bits, const char *version, int bytes) {
    z->zalloc = zlib_alloc;
    z->zfree = other_free;
    return __real_inflateInit2_(z, bits, version, bytes);
}

ZSTD_DCtx *__wrap_ZSTD_createDCtx(void) {
    return ZSTD_createDCtx_advanced((ZSTD_customMem){zstd_alloc, other_free, NULL});
}

/* jansson 2.14 reads a token into a buffer of 16 bytes that doubles, and goes on when that fails: its
 * parser then asserts on, or reads past, what is there. Nothing outside it can help, so allocations of
 * these sizes do not fail in there. */
static void *jansson_alloc(size_t bytes) {
    if (run.in_jansson && bytes >= 32 && (bytes & (bytes - 1)) == 0)
        return failing_malloc_own(bytes);
    return __wrap_malloc(bytes);
}

json_t *__wrap_json_loadb(const char *text, size_t bytes, size_t flags, json_error_t *error) {
    run.in_jansson = 1;
    json_t *value = __real_json_loadb(text, bytes, flags, error);
    run.in_jansson = 0;
    return value;
}

__attribute__((constructor)) static void hand_over(void) { json_set_alloc_funcs(jansson_alloc, __wrap_free); }

sy_status __wrap_sy_fail(sy_status status, const char *fmt, ...) {
    char text[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    run.trace = (run.trace ^ (uint64_t)status) * 0x100000001b3u;
    run.reported |= run.n_failed && status == SY_ERR_MEMORY;
    return __real_sy_fail(status, "%s", text);
}

/* --- runs ----------------------------------------------------------------------------------------------- */

static _Noreturn void complain(const char *what) {
    run.armed = 0;
    fprintf(stderr, "failing_malloc: allocation %lld%s failed: %s; the last error was '%s'\n",
            (long long)run.fail_at, run.all_later ? " and all later" : "", what, sy_error_message());
    abort();
}

void failing_malloc_abort(void) {
    if (!run.reported)
        complain(run.fail_at ? "no ERR_MEMORY, and a check does not hold" : "(none) a check does not hold");
    longjmp(run.out, 1);
}

/* One run of the target; its trace. An allocation that had to fail and did: *failed. */
static uint64_t once(const uint8_t *data, size_t size, int64_t fail_at, int all_later, int64_t *failed) {
    run.fail_at = fail_at;
    run.all_later = all_later;
    run.n = run.n_failed = run.reported = 0;
    run.trace = 0xcbf29ce484222325u;
    run.armed = 1;
    if (setjmp(run.out) == 0) {
        failing_malloc_target(data, size);
        if (n_live)
            complain("memory is left");
    }
    run.armed = 0;
    free_all_live();
    *failed = run.n_failed;
    return run.trace;
}

static void planted(const uint8_t *data, size_t size, int64_t fail_at, int all_later, uint64_t want,
                    int64_t *failed) {
    if (once(data, size, fail_at, all_later, failed) != want && !run.reported)
        complain("no ERR_MEMORY, and other errors than without it");
}

static int every;

int __wrap_main(int argc, char **argv) {
    const char *name = strrchr(argv[0], '_');
    char corpus[128];
    char *arguments[] = {argv[0], corpus, NULL};
    every = 1;
    if (argc > 1 || !name)
        return __real_main(argc, argv);
    snprintf(corpus, sizeof corpus, "tests/fuzz/corpus/%s", name + 1);
    return __real_main(2, arguments);
}

static uint64_t hash(const uint8_t *data, size_t size) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++)
        h = (h ^ data[i]) * 0x100000001b3u;
    return h ^ h >> 32;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int64_t failed = 0;
    uint64_t want = once(data, size, 0, 0, &failed);
    int64_t n = run.n;
    if (!every) {
        uint64_t h = hash(data, size);
        if (n)
            planted(data, size, 1 + (int64_t)((h >> 1) % (uint64_t)n), (int)(h & 1), want, &failed);
        return 0;
    }
    failed = 1;
    for (int64_t i = 1; failed && i <= CAP; i++)
        for (int all = 0; all < 2; all++)
            planted(data, size, i, all, want, &failed);
    return 0;
}
