"""Makes tokenizer.bin.gz: texts of every kind, and the ids that OpenAI's own tokenizer gives them.

    git clone https://github.com/openai/CLIP
    pip install ftfy==6.3.1 regex
    python tests/reference/tokenizer.py CLIP/clip/simple_tokenizer.py tests/reference/tokenizer.bin.gz
    python tests/reference/tokenizer.py CLIP/clip/simple_tokenizer.py everything.bin.gz --all-code-points

The committed file was made with Python 3.11 (Unicode 14), ftfy 6.3.1 and regex 2026.11.15. With --all-code-points every code point is written
alone and between letters and digits, which makes 2.2 million texts: too much to commit, but `ODDLENS_TOKENIZER_REFERENCE=everything.bin.gz
cargo test --test tokenizer` reads it.

The file, gzipped: first the texts, each as a 32-bit little-endian length in bytes and UTF-8; a length of 0xFFFFFFFF; then for every text a 32-bit
count and that many 16-bit ids, without start and end.
"""

import gzip
import html.entities
import importlib.util
import random
import struct
import sys
import unicodedata

import ftfy.bad_codecs  # registers the sloppy codecs

SENTENCES = [
    "a photo of a dog",
    "a photo of something",
    "The quick brown fox jumps over the lazy dog, twice; then it sleeps!",
    "A broken bottle (seen from above) on a grey table.",
    "Ein schöner Tag im Frühling: Äpfel, Öl & Übermut, Straße und Fuß.",
    "Où est passé le garçon? Là-bas, près de l'hôtel, où l'on mange des crêpes à la crème.",
    "¿Dónde está el niño? ¡Mañana será otro día!",
    "São Paulo não é a capital; às vezes chove à tarde, até de manhã.",
    "Città più bella, perché così è la vita.",
    "Gęś zażółciła jaźń; łódź płynie ku źródłu.",
    "Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "Árvíztűrő tükörfúrógép.",
    "Şişli'de bir ağaç, ılık İstanbul ve IŞIK.",
    "Ģimenes ēda ķiršus un žāvētas zivis Rīgā.",
    "Įlinkdama fechtuotojo špaga sublykčiojusi.",
    "Blåbær, smørrebrød og æbler på øen.",
    "Það er kalt í dag, þó skín sólin.",
    "Bună ziua, ţară; țară şi știință în română.",
    "Быстрая лиса прыгает через ленивую собаку. Ёж и щука.",
    "Їжак ґаздує в гаю, а Є — ні.",
    "Добро јутро, љубав и њива; ћирилица.",
    "Η γρήγορη αλεπού πηδά. ΟΔΥΣΣΕΥΣ ΣΟΦΟΣ Σ ς σ Ά Ή ΐ ΰ",
    "שלום עולם, זה כלב.",
    "مرحبا بالعالم، هذا كلب ٣٤٥.",
    "سلام دنیا، این یک سگ است ۱۲۳.",
    "नमस्ते दुनिया, यह एक कुत्ता है १२३।",
    "ওহে বিশ্ব, এটি একটি কুকুর ১২৩।",
    "வணக்கம் உலகம், இது ஒரு நாய்.",
    "สวัสดีชาวโลก นี่คือสุนัข ๑๒๓",
    "ສະບາຍດີຊາວໂລກ",
    "မင်္ဂလာပါ ကမ္ဘာလောက",
    "გამარჯობა მსოფლიო. ᲒᲐᲛᲐᲠᲯᲝᲑᲐ",
    "Բարեւ աշխարհ, ԵՒ և",
    "ሰላም ልዑል ፩፪፫",
    "你好，世界！这是一只狗。",
    "こんにちは世界。これは犬です。ﾊﾝｶｸｶﾀｶﾅ ガギグ",
    "안녕하세요 세계, 이것은 개입니다. 각",
    "Xin chào thế giới, đây là một con chó; Việt Nam đẹp.",
    "ᏣᎳᎩ ꮳꮃꭹ",
    "𐐔𐐇𐐝𐐀𐐡𐐇𐐓 𐐯𐐻",
    "ⵜⴰⵎⴰⵣⵉⵖⵜ ߒߞߏ ᓀᐦᐃᔭᐍᐏᐣ",
    "it's isn't we're I've I'm we'll he'd IT'S ISN'T WE'RE I'VE I'M WE'LL HE'D",
    "it’s isn’t we’re I’ve I’m we’ll he’d ʼtis ‘so’ ‚low‛ “said” „she‟",
    "rock'n'roll 'twas o'clock y'all'd've x'sy x'rest x'vent 'less 'define",
    "👍🏽 👨‍👩‍👧‍👦 🇩🇪🇫🇷 🏴󠁧󠁢󠁷󠁬󠁳󠁿 ❤️ ☺︎ 1️⃣ #️⃣ 🧑🏿‍🚀 🏳️‍🌈 🫠 🫨",
    "😀😁😂 smile:) ;-) ¯\\_(ツ)_/¯ (╯°□°)╯︵ ┻━┻ ( ͡° ͜ʖ ͡°) ಠ_ಠ",
    "ＦＵＬＬ　ｗｉｄｔｈ　１２３　！？ ﬁne ﬂow oﬃce baﬄe ﬀ ﬅ ﬆ Ĳssel ĳs ŉ Ǆ ǅ ǆ Ǉ ǋ Ǳ",
    "é é ñ ñ Å Å Å ỗ ỗ a̧̐ ạ̇ q̣̇ ẛ̣ ᾳ ᾳ ͅ Ǖ",
    "½ ² ³ ¹ ⅓ Ⅷ ⅷ ① ⑳ ㊿ ㉈ 〇 一二三 ౸ 𝟙𝟚 𝟬 ٠١٢ ๕ ꘡ 🄀 1234567890 3.14 1e-5 1,000",
    "snake_case __init__ a_b _ __ C:\\path\\to https://example.org/a?b=c&d=e#f user@example.org",
    "<|startoftext|> <|endoftext|> <|STARTOFTEXT|><|EndOfText|> a<|endoftext|>b !<|endoftext|>! <|end of text|>",
    "<|ſtartoftext|> 'ſ 'S it'ſ K Å ſ ẞ ß İ I ı i İİ Iı",
    "&lt;b&gt; &amp;amp; &amp;lt; &amp &lt &ampamp; &nbsp;x&nbsp &copy &copy; &notin &notit; &nosuch; &; & &# &#; &#x; &#xg;",
    "&#65; &#x41; &#X41; &#65 &#x41 &#0; &#128; &#x80 &#xD800; &#x110000; &#99999999999999; &#38;amp; &#38;#38;amp; &#x0B; &#xFFFE;",
    "&EACUTE; &SZLIG; &HELLIP; &NTILDE; &nTILDE; &AElig; &AELIG; &aelig &aelig; &hellip; &HearT; &hearts; &Jscr;",
    "\x1b[31mred\x1b[0m \x1b[1;32;40mgreen\x1b[m \x1b[ \x1b[3 \x1b[;A\x1b[٣m",
    "tab\tnew\nline\r\nreturn\rform\ffeed\vvert\x85nel\u2028ls\u2029ps\xa0nbsp\u3000ideo\u1680ogham\u180emvs\u200bzw\u202fnn\u205fmm\ufeffbom",
    "nul\x00 bel\x07 esc\x1b del\x7f us\x1f fs\x1c c1\x80\x81\x99 soft\xadhyphen zwj\u200d lrm\u200e lre\u202a pdi\u2069 iss\u206a obj\ufffc rep\ufffd",
    "schöne GrÃ¼ÃŸe aus KÃ¶ln, voilÃ le travail, Ã la carte, dâ€™accord â€œquoteâ€\x9d â€“ â€” â€¦",
    "âœ” No problems; l’humanitÃ©; ÐŸÑ€Ð¸Ð²ÐµÑ‚; Î“ÎµÎ¹Î±; ä½ å¥½; ðŸ˜€; ï»¿bom; Â£5 Â© Â®",
    "IL Y MARQUÃ…  LES Ã‰LÃˆVES; MÃ\x81LAGA; CAFÃ‰; â€�lostâ€� Ã� Â� ï¿½ Ã? â€?",
]

