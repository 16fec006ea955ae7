/* The build id: see build_id.h. */
#include "base/build_id.h"

#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* A note is its header, name and content, each padded to 4 bytes. */
static void note_of(const char *at, size_t bytes, char *out) {
    size_t i = 0;
    while (i + sizeof(ElfW(Nhdr)) <= bytes) {
        const ElfW(Nhdr) *n = (const void *)(at + i);
        size_t name = i + sizeof *n, content = name + (n->n_namesz + 3) / 4 * 4;
        if (n->n_type == NT_GNU_BUILD_ID && n->n_namesz == 4 && memcmp(at + name, "GNU", 4) == 0 &&
            n->n_descsz < SY_BUILD_ID_CHARS / 2) {
            for (unsigned k = 0; k < n->n_descsz; k++)
                snprintf(out + 2 * k, 3, "%02x", (unsigned char)at[content + k]);
            return;
        }
        i = content + (n->n_descsz + 3) / 4 * 4;
    }
}

static int object(struct dl_phdr_info *info, size_t size, void *out) {
    uintptr_t self = (uintptr_t)(void (*)(char *))sy_build_id;
    int mine = 0;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        mine |= p->p_type == PT_LOAD && self - info->dlpi_addr - p->p_vaddr < p->p_memsz;
    }
    for (int i = 0; mine && i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type == PT_NOTE && ((char *)out)[0] == '\0')
            note_of((const char *)(info->dlpi_addr + p->p_vaddr), p->p_memsz, out);
    }
    return mine;
}

void sy_build_id(char out[SY_BUILD_ID_CHARS]) {
    out[0] = '\0';
    dl_iterate_phdr(object, out);
}
