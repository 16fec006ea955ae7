/* Text for a caller's io. */
#ifndef SY_TRAIN_IO_H
#define SY_TRAIN_IO_H

#include "base/log.h"
#include "base/status.h"

/* To io->write, if there is one. */
void sy_io_write(const struct sy_io *io, const char *text, size_t n);

/* printf to io->write; longer than 4095 bytes is cut. */
void sy_io_printf(const struct sy_io *io, const char *fmt, ...) SY_PRINTF(2, 3);

/* A log that goes to io->log. */
struct sy_log sy_io_log(const struct sy_io *io);

#endif