# each holds one rule of the repair that the others would not miss
CORNERS = [
    "Mlad≈° ≈¢", "ā€™x", "Ã©À\n", "Ã©À\nx", "Ã©í\xa0\x80í°\n", "Ã©í\xa0½í¸\x80", "Ã©í\xa0½í¸", "Ä? Ã©", "Ã? Ã©", "Â? Ã©", "Ã quele dia Ã©", "Ã  b Ã©", "Ã quilo Ã©",
    "Ã s vezes Ã©", "Ã sombra Ã©", "╬»", "x╬»y", "&#65a; &#x41g; &#59; &#x3b; &#38x;", "&#000000000000000000008217;x", "&#0000000000000000000008217;x",
    "<b>\n&rsquo;x", "&rsquo;x\n<b>", "&amp;amp;amp;amp;amp;lt;", "&amp;amp;rsquo;", "ГўВЂВ™ a", "ГўВЂВ™a", "ГўВЂВ™", "в‚¬", "вЂ“", "β€™s", "Ã¯»¿x", "‚Äîa", "‚Äôs",
    "‚âàa", "‚óäa", "√© √±", "à²• à¹", "Ã¡ Ã\xa0", "aÃ b", "a Ã b", "a\nÃ b", "Ã b", " Ã b", "x. Â y", "x.Â y", "x!Â“", "°Ã°", "Å°C Ý°", "ÃƒÂ¢Ã¢â€šÂ¬Ã¢â€žÂ¢", "×² ×³",
    "Ð¡Ð¢", "ÐŸ", "Î±", "ΒΒ΅ ΓΓ", "Β΅Β", "Г\x98Г", "Р°РС", "С‚С", "РџСЂРё", "ØµÙ", "Ø§Ù„Ù†Ø§Ø³", "Ù Ø", "œx œ, Œ1", "å€‹", "ðŸ’", "ð ", "é°", "ßÃ¼", "½Ã¼", "€Ã¼", "a½“", "é“½", "é”“",
    "A\u0308\x85", "\x85", "a\x81b", "a\x80b\x9d", "café\x92s", "日本\x92s", "\x1aÃ©", "â\x1a™", "â€\x1a", "ｶﾞｷﾟ ﾊﾞ", "\x1b[\x1b[3m", "\x1b[3\x1bm", "\x00\x1b\x00[3m",
]

