/* safetensors: uint64 header length (little-endian) | JSON header | data.
 *
 *     {"__metadata__":{"k":"v"},"name":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}
 *
 * Every rule of the format is enforced before a tensor is seen: header <= 100 MB and valid UTF-8 JSON that
 * starts with '{'; no duplicate names; dtype x shape = bytes, without overflow; offsets, from the data's
 * start, contiguous from 0 to the end of the file: no hole, overlap or trailing byte. The reader holds a
 * descriptor and reads with pread, not mmap: a file that shrinks or a disk that fails is an error, not a
 * SIGBUS. The writer streams and never seeks; equal input gives equal bytes. Little-endian hosts.
 */
#ifndef SY_FORMATS_SAFETENSORS_H
#define SY_FORMATS_SAFETENSORS_H

#include "base/status.h"

/* enumerator, name in the file, bits of one element */
#define SY_SAFETENSORS_DTYPE_LIST(X) \
    X(BOOL, "BOOL", 8)               \
    X(F4, "F4", 4)                   \
    X(F6_E2M3, "F6_E2M3", 6)         \
    X(F6_E3M2, "F6_E3M2", 6)         \
    X(U8, "U8", 8)                   \
    X(I8, "I8", 8)                   \
    X(F8_E5M2, "F8_E5M2", 8)         \
    X(F8_E4M3, "F8_E4M3", 8)         \
    X(F8_E8M0, "F8_E8M0", 8)         \
    X(F8_E4M3FNUZ, "F8_E4M3FNUZ", 8) \
    X(F8_E5M2FNUZ, "F8_E5M2FNUZ", 8) \
    X(U16, "U16", 16)                \
    X(I16, "I16", 16)                \
    X(F16, "F16", 16)                \
    X(BF16, "BF16", 16)              \
    X(U32, "U32", 32)                \
    X(I32, "I32", 32)                \
    X(F32, "F32", 32)                \
    X(U64, "U64", 64)                \
    X(I64, "I64", 64)                \
    X(F64, "F64", 64)                \
    X(C64, "C64", 64)

enum sy_safetensors_dtype {
#define X(name, text, bits) SY_SAFETENSORS_##name,
    SY_SAFETENSORS_DTYPE_LIST(X)
#undef X
        SY_SAFETENSORS_DTYPES
};

enum {
    SY_SAFETENSORS_MAX_DIMS = 32,
    SY_SAFETENSORS_MAX_HEADER = 100 * 1000 * 1000,
    SY_SAFETENSORS_HASH_CHARS = 33
};

struct sy_safetensors_tensor {
    const char *name; /* NUL-terminated UTF-8, owned by the file */
    enum sy_safetensors_dtype dtype;
    int n_dims;                            /* 0: a scalar */
    int64_t dims[SY_SAFETENSORS_MAX_DIMS]; /* outermost first; zeros are legal */
    int64_t n_elements;
    int64_t offset; /* bytes from the start of the FILE */
    int64_t bytes;
    /* inside the caller's buffer after sy_safetensors_parse (unaligned); NULL after sy_safetensors_open */
    const void *data;
};

struct sy_safetensors_pair {
    const char *key, *value;
};

struct sy_safetensors; /* an open file */

/* Local. "F32" … for a dtype; bits of one element, and whole bytes: 0 of F4 and F6. */
const char *sy_safetensors_dtype_name(enum sy_safetensors_dtype dtype);
int sy_safetensors_dtype_bits(enum sy_safetensors_dtype dtype);
int sy_safetensors_dtype_bytes(enum sy_safetensors_dtype dtype);

/* Local. "[2, 3]", cut at `bytes`. */
void sy_safetensors_shape(const struct sy_safetensors_tensor *tensor, char *out, size_t bytes);

/* Local. Opens and checks a file. Errors: ERR_IO (cannot be read), ERR_DATA (breaks a rule; says which and
 * where), ERR_MEMORY. Close with sy_safetensors_close (NULL is fine). */
sy_status sy_safetensors_open(const char *path, struct sy_safetensors **out);

