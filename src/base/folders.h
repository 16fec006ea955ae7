/* Folders that last: made with their parents, synced, whatever signals come in between. */
#ifndef SY_BASE_FOLDERS_H
#define SY_BASE_FOLDERS_H

#include "base/status.h"

enum { SY_PATH_BYTES = 4096 }; /* of a path with its NUL */

/* Local. Makes the folder and the parents that are missing; each new one is durable when this returns. One
 * that is there is fine. Errors: ERR_USAGE a path that is too long, ERR_IO names the folder that cannot be
 * made. */
sy_status sy_folder_make(const char *path);

/* Local. What was made, renamed or removed in it is durable. Errors: ERR_IO. */
sy_status sy_folder_sync(const char *path);

#endif
