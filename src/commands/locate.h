/* Where in a step two runs part: the step is done again from both runs' configurations and checkpoints,
 * and the first value that differs is named, with the bits of both.
 *
 * Values have the same names in every layout (values.h): what of a layer, of which sequence of the
 * batch; a gradient's sum over which lanes, up to which round. They are compared in the order in which
 * the first run computes them, so that nothing before the one that is named differs. */
#ifndef SY_COMMANDS_LOCATE_H
#define SY_COMMANDS_LOCATE_H

#include <stdint.h>

#include "base/status.h"

/* Local. Errors: those of sessions and checkpoints; ERR_MEMORY. */
sy_status sy_locate(const char *a, const char *b, int64_t step, const struct sy_io *io);

#endif