# what two worlds can be glued together from
FRAGMENTS = (
    "a I the dog dogs cat zebra running unbelievable antidisestablishmentarianism photo of xyz qwrtpsdfg Hello WORLD McDonald's iPhone "
    "don't DON'T Don’t it'S 'tis 's 't 're 've 'm 'll 'd 'S 'LL '' ''' \" \"\" ` `` - -- — – … ... . , ; : ! !! ? ?! ( ) [ ] { } < > <3 </w> "
    "& &amp; &amp;amp; &lt; &gt &quot; &apos; &#39; &#x27; &nbsp; &eacute &Eacute; &euro; &rsquo; &ldquo; &notanentity; &not &notin; &#1234; "
    "@ # $ € £ % ^ * + = | \\ / ~ _ __ a_b 0 1 9 42 007 2026 3.5 １２ ４ ٣ ४ ² ½ Ⅳ ⑨ é É è ü Ü ß ẞ ñ ø Ø å æ œ Œ ł İ ı ş ğ č ř ž ő "
    "Σ ΣΑΣ ς σας α ά Ω Я я ё й ї א ב ع م ن क कि ষ த ก กำ 中 文 あ ア ｱ ｶﾞ 한 글 ﬁ ﬃ 😀 👍 👍🏽 👩‍💻 🇺🇸 🏴‍☠️ ❤️ \u0301 \u0308 \u0345 \u200d \ufe0f "
    "Ã© Ã¨ Ã¼ Ã\xa0 â€™ â€œ â€\x9d Â Â° ðŸ˜‚ Ð° Ñ\x80 Ã Ã¯Â¿Â½ ï¿½ � <|endoftext|> <|startoftext|> ﻿x"
).split(" ") + [" ", " ", " ", " ", "  ", "\t", "\n", "\r\n", "\xa0", "\u3000", "\u2009", "\x00", "\x07", "\x1b[0m", "\x85", "\x93", "\u2028"]

