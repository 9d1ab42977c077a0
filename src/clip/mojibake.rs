//! Repairs text whose bytes were once taken for another encoding: "schÃ¶n" back into "schön".
//!
//! What looks broken and what is tried in which order is ftfy's knowledge (version 6.3.1, by Robyn Speer, Apache-2.0): the groups of characters
//! and the suspicious neighbourhoods below are its heuristic, because the result must be the same. Instead of its regular expressions, which
//! would need an engine in the page, the groups are bits and the neighbourhoods are looked at directly. The module knows nothing of tokens
//! or of the other repairs.
use super::text_cleaning::{is_letter, is_number, is_python_space};

/// Rounds of repair on one text. Each undoes one wrong decoding and nearly halves the text, so that real text needs no more than three.
const MOST_ROUNDS: usize = 24;

/// An encoding with one byte for a character, and ASCII in its lower half.
struct Encoding {
    /// What the bytes 0x80..=0xFF mean, in order
    upper_half: &'static str,
    /// Bytes without a meaning are taken for control characters, and 0x1A stands for the replacement character
    sloppy: bool,
    /// Takes part in finding short broken sequences within sound text
    detects: bool,
    /// A space may stand for a lost no-break space
    restores_spaces: bool,
}

/// In the order in which they are tried.
const ENCODINGS: [Encoding; 10] = [
    // Latin-1
    Encoding {
        upper_half: "\u{80}\u{81}\u{82}\u{83}\u{84}\u{85}\u{86}\u{87}\u{88}\u{89}\u{8A}\u{8B}\u{8C}\u{8D}\u{8E}\u{8F}\u{90}\u{91}\u{92}\u{93}\u{94}\
            \u{95}\u{96}\u{97}\u{98}\u{99}\u{9A}\u{9B}\u{9C}\u{9D}\u{9E}\u{9F}\u{A0}¡¢£¤¥¦§¨©ª«¬\u{AD}®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×Ø\
            ÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ",
        sloppy: false,
        detects: true,
        restores_spaces: true,
    },
    // Windows-1252
    Encoding { upper_half: WINDOWS_1252, sloppy: true, detects: true, restores_spaces: true },
    // Windows-1251
    Encoding {
        upper_half: "ЂЃ‚ѓ„…†‡€‰Љ‹ЊЌЋЏђ‘’“”•–—\u{98}™љ›њќћџ\u{A0}ЎўЈ¤Ґ¦§Ё©Є«¬\u{AD}®Ї°±Ііґµ¶·ё№є»јЅѕїАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмноп\
            рстуфхцчшщъыьэюя",
        sloppy: true,
        detects: true,
        restores_spaces: true,
    },
    // Windows-1250
    Encoding {
        upper_half: "€\u{81}‚\u{83}„…†‡\u{88}‰Š‹ŚŤŽŹ\u{90}‘’“”•–—\u{98}™š›śťžź\u{A0}ˇ˘Ł¤Ą¦§¨©Ş«¬\u{AD}®Ż°±˛ł´µ¶·¸ąş»Ľ˝ľżŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×\
            ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙",
        sloppy: true,
        detects: true,
        restores_spaces: true,
    },
    // Windows-1253
    Encoding {
        upper_half: "€\u{81}‚ƒ„…†‡\u{88}‰\u{8A}‹\u{8C}\u{8D}\u{8E}\u{8F}\u{90}‘’“”•–—\u{98}™\u{9A}›\u{9C}\u{9D}\u{9E}\u{9F}\u{A0}΅Ά£¤¥¦§¨©ª«¬\u{AD}\
            ®―°±²³΄µ¶·ΈΉΊ»Ό½ΎΏΐΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡÒΣΤΥΦΧΨΩΪΫάέήίΰαβγδεζηθικλμνξοπρςστυφχψωϊϋόύώÿ",
        sloppy: true,
        detects: true,
        restores_spaces: true,
    },
    // Windows-1254
    Encoding {
        upper_half: "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8D}\u{8E}\u{8F}\u{90}‘’“”•–—˜™š›œ\u{9D}\u{9E}Ÿ\u{A0}¡¢£¤¥¦§¨©ª«¬\u{AD}®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏĞ\
            ÑÒÓÔÕÖ×ØÙÚÛÜİŞßàáâãäåæçèéêëìíîïğñòóôõö÷øùúûüışÿ",
        sloppy: true,
        detects: true,
        restores_spaces: true,
    },
    // Windows-1257
    Encoding {
        upper_half: "€\u{81}‚\u{83}„…†‡\u{88}‰\u{8A}‹\u{8C}¨ˇ¸\u{90}‘’“”•–—\u{98}™\u{9A}›\u{9C}¯˛\u{9F}\u{A0}¡¢£¤¥¦§Ø©Ŗ«¬\u{AD}®Æ°±²³´µ¶·ø¹ŗ»¼½¾æ\
            ĄĮĀĆÄÅĘĒČÉŹĖĢĶĪĻŠŃŅÓŌÕÖ×ŲŁŚŪÜŻŽßąįāćäåęēčéźėģķīļšńņóōõö÷ųłśūüżž˙",
        sloppy: true,
        detects: true,
        restores_spaces: true,
    },
    // ISO 8859-2
    Encoding {
        upper_half: "\u{80}\u{81}\u{82}\u{83}\u{84}\u{85}\u{86}\u{87}\u{88}\u{89}\u{8A}\u{8B}\u{8C}\u{8D}\u{8E}\u{8F}\u{90}\u{91}\u{92}\u{93}\u{94}\
            \u{95}\u{96}\u{97}\u{98}\u{99}\u{9A}\u{9B}\u{9C}\u{9D}\u{9E}\u{9F}\u{A0}Ą˘Ł¤ĽŚ§¨ŠŞŤŹ\u{AD}ŽŻ°ą˛ł´ľśˇ¸šşťź˝žżŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×Ř\
            ŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙",
        sloppy: false,
        detects: false,
        restores_spaces: true,
    },
    // Mac OS Roman; its no-break space is an en dash's neighbour, which a space would be taken for
    Encoding {
        upper_half: "ÄÅÇÉÑÖÜáàâäãåçéèêëíìîïñóòôöõúùûü†°¢£§•¶ß®©™´¨≠ÆØ∞±≤≥¥µ∂∑∏π∫ªºΩæø¿¡¬√ƒ≈∆«»…\u{A0}ÀÃÕŒœ–—“”‘’÷◊ÿŸ⁄€‹›ﬁﬂ‡·‚„‰ÂÊÁËÈÍÎÏÌÓÔ\
            \u{F8FF}ÒÚÛÙıˆ˜¯˘˙˚¸˝˛ˇ",
        sloppy: false,
        detects: false,
        restores_spaces: false,
    },
    // the code page of the IBM PC
    Encoding {
        upper_half: "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷\
            ≈°∙·√ⁿ²■\u{A0}",
        sloppy: false,
        detects: false,
        restores_spaces: true,
    },
];

