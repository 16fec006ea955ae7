"""Texts for tools/tokenizer_compare.py, made from a seed: ten scripts, emoji, code, NUL, combining marks."""
import random
import unicodedata

RANGES = {  # letters of ten scripts
    "latin": "abcdefghijklmnopqrstuvwxyzàâçéèêëîïôöùûüßñåøœ",
    "greek": [(0x3B1, 0x3C9)],
    "cyrillic": [(0x430, 0x44F)],
    "arabic": [(0x627, 0x64A)],
    "hebrew": [(0x5D0, 0x5EA)],
    "devanagari": [(0x905, 0x939), (0x93E, 0x94C)],
    "thai": [(0xE01, 0xE3A), (0xE40, 0xE4C)],
    "han": [(0x4E00, 0x4FFF)],
    "kana": [(0x3042, 0x3093), (0x30A2, 0x30F3)],
    "hangul": [(0xAC00, 0xAEFF)],
}
EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🇩🇪", "❤️", "🏳️‍🌈", "🫠", "1️⃣"]
CODE = ["for (int i = 0; i < n; i++)\n\tx[i] += y[i];\n", "def f(a, b=1):\n    return a**b  # why\n", "<p class=\"x\">&nbsp;</p>\r\n",
        "SELECT * FROM t WHERE a != 'b';", "{\"k\": [1, 2.5e-3, null]}", "    \t  \n\n\n   x", "a->b->c && !d || ~e", "#!/bin/sh\nset -eu\n"]
MARKS = ["e\u0301", "n\u0303o", "a\u0308\u0323", "\u1e9b\u0323", "\u0041\u030a", "\u1100\u1161\u11a8", "q\u0307\u0323", "\u212b", "\u03d2\u0301"]


def letters(script):
    of = RANGES[script]
    if isinstance(of, str):
        return list(of)
    return [chr(c) for low, high in of for c in range(low, high + 1) if unicodedata.category(chr(c))[0] in "LM"]


def words_of(rng, script, n):
    known = letters(script)
    longest = 3 if script in ("han", "kana", "hangul") else 9
    return ["".join(rng.choice(known[: 4 + i % len(known)]) for _ in range(1 + rng.randrange(longest))) for i in range(n)]


def lines(seed, n):
    """n lines of prose-like text, each in one or two scripts."""
    rng = random.Random(seed)
    known = {s: words_of(rng, s, 400) for s in RANGES}
    out = []
    for _ in range(n):
        scripts = rng.sample(list(RANGES), rng.choice([1, 1, 2]))
        parts = []
        for _ in range(rng.randrange(1, 24)):
            of = known[rng.choice(scripts)]
            word = of[min(int(rng.paretovariate(0.7)) - 1, len(of) - 1)]
            kind = rng.random()
            word = word.capitalize() if kind < 0.2 else word.upper() if kind < 0.23 else word
            word = str(rng.randrange(10 ** rng.randrange(1, 9))) if 0.23 <= kind < 0.3 else word
            word = word + rng.choice(["'s", "'LL", "’t", "'re", "-x"]) if 0.3 <= kind < 0.34 else word
            parts.append(word + rng.choice(["", "", "", ",", ".", "!", "?", ":", "…", "。"]))
        text = rng.choice([" ", " ", " ", "  ", "\n", "\u00a0", "\u3000", ""]).join(parts)
        extra = rng.random()
        if extra < 0.1:
            text += " " + rng.choice(EMOJI)
        elif extra < 0.2:
            text += rng.choice(CODE)
        elif extra < 0.3:
            text = rng.choice(MARKS) + text + rng.choice(MARKS)
        elif extra < 0.33:
            text += "\0" + text[:5]
        out.append(text)
    return out


def strings(seed, n, special):
    """n strings to compare: lines, cut, spaced, joined with special tokens; any characters; any bytes."""
    rng = random.Random(seed)
    known = lines(seed + 1, n // 2)
    assigned = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    spaces = [" ", "\n", "\t", "\r\n", "\u00a0", "\u2003", "\u0085", "\u2028", "\u180e", "\u200b", "\v", "\f", "\x1c"]
    out = []
    while len(out) < n:
        kind = len(out) % 8
        line = rng.choice(known)
        if kind < 3:
            text = line
        elif kind == 3:
            at = rng.randrange(len(line))
            text = line[at:] + "".join(rng.choice(spaces) for _ in range(rng.randrange(6))) + line[:at]
        elif kind == 4:
            text = "".join(rng.choice([rng.choice(special), line[: rng.randrange(12)], rng.choice(spaces)]) for _ in range(6))
        elif kind == 5:
            text = "".join(rng.choice(assigned) for _ in range(rng.randrange(1, 40)))
        elif kind == 6:
            text = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 60))).decode("utf-8", "replace")
        else:
            text = "".join(rng.choice([rng.choice(EMOJI), rng.choice(CODE), rng.choice(MARKS), rng.choice(spaces) * rng.randrange(1, 9),
                                       "\0", rng.choice(assigned[:1000])]) for _ in range(rng.randrange(1, 9)))
        if text and not text.startswith("\ufeff"):  # no document is empty, and a mark in front is dropped
            out.append(text)
    return out
