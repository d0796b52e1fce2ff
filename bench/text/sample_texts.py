"""Texts for tokenizer tests and benches: made, not downloaded, the same for the same seed."""
import pathlib
import random
import sysconfig
import unicodedata

WORDS = ("the of and to in a is that it was for on are with as his they be at one have this from or had "
         "by hot but some what there we can out other were all your when up use word how said an each "
         "she which do their time if will way about many then them would write like so these her long "
         "make thing see him two has look more day could go come did my sound no most number who over "
         "know water than call first people may down side been now find don't I'll you're it's he'd "
         "Tokenizer's INTERNATIONAL pre-trained state-of-the-art e.g. 3.14159 1,234,567 2024-07-26").split()
SCRIPTS = [(0x4E00, 0x9FA5), (0x3041, 0x30FF), (0xAC00, 0xD7A3), (0x410, 0x44F), (0x391, 0x3C9),
           (0x5D0, 0x5EA), (0x621, 0x64A), (0x905, 0x939), (0xE01, 0xE2E), (0xC0, 0x17F)]
EMOJI = ["\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f44d\U0001f3fd", "\u2764\ufe0f", "\U0001f1e9\U0001f1ea", "1\ufe0f\u20e3"]
SPACES = [" ", "  ", "    ", "\t", "\n", "\r\n", "\n\n\n", " \n ", "\u00a0", "\u2003", "\u3000", "\u2028", "\u200b", "\v", "\f", "\x85", "\u180e", " \t \n  "]
MARKS = ["e\u0301", "n\u0303\u0323", "\u1e9b\u0323", "\u0915\u094d\u0937", "a\u0308\u0301\u0327", "\uac00\u11a8", "\u212b", "\ufb01", "\u00bd", "\u0e33"]


def english(rng, size):
    out, length = [], 0
    while length < size:
        n = rng.randint(4, 18)
        sentence = " ".join(rng.choice(WORDS) for _ in range(n)).capitalize() + rng.choice(".?!;:")
        sentence += rng.choice([" ", " ", "\n", "\n\n"])
        out.append(sentence)
        length += len(sentence)
    return "".join(out)[:size]


def code(rng, size):
    root = pathlib.Path(sysconfig.get_paths()["stdlib"])
    out, length = [], 0
    for path in sorted(root.glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        out.append(text)
        length += len(text)
        if length >= size:
            break
    return "".join(out)[:size]


def chinese(rng, size):
    out = []
    for _ in range(size // 3):
        pick = rng.random()
        if pick < 0.1:
            out.append(rng.choice("\uff0c\u3002\uff01\uff1f\u3001\u201c\u201d\uff1a"))
        elif pick < 0.13:
            out.append(rng.choice(["2024", "AI", " GPU ", "\n", "\u7684", "\u4e86"]))
        else:
            out.append(chr(0x4E00 + int(rng.random() ** 2 * 0x51A5)))
    return "".join(out)


def random_character(rng):
    """Any character of Unicode 3.2: the libraries differ in the later versions they know."""
    while True:
        low, high = rng.choice([(0x20, 0x250), (0x250, 0xD7FF), (0xE000, 0xFFFD), (0x10000, 0x1FAFF)])
        character = chr(rng.randrange(low, high))
        if unicodedata.ucd_3_2_0.category(character) != "Cn":
            return character


def mixed(rng, size):
    out, length = [], 0
    while length < size:
        kind = rng.randrange(8)
        if kind == 0:
            low, high = rng.choice(SCRIPTS)
            part = "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 12)))
        elif kind == 1:
            part = rng.choice(EMOJI) * rng.randint(1, 3)
        elif kind == 2:
            part = rng.choice(SPACES) * rng.randint(1, 4)
        elif kind == 3:
            part = "".join(rng.choice(MARKS) for _ in range(rng.randint(1, 4)))
        elif kind == 4:
            part = "".join(rng.choice("0123456789.,-+/%$\u0664\u00b2\u216b") for _ in range(rng.randint(1, 9)))
        elif kind == 5:
            part = "".join(rng.choice("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\u2026\u2014\u00a7\u20ac") for _ in range(rng.randint(1, 6)))
        elif kind == 6:
            part = "".join(random_character(rng) for _ in range(rng.randint(1, 3)))
        else:
            part = rng.choice(["", " ", "'"]) + rng.choice(WORDS) + rng.choice(["", " ", "'s", "'LL", "\n"])
        out.append(part)
        length += len(part)
    return "".join(out)


def adversarial(size):
    return {"a": "a" * size, "spaces": " " * size, "newlines": "\n" * size,
            "emoji": "\U0001f600" * (size // 4), "digits": "7" * size, "marks": "a" + "\u0301\u0327" * (size // 4),
            "spaces_then_x": (" " * 1000 + "x") * (size // 1001), "ab": "ab" * (size // 2),
            "quotes": "'" * size, "underscores": "_=" * (size // 2), "angle": "<|im_" * (size // 5)}


def all_texts(size, seed=1):
    rng = random.Random(seed)
    return {"english": english(rng, size), "code": code(rng, size), "chinese": chinese(rng, size),
            "mixed": mixed(rng, size)}