const WINDOWS_1252: &str = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8D}Ž\u{8F}\u{90}‘’“”•–—˜™š›œ\u{9D}žŸ\u{A0}¡¢£¤¥¦§¨©ª«¬\u{AD}®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒ\
    ÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ";

/// The character a byte stands for in Windows-1252; the five that stand for nothing are control characters, as in browsers.
pub(super) fn windows_1252(byte: u8) -> char {
    let c = char::from(byte);
    if c.is_ascii() { c } else { WINDOWS_1252.chars().nth(usize::from(byte) - 0x80).unwrap_or(c) }
}

impl Encoding {
    /// The characters of the upper half with their bytes, sorted by character.
    fn bytes_by_character(&self) -> Vec<(char, u8)> {
        let mut bytes: Vec<(char, u8)> = self.upper_half.chars().zip(0x80..=0xFFu8).collect();
        if self.sloppy {
            bytes.push((char::REPLACEMENT_CHARACTER, 0x1A));
        }
        bytes.sort_unstable();
        bytes
    }

    /// The bytes that show as this text, or none if the encoding lacks one of its characters.
    fn encode(&self, text: &str) -> Option<Vec<u8>> {
        let bytes = self.bytes_by_character();
        text.chars()
            .map(|c| match c {
                '\x1A' if self.sloppy => None,
                '\0'..='\x7F' => Some(c as u8),
                _ => bytes.binary_search_by_key(&c, |&(known, _)| known).ok().map(|at| bytes[at].1),
            })
            .collect()
    }
}

/// Undoes wrong decodings until nothing looks wrong or nothing helps.
pub(super) fn fix_encoding(mut text: String) -> String {
    for _ in 0..MOST_ROUNDS {
        match fix_once(&text) {
            Some(fixed) if fixed != text => text = fixed,
            _ => break,
        }
    }
    text
}

