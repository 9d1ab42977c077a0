//! What OpenAI's tokenizer does to a text before it cuts it into tokens: repair, unescape, collapse the spaces, lower the case.
//!
//! The tower has only seen texts that went through this, so it is done the same way, oddities and all: `ftfy.fix_text` of the Python package
//! ftfy 6.3.1 (by Robyn Speer, Apache-2.0) with its defaults, `html.unescape` twice, and Python's ideas of spaces and of lower case. The steps
//! are ftfy's; the repair of wrongly decoded text is in `mojibake`, the HTML entities are in `entities`. The module knows nothing of
//! tokens.
use super::entities::{unescape, unescape_certain};
use super::mojibake::{fix_encoding, windows_1252};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// ftfy works on one line at a time, and on no more characters than this.
const LONGEST_SEGMENT: usize = 1_000_000;
/// ftfy repeats its steps until nothing changes any more. Each round can take off one layer of escaping, so that hostile text could keep it
/// busy for hours; here it ends after this many rounds.
const MOST_ROUNDS: usize = 24;

/// The text as the tokenizer cuts it: repaired, unescaped, without spaces at its ends, with single spaces inside, in lower case.
pub fn clean(text: &str) -> String {
    let text = unescape(&unescape(&fix_text(text)));
    let mut collapsed = String::with_capacity(text.len());
    for word in text.trim_matches(is_python_space).split(char::is_whitespace).filter(|word| !word.is_empty()) {
        if !collapsed.is_empty() {
            collapsed.push(' ');
        }
        collapsed.push_str(word);
    }
    lower(&collapsed)
}

/// Python's `str.isspace`: Unicode's white space and four separators among the control characters.
pub(super) fn is_python_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1C'..='\x1F')
}

/// Whether the general category is L, in Unicode 18 as in the reference. The standard library knows the alphabetic characters, which are the
/// letters, the letter-like numbers, some marks, and the Latin letters in circles and squares; it may be a version behind.
pub(super) fn is_letter(c: char) -> bool {
    let enclosed = matches!(c, '\u{24B6}'..='\u{24E9}' | '\u{1F130}'..='\u{1F149}' | '\u{1F150}'..='\u{1F169}' | '\u{1F170}'..='\u{1F189}');
    let new_in_18 = matches!(c,
        '\u{558}' | '\u{58B}'..='\u{58C}' | '\u{208F}' | '\u{209D}'..='\u{209F}' | '\u{A7DD}' | '\u{A7E2}' | '\u{AB6C}'..='\u{AB6D}'
        | '\u{107BB}'..='\u{107BF}' | '\u{10ED9}'..='\u{10EEE}' | '\u{11B0A}' | '\u{11DF1}' | '\u{18CD6}'..='\u{18CDA}'
        | '\u{18D1F}'..='\u{18D20}' | '\u{18E00}'..='\u{19191}' | '\u{191A0}'..='\u{191D2}' | '\u{1B123}'..='\u{1B128}' | '\u{1B168}'
        | '\u{1D6A6}' | '\u{1DF1F}'..='\u{1DF24}' | '\u{1DF2B}'..='\u{1DF81}' | '\u{1DF90}'..='\u{1DF96}' | '\u{1DFCD}'..='\u{1DFFF}'
        | '\u{2B81E}' | '\u{3D000}'..='\u{3FC3F}');
    new_in_18 || c.is_alphabetic() && !is_number(c) && !is_combining_mark(c) && !enclosed
}

/// Whether the general category is N, in Unicode 18 as in the reference.
pub(super) fn is_number(c: char) -> bool {
    c.is_numeric() || matches!(c, '\u{1246F}' | '\u{12475}'..='\u{1247F}' | '\u{12550}'..='\u{12686}')
}

/// Python's `str.lower`, whose Unicode is older in the reference (14) than its regular expressions: it leaves later capitals as they are.
fn lower(text: &str) -> String {
    let later_capital = |c: char| {
        matches!(c,
            '\u{1C89}' | '\u{A7CB}'..='\u{A7CC}' | '\u{A7CE}' | '\u{A7D2}' | '\u{A7D4}' | '\u{A7DA}' | '\u{A7DC}' | '\u{10D50}'..='\u{10D65}'
            | '\u{16EA0}'..='\u{16EB8}')
    };
    let mut out = String::with_capacity(text.len());
    for part in text.split_inclusive(later_capital) {
        let usual = part.trim_end_matches(later_capital);
        out.push_str(&usual.to_lowercase());
        out.push_str(&part[usual.len()..]);
    }
    out
}

/// ftfy's repair, segment by segment.
fn fix_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut is_html = false;
    while !rest.is_empty() {
        let line = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let longest = rest[..line].char_indices().nth(LONGEST_SEGMENT).map_or(line, |(at, _)| at);
        let (segment, after) = rest.split_at(longest);
        // where there is a tag, here or in an earlier line, entities are meant as they stand
        is_html |= segment.contains('<');
        out.push_str(&fix_segment(segment, is_html));
        rest = after;
    }
    out
}

fn fix_segment(segment: &str, is_html: bool) -> String {
    let mut text = segment.to_owned();
    for _ in 0..MOST_ROUNDS {
        let mut fixed = if is_html { text.clone() } else { unescape_certain(&text) };
        if !fixed.is_ascii() {
            fixed = fix_characters(&fix_encoding(fixed));
        }
        fixed = without_control_characters(&without_terminal_escapes(&with_plain_line_breaks(&fixed)));
        if !fixed.is_ascii() {
            fixed = fixed.nfc().collect();
        }
        if fixed == text {
            break;
        }
        text = fixed;
    }
    text
}

