/* Which build this code is: the linker's build id (ELF note NT_GNU_BUILD_ID, a hash over all of it) of the
 * program or library that this function is part of. */
#ifndef SY_BASE_BUILD_ID_H
#define SY_BASE_BUILD_ID_H

enum { SY_BUILD_ID_CHARS = 65 }; /* up to 32 bytes in hex, and NUL */

/* "" if the linker wrote none. */
void sy_build_id(char out[SY_BUILD_ID_CHARS]);

#endif