/// One step of the repair; none if there is nothing to do.
fn fix_once(text: &str) -> Option<String> {
    if text.is_ascii() || !is_bad(text) {
        return None;
    }
    for encoding in &ENCODINGS {
        if let Some(decoded) = encoding.encode(text).and_then(|bytes| decode_again(bytes, encoding)) {
            return Some(decoded);
        }
    }
    let fixed = fix_embedded(text);
    if fixed != text {
        return Some(fixed);
    }
    // Latin-1 that was meant as Windows-1252 throughout, or single control characters that can only come from there: the same replacement,
    // but the first is not made if one of the control characters has no meaning there
    text.chars().any(is_c1).then(|| text.chars().map(|c| if is_c1(c) { windows_1252(c as u8) } else { c }).collect())
}

fn is_c1(c: char) -> bool {
    matches!(c, '\u{80}'..='\u{9F}')
}

/// Reads bytes as the UTF-8 they might have been, small losses mended; none if they are not.
fn decode_again(mut bytes: Vec<u8>, encoding: &Encoding) -> Option<String> {
    if encoding.restores_spaces {
        bytes = with_restored_spaces(bytes);
    }
    if encoding.sloppy {
        bytes = with_marked_losses(&bytes);
    }
    if bytes.contains(&0xED) || bytes.contains(&0xC0) { decode_variant(&bytes) } else { String::from_utf8(bytes).ok() }
}

fn is_continuation(byte: u8) -> bool {
    matches!(byte, 0x80..=0xBF)
}

/// Turns spaces back into the byte 0xA0 where that makes likely UTF-8.
fn with_restored_spaces(bytes: Vec<u8>) -> Vec<u8> {
    // the length of a sequence that would be UTF-8 if its space were 0xA0
    let altered = |rest: &[u8]| -> usize {
        let inner = |byte: u8| is_continuation(byte) && byte != 0x85 && byte != 0xA0;
        match *rest {
            [0xC2 | 0xC3 | 0xC5 | 0xCE | 0xD0 | 0xD9, b' ', ..] => 2,
            [0xE2 | 0xE3, b' ', c, ..] if inner(c) => 3,
            [0xE0..=0xE3, c, b' ', ..] if inner(c) => 3,
            [0xF0, b' ', c, d, ..] if is_continuation(c) && is_continuation(d) => 4,
            [0xF0, c, b' ', d, ..] if is_continuation(c) && is_continuation(d) => 4,
            [0xF0, c, d, b' ', ..] if is_continuation(c) && is_continuation(d) => 4,
            _ => 0,
        }
    };
    if !(0..bytes.len()).any(|at| altered(&bytes[at..]) > 0) {
        return bytes;
    }
    // "Ã " is mostly the word "à" and keeps its space, but not in the beginnings of some Portuguese words
    let mut spaced = Vec::with_capacity(bytes.len());
    let mut rest = bytes.as_slice();
    while let [byte, after @ ..] = rest {
        spaced.push(*byte);
        rest = after;
        if let (0xC3, [b' ', following @ ..]) = (byte, after)
            && ![b" ".as_slice(), b"quele", b"quela", b"quilo", b"s "].iter().any(|word| following.starts_with(word))
        {
            spaced.extend([0xA0, b' ']);
            rest = following;
        }
    }
    let mut restored = Vec::with_capacity(spaced.len());
    let mut rest = spaced.as_slice();
    while let Some(&byte) = rest.first() {
        let length = altered(rest);
        if length == 0 {
            restored.push(byte);
            rest = &rest[1..];
        } else {
            restored.extend(rest[..length].iter().map(|&byte| if byte == b' ' { 0xA0 } else { byte }));
            rest = &rest[length..];
        }
    }
    restored
}

