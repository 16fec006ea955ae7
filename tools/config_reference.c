/* Prints docs/CONFIG.md, which the library makes from its own tables of options. `make docs` writes the
 * file. */
#include <stdio.h>

#include "switchyard.h"

static void write_stdout(void *user, const char *text, size_t n) { fwrite(text, 1, n, user); }

int main(void) {
    sy_config_reference(write_stdout, stdout);
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
