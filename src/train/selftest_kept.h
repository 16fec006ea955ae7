/* That a GPU has passed the class's self-test, kept for the next start: a file
 * $XDG_CACHE_HOME/switchyard/selftest-UUID (~/.cache without the variable) that names GPU, driver, build
 * and class. A start that finds exactly these does not test again; any other text is as none. */
#ifndef SY_TRAIN_SELFTEST_KEPT_H
#define SY_TRAIN_SELFTEST_KEPT_H

#include "device/cuda.h"

/* Local. A build without a build id (base/build_id.h) keeps nothing. */
int sy_selftest_is_kept(const struct sy_cuda_about *gpu, const char *numeric_class);

/* Local. A cache that cannot be written is none: the next start tests again. */
void sy_selftest_keep(const struct sy_cuda_about *gpu, const char *numeric_class);

#endif