/// Puts the replacement character where a UTF-8 sequence has lost bytes: 0x1A, or sometimes "?", stand for them.
fn with_marked_losses(bytes: &[u8]) -> Vec<u8> {
    let lost = |byte: u8| byte == 0x1A || byte == b'?';
    let there = |byte: u8| byte == 0x1A || is_continuation(byte);
    let length = |rest: &[u8]| -> usize {
        match *rest {
            [0xC2..=0xDF, 0x1A, ..] | [0xC2..=0xC3, b'?', ..] => 2,
            [0xED, 0xA0..=0xAF, c, 0xED, 0xB0..=0xBF, f, ..] if lost(c) && (lost(f) || there(f)) => 6,
            [0xED, 0xA0..=0xAF, c, 0xED, 0xB0..=0xBF, f, ..] if (lost(c) || there(c)) && lost(f) => 6,
            [0xE0..=0xEF, b, c, ..] if lost(b) && there(c) || there(b) && lost(c) => 3,
            [0xF0..=0xF4, b, c, d, ..]
                if lost(b) && there(c) && there(d)
                    || there(b) && lost(c) && there(d)
                    || there(b) && there(c) && lost(d) =>
            {
                4
            }
            [0x1A, ..] => 1,
            _ => 0,
        }
    };
    let mut marked = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(&byte) = rest.first() {
        let length = length(rest);
        if length == 0 {
            marked.push(byte);
        } else {
            marked.extend("\u{FFFD}".as_bytes());
        }
        rest = &rest[length.max(1)..];
    }
    marked
}

/// Decodes UTF-8 with two common errors in it: characters beyond U+FFFF as two surrogates (CESU-8), and Java's long zero.
///
/// The reference also takes a line feed at the very end for the last byte of either; so does this.
fn decode_variant(bytes: &[u8]) -> Option<String> {
    let mut out = String::new();
    let mut plain = 0;
    let mut at = 0;
    while at < bytes.len() {
        let (c, length) = match bytes[at..] {
            [0xC0, 0x80, ..] | [0xC0, b'\n'] => ('\0', 2),
            [0xED, b @ 0xA0..=0xAF, c @ 0x80..=0xBF, 0xED, e @ 0xB0..=0xBF, f @ 0x80..=0xBF, ..]
            | [0xED, b @ 0xA0..=0xAF, c @ 0x80..=0xBF, 0xED, e @ 0xB0..=0xBF, f @ b'\n'] => {
                let bits = |byte: u8, count: u32| u32::from(byte) & ((1 << count) - 1);
                (
                    char::from_u32(
                        0x1_0000 + (bits(b, 4) << 16) + (bits(c, 6) << 10) + (bits(e, 4) << 6) + bits(f, 6),
                    )?,
                    6,
                )
            }
            _ => {
                at += 1;
                continue;
            }
        };
        out.push_str(std::str::from_utf8(&bytes[plain..at]).ok()?);
        out.push(c);
        at += length;
        plain = at;
    }
    out.push_str(std::str::from_utf8(&bytes[plain..]).ok()?);
    Some(out)
}

/// What a character would be in a UTF-8 sequence that was taken for one of the encodings: bits, for it depends on the encoding.
#[derive(Clone, Copy)]
struct Role(u8);

impl Role {
    const FIRST_OF_2: u8 = 1;
    const FIRST_OF_3: u8 = 2;
    const FIRST_OF_4: u8 = 4;
    const CONTINUATION: u8 = 8;
    /// A continuation that does not usually stand for itself, unlike dashes, quotes, the bullet and the ellipsis
    const STRICT: u8 = 16;

    fn is(self, role: u8) -> bool {
        self.0 & role != 0
    }

    /// The roles of every character that has one, sorted by character.
    fn table() -> Vec<(char, Role)> {
        let mut table: Vec<(char, Role)> = vec![(' ', Role(Role::CONTINUATION))];
        for encoding in ENCODINGS.iter().filter(|encoding| encoding.detects) {
            for (c, byte) in encoding.upper_half.chars().zip(0x80..=0xFFu8) {
                let role = match byte {
                    0x80..=0xBF if matches!(c, '–' | '—' | '―' | '‘' | '’' | '‚' | '“' | '”' | '„' | '•' | '…') => {
                        Role::CONTINUATION
                    }
                    0x80..=0xBF => Role::CONTINUATION | Role::STRICT,
                    0xC2..=0xDF => Role::FIRST_OF_2,
                    0xE0..=0xEF => Role::FIRST_OF_3,
                    0xF0 | 0xF3 => Role::FIRST_OF_4,
                    _ => continue,
                };
                match table.iter_mut().find(|(known, _)| *known == c) {
                    Some((_, roles)) => roles.0 |= role,
                    None => table.push((c, Role(role))),
                }
            }
        }
        table.sort_unstable_by_key(|&(c, _)| c);
        table
    }
}

