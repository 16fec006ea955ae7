/* llm.c's files of tokens: see token_file.h. */
#include <inttypes.h>

#include "base/files.h"
#include "formats/token_parts.h"

enum { HEAD_INTS = 256 };

static const struct {
    int32_t magic, version;
    enum sy_ids ids;
} kinds[] = {{20240520, 1, SY_IDS_U16}, {20240801, 7, SY_IDS_U32}};

int sy_token_is_llmc(int32_t magic) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].magic == magic)
            return 1;
    return 0;
}

static sy_status choose(const char *path, const int32_t head[HEAD_INTS], enum sy_ids *ids) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (kinds[i].magic != head[0])
            continue;
        *ids = kinds[i].ids;
        if (kinds[i].version == head[1])
            return SY_OK;
        SY_FAIL(SY_ERR_DATA,
                "%s: an llm.c file of magic %" PRId32 " and version %" PRId32 ": version %" PRId32 " is read",
                path, head[0], head[1], kinds[i].version);
    }
    SY_FAIL(SY_ERR_DATA, "%s: magic %" PRId32 " is not one of llm.c's (20240520, 20240801)", path, head[0]);
}

sy_status sy_token_head_llmc(const char *path, struct sy_token_file *file) {
    int32_t head[HEAD_INTS];
    int64_t bytes;
    SY_TRY(sy_token_open_fd(path, &file->fd, &bytes));
    SY_TRY(sy_file_need(path, file->fd, 0, head, sizeof head));
    SY_TRY(choose(path, head, &file->ids));
    file->base = sizeof head;
    file->n = head[2];
    file->stored[0].bytes = bytes;
    int64_t size = sy_ids_bytes(file->ids);
    if (file->n < 0 || bytes != file->base + file->n * size)
        SY_FAIL(SY_ERR_DATA,
                "%s: its head counts %" PRId64 " tokens of %" PRId64 " bytes, %" PRId64
                " bytes with the head; the file has %" PRId64 ": it is cut or damaged",
                path, file->n, size, file->base + file->n * size, bytes);
    return SY_OK;
}

sy_status sy_token_open_llmc(const char *path, const struct sy_token_options *o, struct sy_token_file *file) {
    SY_TRY(sy_token_head_llmc(path, file));
    return sy_token_scan(&(struct sy_token_scan){.file = file, .o = o});
}
