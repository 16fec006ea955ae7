/* Added tokens: texts that are one token wherever they stand, found before all else.
 *
 * Those that are not `normalized` are looked for in the text as it is, then the others in the normalised
 * rest. At each byte the longest one counts; what is found does not overlap.
 */
#ifndef SY_TOKENIZER_ADDED_H
#define SY_TOKENIZER_ADDED_H

#include <stddef.h>
#include <stdint.h>

struct sy_added {
    int32_t id;
    int special;             /* no text when it is decoded */
    int normalized;          /* looked for in normalised text, by its own normalised form */
    int lstrip, rstrip;      /* takes the spaces before, behind it */
    int single_word;         /* not beside a letter, a mark, a digit or a connector */
    char *text, *looked_for; /* in the file; in a text */
    size_t text_bytes, looked_for_bytes;
};

struct sy_trie_node {
    int32_t child, sibling; /* nodes; 0: none */
    int32_t added;          /* which one ends here; -1: none */
    unsigned char byte;
};

struct sy_trie {
    struct sy_trie_node *node; /* [0]: the root */
    int32_t n, capacity;
    int32_t first[256]; /* the root's children by byte */
    int only;           /* the one byte they all begin with; -1: several */
};

/* Local. Puts added[i] for `normalized` ones, or for the others, into a trie; 0 without memory. */
int sy_trie_init(struct sy_trie *t, const struct sy_added *added, int32_t n, int normalized);
void sy_trie_free(struct sy_trie *t);

/* A place in a text where an added token is. */
struct sy_found {
    int32_t added;
    size_t start, end; /* with the spaces that it takes */
    size_t match_end;  /* without: where the next one is looked for */
};

/* Local. The first one from byte `from` on; what lies before `done` belongs to the one before it. 0: none. */
int sy_added_find(const struct sy_trie *t, const struct sy_added *added, const char *text, size_t n,
                  size_t from, size_t done, struct sy_found *found);

#endif