CODECS = [
    "latin-1",
    "sloppy-windows-1252",
    "sloppy-windows-1251",
    "sloppy-windows-1250",
    "sloppy-windows-1253",
    "sloppy-windows-1254",
    "sloppy-windows-1257",
    "iso-8859-2",
    "macroman",
    "cp437",
]


def cesu8(text):
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass").encode("utf-8") if text.isascii() else b"".join(
        c.encode("utf-8") if ord(c) < 0x10000 else b"".join(
            chr(int.from_bytes(c.encode("utf-16-be")[i : i + 2], "big")).encode("utf-8", "surrogatepass") for i in (0, 2)
        )
        for c in text
    )


def words_of(texts):
    return [word for text in texts for word in text.split(" ") if word]


def garbled(rng, text):
    """The text as someone sees it who took its bytes for another encoding, perhaps twice, perhaps with losses."""
    for _ in range(rng.choice([1, 1, 1, 1, 2, 3])):
        codec = rng.choice(CODECS + ["sloppy-windows-1252"] * 4 + ["latin-1"] * 2)
        raw = cesu8(text) if rng.random() < 0.1 else text.encode("utf-8", "replace")
        text = raw.decode(codec, "replace")
    luck = rng.random()
    if luck < 0.1:
        text = text.replace("\xa0", " ")
    elif luck < 0.2:
        text = "".join("\ufffd" if 0x80 <= ord(c) <= 0x9F else c for c in text)
    elif luck < 0.3 and text:
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(["?", "\ufffd", " ", "", "é", "\x1a"]) + text[at + 1 :]
    elif luck < 0.4:
        text = rng.choice(FRAGMENTS) + text + rng.choice(FRAGMENTS)
    elif luck < 0.45:
        text = text.upper() if rng.random() < 0.5 else text.lower()
    elif luck < 0.5:
        text = "".join(f"&#{ord(c)};" if ord(c) > 127 else c for c in text)
    elif luck < 0.55:
        text = rng.choice(["naïve café ", "100° ", "日本 ", "—", "Σ", "<"]) + text
    return text


def usual_characters():
    """Every assigned character but the great blocks, of which there is a sample."""
    rng = random.Random(5)
    for code in range(0x110000):
        c = chr(code)
        category = unicodedata.category(c)
        if category in ("Cs", "Cn", "Co"):
            continue
        great = 0x3400 <= code < 0xA000 or 0xAC00 <= code < 0xD7A4 or 0x12000 <= code < 0x18D00 or code >= 0x1B170 and not 0x1D400 <= code < 0x1FC00
        if not great or rng.random() < 0.003:
            yield c


