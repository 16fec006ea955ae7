/* The prompts of generate: those that are given, and those of a file. */
#ifndef SY_COMMANDS_PROMPTS_H
#define SY_COMMANDS_PROMPTS_H

#include "base/log.h"
#include "base/text.h"

struct sy_prompts {
    struct sy_text *at; /* [n] any bytes */
    int64_t n;
};

/* Local. `given` [n_given], then those of the file (NULL: none): JSON lines with "prompt" where the first
 * line is one, else each line that is not empty. Neither: one empty prompt. Pipes, gzip and zstd are read,
 * too. Errors: ERR_IO, ERR_DATA name the file and the line; ERR_USAGE a file without a prompt; ERR_MEMORY.
 * sy_prompts_fini, also after an error. */
sy_status sy_prompts_read(const char *const *given, int n_given, const char *file, const struct sy_log *log,
                          struct sy_prompts *out);
void sy_prompts_fini(struct sy_prompts *prompts);

#endif