/// Repairs the sequences that look like UTF-8 by themselves, in a text that as a whole is in no encoding.
fn fix_embedded(text: &str) -> String {
    let table = Role::table();
    let characters: Vec<(usize, Role)> = text
        .char_indices()
        .map(|(at, c)| {
            (at, table.binary_search_by_key(&c, |&(known, _)| known).map_or(Role(0), |found| table[found].1))
        })
        .collect();
    let follow = |at: usize, count: usize| {
        characters.get(at + 1..=at + count).is_some_and(|next| next.iter().all(|(_, role)| role.is(Role::CONTINUATION)))
    };
    let sequence = |at: usize| match characters.get(at) {
        Some((_, role)) if role.is(Role::FIRST_OF_2) && follow(at, 1) => 2,
        Some((_, role)) if role.is(Role::FIRST_OF_3) && follow(at, 2) => 3,
        Some((_, role)) if role.is(Role::FIRST_OF_4) && follow(at, 3) => 4,
        _ => 0,
    };
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    let mut at = 0;
    while at < characters.len() {
        let mut end = at;
        if at == 0 || !characters[at - 1].1.is(Role::STRICT) {
            while sequence(end) > 0 {
                end += sequence(end);
            }
        }
        if end == at {
            at += 1;
            continue;
        }
        let from = characters[at].0;
        let to = characters.get(end).map_or(text.len(), |&(offset, _)| offset);
        let found = &text[from..to];
        if found.len() < text.len() && is_bad(found) {
            out.push_str(&text[copied..from]);
            out.push_str(&fix_encoding(found.to_owned()));
            copied = to;
        }
        at = end;
    }
    out.push_str(&text[copied..]);
    out
}

/// The groups that the heuristic puts characters in, as bits.
mod group {
    /// Found in many contexts
    pub const COMMON: u32 = 1;
    pub const C1: u32 = 2;
    /// Hardly found but in broken text
    pub const BAD: u32 = 4;
    pub const LAW: u32 = 8;
    pub const CURRENCY: u32 = 16;
    pub const START: u32 = 32;
    pub const END: u32 = 64;
    pub const NUMERIC: u32 = 128;
    /// Letters that faces are made of
    pub const FACE: u32 = 256;
    pub const UPPER_ACCENTED: u32 = 512;
    pub const LOWER_ACCENTED: u32 = 1024;
    pub const UPPER_COMMON: u32 = 2048;
    pub const LOWER_COMMON: u32 = 4096;
    pub const BOX: u32 = 8192;

