"""blocks.py PICTURE.png REFERENCE.txt [write]: means of 25 x 25 blocks of a picture beside a reference, loosely.

Passes if the blocks are as many, differ by less than 6 of 255 on average, and fewer than 3 % of them by more than 60.
"""
import struct
import sys
import zlib


def rows(path):
    """Rows of grey values of an 8-bit RGB or RGBA PNG."""
    data = open(path, "rb").read()
    at, packed = 8, b""
    while at < len(data):
        n, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + n]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
            assert depth == 8 and colour in (2, 6), (depth, colour)
        packed += body if kind == b"IDAT" else b""
        at += 12 + n
    raw, step = zlib.decompress(packed), 4 if colour == 6 else 3
    before = bytearray(width * step)
    for y in range(height):
        line = raw[y * (width * step + 1):(y + 1) * (width * step + 1)]
        how, line = line[0], bytearray(line[1:])
        for i in range(len(line)):
            a = line[i - step] if i >= step else 0
            b, c = before[i], before[i - step] if i >= step else 0
            if how == 1:
                line[i] = line[i] + a & 255
            elif how == 2:
                line[i] = line[i] + b & 255
            elif how == 3:
                line[i] = line[i] + (a + b) // 2 & 255
            elif how == 4:
                p = a + b - c
                pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
                line[i] = line[i] + (a if pa <= pb and pa <= pc else b if pb <= pc else c) & 255
        before = line
        yield [(line[x] + line[x + 1] + line[x + 2]) // 3 for x in range(0, width * step, step)]


def blocks(path, size=25):
    out, sums, n = [], None, 0
    for row in rows(path):
        parts = [sum(row[x:x + size]) / len(row[x:x + size]) for x in range(0, len(row), size)]
        sums = parts if sums is None else [a + b for a, b in zip(sums, parts)]
        n += 1
        if n == size:
            out.append([round(s / n) for s in sums])
            sums, n = None, 0
    return out


picture, reference = sys.argv[1:3]
now = blocks(picture)
if sys.argv[3:] == ["write"]:
    with open(reference, "w") as f:
        for line in now:
            f.write(" ".join(map(str, line)) + "\n")
    sys.exit(0)
was = [list(map(int, line.split())) for line in open(reference)]
if [len(r) for r in now] != [len(r) for r in was]:
    sys.exit(f"{picture}: {len(now)} rows of blocks, the reference has {len(was)}")
apart = [abs(a - b) for x, y in zip(now, was) for a, b in zip(x, y)]
mean, far = sum(apart) / len(apart), sum(d > 60 for d in apart) / len(apart)
if mean >= 6 or far >= 0.03:
    sys.exit(f"{picture}: blocks differ by {mean:.1f} on average, {100 * far:.1f} % of them by more than 60")