/// Replaces single characters: C1 control characters, ligatures of Latin letters, full and half width, curly quotes.
fn fix_characters(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{80}'..='\u{9F}' => push_uncurled(windows_1252(c as u8), &mut out),
            'Ĳ' => out.push_str("IJ"),
            'ĳ' => out.push_str("ij"),
            'ŉ' => out.push_str("'n"),
            'Ǳ' => out.push_str("DZ"),
            'ǲ' => out.push_str("Dz"),
            'ǳ' => out.push_str("dz"),
            'Ǆ' => out.push_str("DŽ"),
            'ǅ' => out.push_str("Dž"),
            'ǆ' => out.push_str("dž"),
            'Ǉ' => out.push_str("LJ"),
            'ǈ' => out.push_str("Lj"),
            'ǉ' => out.push_str("lj"),
            'Ǌ' => out.push_str("NJ"),
            'ǋ' => out.push_str("Nj"),
            'ǌ' => out.push_str("nj"),
            'ﬀ' => out.push_str("ff"),
            'ﬁ' => out.push_str("fi"),
            'ﬂ' => out.push_str("fl"),
            'ﬃ' => out.push_str("ffi"),
            'ﬄ' => out.push_str("ffl"),
            'ﬅ' => out.push_str("ſt"),
            'ﬆ' => out.push_str("st"),
            '\u{FFE3}' => out.push_str(" \u{304}"),
            _ => push_uncurled(usual_width(c), &mut out),
        }
    }
    out
}

fn push_uncurled(c: char, out: &mut String) {
    out.push(match c {
        '\u{2BC}' | '\u{2018}'..='\u{201B}' => '\'',
        '\u{201C}'..='\u{201F}' => '"',
        _ => c,
    });
}

/// The character that a full-width or half-width form is a form of. Where there is none in the block, the table has the character itself.
fn usual_width(c: char) -> char {
    const FROM_FF5F: &str = "⦅⦆。「」、・ヲァィゥェォャュョッーアイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワン\
        \u{3099}\u{309A}\u{1160}\u{1100}\u{1101}\u{11AA}\u{1102}\u{11AC}\u{11AD}\u{1103}\u{1104}\u{1105}\u{11B0}\u{11B1}\u{11B2}\u{11B3}\
        \u{11B4}\u{11B5}\u{111A}\u{1106}\u{1107}\u{1108}\u{1121}\u{1109}\u{110A}\u{110B}\u{110C}\u{110D}\u{110E}\u{110F}\u{1110}\u{1111}\
        \u{1112}\u{FFBF}\u{FFC0}\u{FFC1}\u{1161}\u{1162}\u{1163}\u{1164}\u{1165}\u{1166}\u{FFC8}\u{FFC9}\u{1167}\u{1168}\u{1169}\u{116A}\
        \u{116B}\u{116C}\u{FFD0}\u{FFD1}\u{116D}\u{116E}\u{116F}\u{1170}\u{1171}\u{1172}\u{FFD8}\u{FFD9}\u{1173}\u{1174}\u{1175}\u{FFDD}\
        \u{FFDE}\u{FFDF}¢£¬\u{FFE3}¦¥₩\u{FFE7}│←↑→↓■○";
    match c {
        '\u{3000}' => ' ',
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(c),
        '\u{FF5F}'..='\u{FFEE}' => FROM_FF5F.chars().nth((u32::from(c) - 0xFF5F) as usize).unwrap_or(c),
        _ => c,
    }
}

fn with_plain_line_breaks(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut after_return = false;
    for c in text.chars() {
        match c {
            '\n' if after_return => {}
            '\r' | '\u{2028}' | '\u{2029}' | '\u{85}' => out.push('\n'),
            _ => out.push(c),
        }
        after_return = c == '\r';
    }
    out
}

/// Takes out the sequences that colour the text of a terminal: escape, "[", digits and semicolons, a letter.
fn without_terminal_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\x1B[") {
        let (before, sequence) = rest.split_at(at);
        out.push_str(before);
        let parameters = sequence[2..].trim_start_matches(|c| c == ';' || is_decimal_digit(c));
        match parameters.bytes().next() {
            Some(letter) if letter.is_ascii_alphabetic() => rest = &parameters[1..],
            // the parameters hold no escape, so nothing can begin within them
            _ => {
                let skipped = sequence.len() - parameters.len();
                out.push_str(&sequence[..skipped]);
                rest = parameters;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Whether the general category is Nd, in any script.
fn is_decimal_digit(c: char) -> bool {
    /// Where the ten digits of each script begin (Unicode 14).
    const ZEROS: [u32; 66] = [
        0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50, 0xED0,
        0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620,
        0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10, 0x104A0, 0x10D30, 0x11066, 0x110F0, 0x11136, 0x111D0,
        0x112F0, 0x11450, 0x114D0, 0x11650, 0x116C0, 0x11730, 0x118E0, 0x11950, 0x11C50, 0x11D50, 0x11DA0, 0x16A60,
        0x16AC0, 0x16B50, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6, 0x1E140, 0x1E2F0, 0x1E950, 0x1FBF0,
    ];
    let code = u32::from(c);
    c.is_numeric() && ZEROS.iter().any(|&zero| (zero..zero + 10).contains(&code))
}

fn without_control_characters(text: &str) -> String {
    let kept = |c: &char| !matches!(c, '\0'..='\x08' | '\x0B' | '\x0E'..='\x1F' | '\x7F' | '\u{206A}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFC}');
    text.chars().filter(kept).collect()
}