    /// The groups a character belongs to; most characters of the world belong to none.
    pub fn of(c: char) -> u32 {
        match c {
            '\0'..='\x7F' => 0,
            'Ü' => FACE | UPPER_ACCENTED,
            'ü' => FACE | LOWER_ACCENTED,
            '\u{A0}' | '\u{AD}' | '´' | '·' | '–'..='―' | '’' | '…' => COMMON,
            '\u{80}'..='\u{9F}' => C1,
            '¤' | '¦' | '¨' | 'ª' | '¬' | '¯' | '¸' | 'º' | 'ƒ' | 'ˆ' | 'ˇ' | '˘' | '˛' | '˜' | '†' | '‡' | '‰'
            | '⌐' | '◊' | '\u{FFFD}' => BAD,
            '§' | '¶' => LAW,
            '¢' | '£' | '¥' | '₧' | '€' => CURRENCY,
            '¡' | '©' | '«' | '¿' | '΄' | '΅' | '‘' | '‚' | '“' | '„' | '•' | '‹' | '\u{F8FF}' => {
                START
            }
            '®' | '»' | '˝' | '”' | '›' | '™' => END,
            '±'..='³'
            | 'µ'
            | '¹'
            | '¼'..='¾'
            | '×'
            | '÷'
            | '⁄'
            | '№'
            | '∂'
            | '∆'
            | '∏'
            | '∑'
            | '√'
            | '∞'
            | '∩'
            | '∫'
            | '≈'
            | '≠'
            | '≡'
            | '≤'
            | '≥' => NUMERIC,
            '°' | 'Ò'..='Ö' | 'Ù'..='Û' | 'ò'..='ö' | 'ø'..='û' | 'Ō' | 'Ő' | 'Ū' | 'Ų' => FACE,
            'À'..='Ñ'
            | 'Ø'
            | 'Ý'
            | 'Ā'
            | 'Ă'
            | 'Ą'
            | 'Ć'
            | 'Č'
            | 'Ď'
            | 'Đ'
            | 'Ē'
            | 'Ė'
            | 'Ę'
            | 'Ě'
            | 'Ğ'
            | 'Ģ'
            | 'Ī'
            | 'İ'
            | 'Ķ'
            | 'Ĺ'
            | 'Ļ'
            | 'Ľ'
            | 'Ł'
            | 'Ń'
            | 'Ņ'
            | 'Ň'
            | 'Œ'
            | 'Ř'
            | 'Ś'
            | 'Ş'
            | 'Š'
            | 'Ţ'
            | 'Ť'
            | 'Ů'
            | 'Ű'
            | 'Ÿ'
            | 'Ź'
            | 'Ż'
            | 'Ž'
            | 'Ґ' => UPPER_ACCENTED,
            'ß'..='ñ'
            | 'ā'
            | 'ă'
            | 'ą'
            | 'ć'
            | 'č'
            | 'ď'
            | 'đ'
            | 'ē'
            | 'ė'
            | 'ę'
            | 'ě'
            | 'ğ'
            | 'ģ'
            | 'ī'
            | 'į'
            | 'ķ'
            | 'ĺ'
            | 'ļ'
            | 'ľ'
            | 'ł'
            | 'œ'
            | 'ŕ'
            | 'ś'
            | 'ş'
            | 'š'
            | 'ť'
            | 'ź'
            | 'ż'
            | 'ž'
            | 'ґ'
            | 'ﬁ'
            | 'ﬂ' => LOWER_ACCENTED,
            'Þ' | 'Ά' | 'Έ'..='Ί' | 'Ό' | 'Ύ' | 'Ώ' | 'Α'..='Ϋ' | 'Ё'..='Я' => UPPER_COMMON,
            'ά'..='ω' | 'а'..='џ' => LOWER_COMMON,
            '│' | '┌' | '┐' | '┘' | '├' | '┤' | '┬' | '┼' | '═'..='╬' | '▀' | '▄' | '█' | '▌' | '▐'..='▓' => {
                BOX
            }
            _ => 0,
        }
    }
}

/// Whether the text has a neighbourhood of characters that broken text has and sound text hardly ever.
fn is_bad(text: &str) -> bool {
    let mut rest = text.chars();
    let mut at_start = true;
    loop {
        if is_bad_here(rest.as_str(), at_start) {
            return true;
        }
        if rest.next().is_none() {
            return false;
        }
        at_start = false;
    }
}

