/* The folder data.cache_dir: what is made of data files once. An entry is a file that is complete whenever
 * its name is there: it is written as NAME.part, synced, renamed. Its name is the hash of what it is made
 * of: of a data file its path, size, inode and times; options; the tokenizer's hash. Whoever makes an entry
 * holds a lock (flock) on its .part; others wait for it and find the entry. A .part that nobody holds is
 * written over.
 */
#ifndef SY_DATA_CACHE_H
#define SY_DATA_CACHE_H

#include <sys/types.h>

#include "base/folders.h"
#include "base/log.h"
#include "base/text.h"

/* Local. Adds what says whether a file is the one that it was: its whole path, size, inode, times of its
 * content and its state. Errors: ERR_IO, ERR_MEMORY. */
sy_status sy_cache_identify(const char *path, struct sy_text *identity);

struct sy_cache_entry {
    char key[33];
    char path[SY_PATH_BYTES], part[SY_PATH_BYTES + 8];
    int fd; /* of .part, locked; -1: none */
};

/* Local. Names an entry by the XXH3-128 of its identity. Errors: ERR_USAGE the path is too long. */
sy_status sy_cache_name(const char *dir, const struct sy_text *identity, const char *suffix,
                        struct sy_cache_entry *out);

/* Local. To make an entry: an empty .part of its own, unless another made the entry meanwhile: then
 * *is_there. `old`: the inode of one that is damaged and will be replaced; 0: none. Makes the folder.
 * Errors: ERR_IO. */
sy_status sy_cache_begin(struct sy_cache_entry *entry, ino_t old, const struct sy_log *log, int *is_there);

/* Local. The entry is there, durably; `status` and .part gone if it is an error. .part was synced. */
sy_status sy_cache_end(struct sy_cache_entry *entry, sy_status status);

/* Local. The inode of an entry that is there; 0: none. */
ino_t sy_cache_inode(const struct sy_cache_entry *entry);

/* Local. A number that was kept, by its bits; 0: there is none, or it is damaged. What fails in keeping it
 * is left to the next start. */
int sy_cache_get(const struct sy_cache_entry *entry, double *out);
void sy_cache_put(struct sy_cache_entry *entry, double value);

#endif
