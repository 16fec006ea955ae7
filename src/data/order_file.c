/* An epoch's order in the cache: see order_file.h.
 *
 *     "switchyard order 1\n" and NULs: 32 bytes | i64 documents | u64 XXH3-64 of order, of start
 *     | i64 order[n] | i64 start[n + 1]
 */
#include "data/order_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/files.h"
#include "data/cache.h"

struct head {
    char magic[32];
    int64_t n;
    uint64_t order_hash, start_hash;
};

static const char magic[32] = "switchyard order 1\n";

static sy_status name(const struct sy_order_file *o, int64_t epoch, struct sy_cache_entry *entry) {
    char text[300];
    struct sy_text identity = {0};
    int n = snprintf(text, sizeof text, "order 1\n%s\n%s\n%" PRIu64 " %d %" PRId64 " %" PRId64 "\n",
                     o->documents, o->tokenizer, o->seed, o->shuffle, epoch, o->n);
    sy_text_add(&identity, text, (size_t)n);
    sy_status status = sy_cache_name(o->dir, &identity, ".order", entry);
    free(identity.s);
    return status;
}

static int is_kept(const struct sy_order_file *o) {
    return o->dir && *o->dir && o->n >= SY_ORDER_KEPT_DOCUMENTS;
}

static struct head head_of(const struct sy_order_file *o, const int64_t *order, const int64_t *start) {
    struct head head = {.n = o->n,
                        .order_hash = XXH3_64bits(order, (size_t)o->n * sizeof *order),
                        .start_hash = XXH3_64bits(start, (size_t)(o->n + 1) * sizeof *start)};
    memcpy(head.magic, magic, sizeof magic);
    return head;
}

int sy_order_file_read(const struct sy_order_file *o, int64_t *order, int64_t *start) {
    struct sy_cache_entry entry;
    struct head head, want;
    if (!is_kept(o) || name(o, o->epoch, &entry) != SY_OK)
        return 0;
    int fd = open(entry.path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    int64_t at = 0;
    int ok = sy_file_read(fd, &at, &head, sizeof head) > 0 &&
             sy_file_read(fd, &at, order, (size_t)o->n * sizeof *order) > 0 &&
             sy_file_read(fd, &at, start, (size_t)(o->n + 1) * sizeof *start) > 0;
    close(fd);
    want = head_of(o, order, start);
    if (ok && memcmp(&head, &want, sizeof head) == 0)
        return 1;
    sy_log_warn(o->log, "%s: this entry of data.cache_dir is damaged and made anew", entry.path);
    unlink(entry.path);
    return 0;
}

static sy_status write_entry(const struct sy_order_file *o, const int64_t *order, const int64_t *start) {
    struct sy_cache_entry entry, old;
    int is_there;
    SY_TRY(name(o, o->epoch, &entry));
    SY_TRY(sy_cache_begin(&entry, 0, o->log, &is_there));
    if (is_there)
        return SY_OK;
    const struct head head = head_of(o, order, start);
    int64_t at = 0;
    int ok = sy_file_write(entry.fd, &at, &head, sizeof head) > 0 &&
             sy_file_write(entry.fd, &at, order, (size_t)o->n * sizeof *order) > 0 &&
             sy_file_write(entry.fd, &at, start, (size_t)(o->n + 1) * sizeof *start) > 0 &&
             fsync(entry.fd) == 0;
    SY_TRY(sy_cache_end(
        &entry, ok ? SY_OK : sy_fail(SY_ERR_IO, "%s: cannot be written: %s", entry.part, strerror(errno))));
    if (o->epoch >= 2 && name(o, o->epoch - 2, &old) == SY_OK)
        unlink(old.path);
    return SY_OK;
}

void sy_order_file_write(const struct sy_order_file *o, const int64_t *order, const int64_t *start) {
    if (is_kept(o) && write_entry(o, order, start) != SY_OK)
        sy_log_warn(o->log, "data: the order of epoch %" PRId64 " is not kept: %s", o->epoch,
                    sy_error_message());
}