/// The same for the neighbourhoods that begin with the text's first character.
fn is_bad_here(text: &str, at_start: bool) -> bool {
    use group::*;
    const ACCENTED: u32 = LOWER_ACCENTED | UPPER_ACCENTED;
    let mut characters = text.chars();
    let Some(a) = characters.next() else { return false };
    let Some(b) = characters.next() else { return group::of(a) == C1 };
    let c = characters.next().unwrap_or('\0');
    let third = text.chars().nth(2).is_some();
    let (ga, gb, gc) = (group::of(a), group::of(b), if third { group::of(c) } else { 0 });
    let two = |first: u32, second: u32| ga & first != 0 && gb & second != 0;
    let three = |first: u32, second: u32, last: u32| two(first, second) && gc & last != 0;

    // a few of the pairs begin with ASCII
    if a.is_ascii() {
        let small = a.is_ascii_lowercase();
        return a.is_ascii_alphabetic() && gb & (LOWER_COMMON | UPPER_COMMON) != 0 && gc & BAD != 0
            || is_python_space(a) && gb & UPPER_ACCENTED != 0 && gc & CURRENCY != 0
            || small && gb & UPPER_ACCENTED != 0 && gc & (START | CURRENCY) != 0
            || small && matches!(b, 'Ã' | 'Â') && c == ' '
            || small && is_python_space(b) && matches!(c, 'Ã' | 'Â') && characters.next() == Some(' ')
            || (small || matches!(a, '.' | ',' | '?' | '!')) && b == 'Â' && (c == ' ' || gc & (START | END) != 0);
    }
    if is_python_space(a) && gb & UPPER_ACCENTED != 0 && gc & CURRENCY != 0 {
        return true;
    }
    if ga == 0 {
        return false;
    }
    if ga & C1 != 0 {
        return true;
    }
    let symbols = BOX | START | END | CURRENCY | NUMERIC | LAW;
    let pairs = two(BAD | ACCENTED | symbols, BAD)
        || two(BAD, ACCENTED | symbols)
        || two(LOWER_ACCENTED | LOWER_COMMON | BOX | END | CURRENCY | NUMERIC, UPPER_ACCENTED)
        || two(BOX | END | CURRENCY | NUMERIC, LOWER_ACCENTED)
        || two(LOWER_ACCENTED | BOX | END, CURRENCY)
        || two(UPPER_ACCENTED | BOX, NUMERIC | LAW)
        || two(CURRENCY | NUMERIC | BOX, START)
        || two(BOX, FACE)
        || two(ACCENTED | CURRENCY | NUMERIC | START | END | LAW, BOX)
        || two(BOX, END);
    let triples = three(ACCENTED | BOX | CURRENCY | END, START, NUMERIC)
        || three(ACCENTED | CURRENCY | NUMERIC | BOX | LAW, END, START)
        || two(ACCENTED, START | END) && third && is_word(c);
    if pairs || triples {
        return true;
    }
    // single characters: the typical remains of one encoding or another
    let in_the_middle = |more: &[char]| gb & (C1 | BAD | START | END | CURRENCY) != 0 || more.contains(&b);
    let arabic = |c: char| {
        group::of(c) & (COMMON | CURRENCY | BAD | NUMERIC | START) != 0
            || matches!(c, 'Ÿ' | 'Š' | '®' | '°' | 'µ' | '»')
    };
    match a {
        'Œ' | 'œ' if !b.is_ascii_alphabetic() => true,
        _ if ga & UPPER_ACCENTED != 0 && b == '°' => true,
        'Â' | 'Ã' | 'Î' | 'Ð'
            if gb & (START | END) != 0
                || matches!(
                    b,
                    '€' | 'œ'
                        | 'Š'
                        | 'š'
                        | '¢'
                        | '£'
                        | 'Ÿ'
                        | 'ž'
                        | '\u{A0}'
                        | '\u{AD}'
                        | '°'
                        | '·'
                        | '–'
                        | '—'
                        | '´'
                ) =>
        {
            true
        }
        'Ã' | 'Â' if at_start && b == ' ' => true,
        '×' => matches!(b, '²' | '³'),
        'Ø' | 'Ù' => arabic(b) && matches!(c, 'Ø' | 'Ù') && characters.next().is_some_and(arabic),
        'à' => matches!(b, '²' | 'µ' | '¹' | '¼' | '½' | '¾'),
        '√' => matches!(b, '±' | '∂' | '†' | '≠' | '®' | '™' | '´' | '≤' | '≥' | '¥' | 'µ' | 'ø'),
        '≈' => matches!(b, '°' | '¢'),
        '‚' if b == 'Ä' => matches!(c, 'ì' | 'î' | 'ï' | 'ò' | 'ô' | 'ú' | 'ù' | 'û' | '†' | '°' | '¢' | 'π'),
        '‚' if matches!(b, 'â' | 'ó') => matches!(c, 'à' | 'ä' | '°' | 'ê'),
        'в' => b == 'Ђ',
        'Г' if text.starts_with("ГўВЂВ") => {
            let mut after = text.chars().skip(5);
            after.next().is_some_and(|c| c != '\n') && after.next().is_some_and(|c| c == ' ' || c.is_ascii_alphabetic())
        }
        'В' | 'Г' | 'Р' | 'С' => in_the_middle(&['°', 'µ']) && matches!(c, 'В' | 'Г' | 'Р' | 'С'),
        'β' => b == '€' && matches!(c, '™' | '\u{A0}' | 'Ά' | '\u{AD}' | '®' | '°'),
        'Β' | 'Γ' | 'Ξ' | 'Ο' => in_the_middle(&['°']) && matches!(c, 'Β' | 'Γ' | 'Ξ' | 'Ο'),
        'ā' => b == '€',
        // an end of a quotation before what a no-break space or a quotation mark turns into
        _ => ga & END != 0 && b == 'Â' && (c == ' ' || gc & (START | END) != 0),
    }
}

/// Python's `\w`.
fn is_word(c: char) -> bool {
    c == '_' || is_number(c) || is_letter(c)
}
