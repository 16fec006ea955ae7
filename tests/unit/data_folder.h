/* A folder for tests of data: files are put into it, loaded, and what the loading said is kept. */
#ifndef TESTS_UNIT_DATA_FOLDER_H
#define TESTS_UNIT_DATA_FOLDER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "data/documents.h"
#include "folder.h"
#include "logged.h"

static const char *const folder_list[] = {folder};

/* Of the log since the last call: the part below `folder` of a line's path, then what it says, was
 * there. */
static inline void says(const char *level, const char *name, const char *what) {
    char want[512];
    snprintf(want, sizeof want, "%s%s/%s%s", level, folder, name, what);
    if (!strstr(logged, want))
        fail_msg("no line \"%s\" in:\n%s", want, logged);
}

static inline void put(const char *name, const char *text) {
    FILE *f = fopen(path_of(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static inline void drop(const char *name) { assert_int_equal(remove(path_of(name)), 0); }

static inline struct sy_data_options defaults(void) {
    return (struct sy_data_options){.dataset_paths = folder_list, .n_dataset_paths = 1, .log = &logger};
}

static inline struct sy_documents *load(const struct sy_data_options *options) {
    struct sy_documents *d = NULL;
    sy_status status = sy_documents_load(options, &d);
    if (status != SY_OK)
        fail_msg("%s", sy_error_message());
    return d;
}

static inline void refuses(const struct sy_data_options *options, sy_status want, const char *message) {
    struct sy_documents *d = NULL;
    assert_int_equal(sy_documents_load(options, &d), want);
    assert_null(d);
    if (!strstr(sy_error_message(), message))
        fail_msg("\"%s\" lacks \"%s\"", sy_error_message(), message);
}

static inline void is_text(const struct sy_documents *d, int64_t i, const char *want) {
    assert_true(i < d->n_documents);
    assert_int_equal(d->document[i].bytes, strlen(want));
    assert_memory_equal(d->text + d->document[i].offset, want, strlen(want));
    assert_true(d->document[i].hash == XXH3_64bits(want, strlen(want)));
}

#endif