/* Local. The same for a whole file in memory, which must outlive *out; `name` is used in messages. */
sy_status sy_safetensors_parse(const char *name, const void *data, size_t bytes, struct sy_safetensors **out);

void sy_safetensors_close(struct sy_safetensors *file);

/* Local. The tensors by ascending offset; the metadata pairs in the file's order; bytes of the whole file. */
int64_t sy_safetensors_count(const struct sy_safetensors *file);
const struct sy_safetensors_tensor *sy_safetensors_at(const struct sy_safetensors *file, int64_t i);
int64_t sy_safetensors_metadata_count(const struct sy_safetensors *file);
struct sy_safetensors_pair sy_safetensors_metadata_at(const struct sy_safetensors *file, int64_t i);
int64_t sy_safetensors_file_bytes(const struct sy_safetensors *file);

/* Local. By name, O(log n); NULL if there is none. */
const struct sy_safetensors_tensor *sy_safetensors_find(const struct sy_safetensors *file, const char *name);

/* Local. Copies `bytes` bytes from `first` bytes into the tensor to dst. Errors: ERR_USAGE range, ERR_IO,
 * ERR_DATA (the file became shorter). Safe from several threads. */
sy_status sy_safetensors_read(const struct sy_safetensors *file, const struct sy_safetensors_tensor *tensor,
                              int64_t first, int64_t bytes, void *dst);

/* ---- writer: open, metadata*, declare*, write*, finish; or lay, and join for each of several ----------- */
struct sy_safetensors_writer;

struct sy_safetensors_written {
    int64_t bytes; /* of the whole file */
    char header_hash
        [SY_SAFETENSORS_HASH_CHARS]; /* XXH3-128 of all bytes before the data, as `xxhsum -H128` prints it */
};

/* Local. Creates `path`, which must not exist. The writer ends with finish or abandon. */
sy_status sy_safetensors_writer_open(const char *path, struct sy_safetensors_writer **out);

/* Local. One metadata string pair; before the first write, keys in bytewise ascending order. */
sy_status sy_safetensors_writer_metadata(struct sy_safetensors_writer *w, const char *key, const char *value);

/* Local. Declares the next tensor; names in bytewise ascending order; before the first write. */
sy_status sy_safetensors_writer_declare(struct sy_safetensors_writer *w, const char *name,
                                        enum sy_safetensors_dtype dtype, int n_dims, const int64_t *dims);

/* Local. The next bytes of the data, in order of declaration; pieces of any size. The first call writes
 * the header. Errors: ERR_IO with path, tensor and errno's text; ERR_USAGE more bytes than declared. After
 * an error: abandon. */
sy_status sy_safetensors_writer_write(struct sy_safetensors_writer *w, const void *data, size_t bytes);

/* Local. Ends the file; do_fsync 1 makes it durable (the folder's fsync is the caller's). Frees the writer
 * whatever the result; on error the file is removed. ERR_USAGE if fewer bytes came than were declared.
 * `out` may be NULL. */
sy_status sy_safetensors_writer_finish(struct sy_safetensors_writer *w, int do_fsync,
                                       struct sy_safetensors_written *out);

/* Local. Ends the file with a header and its whole length, but no data: several writers, also of other
 * processes, may then join. Otherwise as finish. */
sy_status sy_safetensors_writer_lay(struct sy_safetensors_writer *w, struct sy_safetensors_written *out);

/* Local. Opens a file that was laid out, to write parts of it: the same metadata and declarations follow,
 * then write_at, then finish, which looks for no data that are missing. The file stays when it ends. */
sy_status sy_safetensors_writer_join(const char *path, struct sy_safetensors_writer **out);

/* Local. Bytes from byte `first` on of tensor `tensor`, counted as declared. Errors: those of write. */
sy_status sy_safetensors_writer_write_at(struct sy_safetensors_writer *w, int64_t tensor, int64_t first,
                                         const void *data, size_t bytes);

/* Local. Closes the file, removes it unless it was joined, and frees the writer; NULL is fine. */
void sy_safetensors_writer_abandon(struct sy_safetensors_writer *w);

#endif
