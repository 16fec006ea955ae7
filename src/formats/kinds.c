/* A table of first bytes: see kinds.h. */
#include "formats/kinds.h"

#include <stdint.h>
#include <string.h>

#define TOKENS "data.format = auto or tokens reads it where a model is trained"
#define CONVERT "it holds no plain text: extract the text first, or leave the file out"
#define LEAVE_OUT "leave it out: it holds no text"

struct magic {
    size_t at;
    const char *bytes;
    size_t n;
    int could_be_text; /* counts only where something is not UTF-8 */
    struct sy_kind kind;
};

#define SURE(at, bytes, what, remedy) {at, bytes, sizeof bytes - 1, 0, {what, remedy}},
#define WEAK(at, bytes, what, remedy) {at, bytes, sizeof bytes - 1, 1, {what, remedy}},

/* clang-format off */
/* The first that fits counts. */
static const struct magic magics[] = {
    SURE(0, "\xff\xfe\0\0", "UTF-32 text", "make it UTF-8: iconv -f UTF-32 -t UTF-8 FILE > NEW")
    SURE(0, "\0\0\xfe\xff", "UTF-32 text", "make it UTF-8: iconv -f UTF-32 -t UTF-8 FILE > NEW")
    SURE(0, "\xff\xfe", "UTF-16 text", "make it UTF-8: iconv -f UTF-16 -t UTF-8 FILE > NEW")
    SURE(0, "\xfe\xff", "UTF-16 text", "make it UTF-8: iconv -f UTF-16 -t UTF-8 FILE > NEW")
    /* packed: gzip and zstd are unpacked by the reader, so what still begins so was packed twice */
    SURE(0, "\x1f\x8b", "gzip inside of gzip or zstd", "unpack it once: gzip -dk FILE, or zstd -dk FILE")
    SURE(0, "\x28\xb5\x2f\xfd", "zstd inside of gzip or zstd", "unpack it once: gzip -dk FILE, or zstd -dk FILE")
    SURE(0, "\xfd" "7zXZ\0", "an xz file", "unpack it: xz -dk FILE")
    SURE(0, "BZh91AY&SY", "a bzip2 file", "unpack it: bzip2 -dk FILE")
    WEAK(0, "BZh", "a bzip2 file", "unpack it: bzip2 -dk FILE")
    SURE(0, "\x04\x22\x4d\x18", "an lz4 file", "unpack it: lz4 -dk FILE")
    SURE(0, "LZIP\x01", "an lzip file", "unpack it: lzip -dk FILE")
    SURE(0, "\x1f\x9d", "a compress (.Z) file", "unpack it: uncompress FILE")
    SURE(0, "PK\x03\x04", "a zip archive (also .docx, .xlsx, .epub, .npz, .pt)", "unpack it: unzip FILE")
    SURE(0, "7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it: 7z x FILE")
    SURE(0, "Rar!\x1a\x07", "a rar archive", "unpack it: unrar x FILE")
    SURE(257, "ustar\0", "a tar archive", "unpack it: tar xf FILE")
    SURE(257, "ustar  \0", "a tar archive", "unpack it: tar xf FILE")
    /* tables and tensors */
    WEAK(0, "PAR1", "a Parquet file",
         "make it JSON Lines, as with pandas: read_parquet(FILE).to_json(NEW, orient='records', lines=True)")
    SURE(0, "ARROW1\0", "an Arrow file", "make it JSON Lines, one object a line")
    SURE(0, "Obj\x01", "an Avro file", "make it JSON Lines, one object a line")
    WEAK(0, "ORC", "an ORC file", "make it JSON Lines, one object a line")
    SURE(0, "SQLite format 3\0", "an SQLite database", "make it JSON Lines, one object a line")
    SURE(0, "\x89HDF\r\n\x1a\n", "an HDF5 file", "make it JSON Lines, one object a line")
    SURE(0, "\x93NUMPY", "a NumPy array", LEAVE_OUT)
    SURE(0, "MMIDIDX\0", "an index of tokens (Megatron)", "its ids must stand beside it in a .bin; " TOKENS)
    SURE(0, "\x88\xd8\x34\x01", "a file of tokens (llm.c)", TOKENS)
    SURE(0, "\xa1\xd9\x34\x01", "a file of tokens (llm.c)", TOKENS)
    WEAK(0, "GGUF", "a GGUF model", LEAVE_OUT)
    SURE(0, "\x80\x02", "a Python pickle", CONVERT)
    SURE(0, "\x80\x03", "a Python pickle", CONVERT)
    SURE(0, "\x80\x04", "a Python pickle", CONVERT)
    SURE(0, "\x80\x05", "a Python pickle", CONVERT)
    /* documents, pictures, sound, programs */
    SURE(0, "%PDF-", "a PDF", "extract its text: pdftotext FILE")
    SURE(0, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document", CONVERT)
    SURE(0, "\x89PNG\r\n\x1a\n", "a PNG picture", LEAVE_OUT)
    SURE(0, "\xff\xd8\xff", "a JPEG picture", LEAVE_OUT)
    WEAK(0, "GIF8", "a GIF picture", LEAVE_OUT)
    SURE(0, "II*\0", "a TIFF picture", LEAVE_OUT)
    SURE(0, "MM\0*", "a TIFF picture", LEAVE_OUT)
    WEAK(0, "RIFF", "a WebP, WAV or AVI file", LEAVE_OUT)
    SURE(0, "OggS\0", "an Ogg file", LEAVE_OUT)
    SURE(0, "fLaC\0", "a FLAC file", LEAVE_OUT)
    WEAK(0, "ID3", "an MP3 file", LEAVE_OUT)
    WEAK(4, "ftyp", "an MP4 film", LEAVE_OUT)
    SURE(0, "\x7f" "ELF", "a program (ELF)", LEAVE_OUT)
    SURE(0, "\xcf\xfa\xed\xfe", "a program (Mach-O)", LEAVE_OUT)
    WEAK(0, "MZ", "a program (Windows)", LEAVE_OUT)
    SURE(0, "\xca\xfe\xba\xbe", "a program (Java or Mach-O)", LEAVE_OUT)
    SURE(0, "\0asm", "a program (WebAssembly)", LEAVE_OUT)
};
/* clang-format on */

static int is_safetensors(const char *s, size_t n) {
    return n >= 10 && s[5] == 0 && s[6] == 0 && s[7] == 0 && s[8] == '{' && (s[9] == '"' || s[9] == '}');
}

/* Text of two or four bytes a character without a mark: most characters of every script but the CJK ones
 * have a zero in the same place, and none elsewhere. */
static const struct sy_kind *wide(const char *s, size_t n) {
    static const struct sy_kind utf32 = {
        "UTF-32 text without a mark", "make it UTF-8: iconv -f UTF-32LE (or UTF-32BE) -t UTF-8 FILE > NEW"};
    static const struct sy_kind utf16 = {
        "UTF-16 text without a mark", "make it UTF-8: iconv -f UTF-16LE (or UTF-16BE) -t UTF-8 FILE > NEW"};
    size_t zeros[4] = {0}, m = (n < 4096 ? n : 4096) / 4;
    for (size_t i = 0; i < 4 * m; i++)
        zeros[i % 4] += s[i] == 0;
    if (m == 0)
        return NULL;
    size_t few = m / 10, most = m - few, even = zeros[0] + zeros[2], odd = zeros[1] + zeros[3];
    if ((zeros[3] >= most && zeros[2] >= most && zeros[0] <= few) ||
        (zeros[0] >= most && zeros[1] >= most && zeros[3] <= few))
        return &utf32;
    if ((odd >= m && even <= few) || (even >= m && odd <= few)) /* half of the 2m characters */
        return &utf16;
    return NULL;
}

const struct sy_kind *sy_kind_of(const char *head, size_t n, int broken) {
    static const struct sy_kind safetensors = {"a safetensors file", LEAVE_OUT},
                                tokens = {"a file of tokens", TOKENS};
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++) {
        const struct magic *m = &magics[i];
        if (n >= m->at + m->n && memcmp(head + m->at, m->bytes, m->n) == 0 && (broken || !m->could_be_text))
            return &m->kind;
    }
    if (!is_safetensors(head, n))
        return wide(head, n);
    return memmem(head, n, "\"switchyard tokens ", 19) ? &tokens : &safetensors;
}
