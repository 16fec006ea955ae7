/* switchyard diff: its parts. What differs in the configuration is told first, then the first step, then
 * tensors. */
#ifndef SY_COMMANDS_DIFF_H
#define SY_COMMANDS_DIFF_H

#include "base/status.h"

enum { SY_DIFF_PATH = 4096 };

/* Local. Prints the values of the configurations that differ. One that cannot be read is told and
 * compared with none: the bits decide. Errors: ERR_MEMORY. */
sy_status sy_diff_config(const struct sy_io *io, const char *a, const char *b);

/* Local. Prints the tensors of two folders of safetensors files that differ; *equal 0 if any does.
 * Errors: ERR_IO, ERR_DATA, ERR_MEMORY. */
sy_status sy_diff_tensors(const struct sy_io *io, const char *a, const char *b, int *equal);

#endif