def texts():
    rng = random.Random(20261124)
    yield ""
    yield from (" ", "\n", "\t \n", "\u3000", "\x00", "\ufeff", "&nbsp;", "&", "'", "’", "_", "<", "\u0345", "a\u0345b", "\x1b[0m")
    yield from SENTENCES
    yield from (text.upper() for text in SENTENCES)
    yield from (text.lower() for text in SENTENCES)
    yield from (text.title() for text in SENTENCES)
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        yield from (unicodedata.normalize(form, text) for text in SENTENCES)
    yield from words_of(SENTENCES)
    yield from CORNERS
    yield from FRAGMENTS
    # too long: 500 words, one long word, one long line without spaces
    yield " ".join(rng.choice(words_of(SENTENCES)) for _ in range(500))
    yield " ".join(f"word{i}" for i in range(500))
    yield "ab" * 700
    yield "!" * 900 + "a" * 900 + "1" * 300
    yield "ñandú" * 200
    # every entity: as it should be, without its end, in capitals, escaped twice, within a word, where HTML is suspected
    names = sorted({name.rstrip(";") for name in html.entities.html5})
    for i, name in enumerate(names):
        yield [f"&{name};", f"x&{name};y"][i % 2]
        yield [f"&{name}", f"x&{name}y", f"&{name}=", f"&amp;{name};"][i % 4]
        if i % 3 == 0:
            yield f"&{name.upper()};"
        if i % 7 == 0:
            yield f"<p>&{name}; &amp;{name};&{name}2"
    for code in list(range(0, 0x180)) + [0x2028, 0xD7FF, 0xD800, 0xDFFF, 0xFDD0, 0xFDEF, 0xFFFD, 0xFFFE, 0xFFFF, 0x1F600, 0x1FFFF, 0x10FFFF, 0x110000, 2**32 + 65, 2**64 + 65]:
        yield [f"a&#{code};b", f"a&#x{code:x};b", f"a&#X{code:X}z", f"a&#{code} b", f"<&#{code};", f"a&amp;#x{code:04x};b"][code % 6]
        yield f"&#{code};"
    # characters, some in a row, in places where their kind shows
    characters = list(usual_characters())
    for i in range(0, len(characters), 6):
        row = characters[i : i + 6]
        yield "".join(f"a{c}b 1{c}2 {c}" for c in row[:2]) + " ".join(row[2:4]) + "".join(row[4:])
    for _ in range(2500):
        yield "".join(rng.choice(FRAGMENTS) + rng.choice(["", "", " "]) for _ in range(rng.randrange(1, 9)))
    for _ in range(600):
        yield "".join(rng.choice(characters) for _ in range(rng.randrange(1, 7)))
    words = words_of(SENTENCES)
    for _ in range(2500):
        yield " ".join(rng.choice(words) for _ in range(rng.randrange(1, 6)))
    # English-like: letters at random, in all cases
    for _ in range(800):
        yield "".join(rng.choice("eeeaatoinshrdlucmfwypvbgkjqxzAEST  '") for _ in range(rng.randrange(2, 18)))
    # mojibake of words and of whole sentences
    for _ in range(3500):
        yield garbled(rng, " ".join(rng.choice(words) for _ in range(rng.randrange(1, 4))))
    for text in SENTENCES[:46]:
        for codec in CODECS:
            yield text.encode("utf-8").decode(codec, "replace")
    # letters next to each other that the mojibake heuristic weighs
    weighed = sorted({c for codec in CODECS for c in bytes(range(128, 256)).decode(codec, "replace")})
    for _ in range(5000):
        yield "".join(rng.choice(weighed if rng.random() < 0.8 else "aZ ?.") for _ in range(rng.randrange(2, 6)))


def all_code_points():
    for code in range(0x110000):
        if not 0xD800 <= code < 0xE000:
            yield chr(code)
            yield f"a{chr(code)}b 1{chr(code)}2"


def main():
    tokenizer_path, out_path = sys.argv[1:3]
    spec = importlib.util.spec_from_file_location("simple_tokenizer", tokenizer_path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tokenizer = module.SimpleTokenizer()
    wanted = all_code_points() if "--all-code-points" in sys.argv else texts()
    unique = list(dict.fromkeys(text.encode("utf-8", "replace").decode("utf-8") for text in wanted))
    head, tail = [], []
    for text in unique:
        raw = text.encode("utf-8")
        head.append(struct.pack("<I", len(raw)) + raw)
        ids = tokenizer.encode(text)
        tokenizer.cache = {special: special for special in ("<|startoftext|>", "<|endoftext|>")} if len(tokenizer.cache) > 100000 else tokenizer.cache
        tail.append(struct.pack(f"<I{len(ids)}H", len(ids), *ids))
    data = b"".join(head) + b"\xff\xff\xff\xff" + b"".join(tail)
    with open(out_path, "wb") as file:
        file.write(gzip.compress(data, 9, mtime=0))
    print(f"{len(unique)} texts")


if __name__ == "__main__":
    main()
