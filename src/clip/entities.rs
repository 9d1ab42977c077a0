//! HTML entities in plain text, taken apart as Python's `html.unescape` does and, more carefully, as ftfy does.
//!
//! The two differ: the first follows the HTML standard's rules for broken markup ("&ampx" is "&x"), the second only touches what is certainly
//! an entity, but knows their names in capitals. OpenAI's tokenizer applies both. The names are those of the HTML standard; the table of them
//! comes from the crate `html-escape`.
use super::mojibake::windows_1252;
use html_escape::NAMED_ENTITIES;

/// The names that HTML also knows without a semicolon.
const WITHOUT_SEMICOLON: &str = "AElig AMP Aacute Acirc Agrave Aring Atilde Auml COPY Ccedil ETH Eacute Ecirc Egrave Euml GT Iacute Icirc \
    Igrave Iuml LT Ntilde Oacute Ocirc Ograve Oslash Otilde Ouml QUOT REG THORN Uacute Ucirc Ugrave Uuml Yacute aacute acirc acute aelig \
    agrave amp aring atilde auml brvbar ccedil cedil cent copy curren deg divide eacute ecirc egrave eth euml frac12 frac14 frac34 gt iacute \
    icirc iexcl igrave iquest iuml laquo lt macr micro middot nbsp not ntilde oacute ocirc ograve ordf ordm oslash otilde ouml para plusmn \
    pound quot raquo reg sect shy sup1 sup2 sup3 szlig thorn times uacute ucirc ugrave uml uuml yacute yen yuml";

/// The longest of them, in bytes.
const LONGEST_WITHOUT_SEMICOLON: usize = 6;

/// The longest name, in characters, that the HTML rules look at.
const LONGEST_NAME: usize = 32;
/// The longest name that ftfy looks at.
const LONGEST_CERTAIN_NAME: usize = 24;

/// What the name stands for if a semicolon follows it.
fn named(name: &str) -> Option<&'static str> {
    NAMED_ENTITIES.binary_search_by(|(known, _)| known.cmp(&name.as_bytes())).ok().map(|at| NAMED_ENTITIES[at].1)
}

/// What the name stands for if no semicolon follows it.
fn named_without_semicolon(name: &str) -> Option<&'static str> {
    if name.len() > LONGEST_WITHOUT_SEMICOLON {
        return None;
    }
    WITHOUT_SEMICOLON.split(' ').any(|known| known == name).then(|| named(name)).flatten()
}

/// Appends the character of a numeric reference. Numbers that HTML forbids give nothing, or what browsers show for them.
fn push_numbered(number: u32, out: &mut String) {
    match number {
        0 | 0xD800..=0xDFFF | 0x11_0000.. => out.push(char::REPLACEMENT_CHARACTER),
        0x80..=0x9F => out.push(windows_1252(number as u8)),
        0x01..=0x08 | 0x0B | 0x0E..=0x1F | 0x7F | 0xFDD0..=0xFDEF => {}
        _ if number & 0xFFFE == 0xFFFE => {}
        _ => out.extend(char::from_u32(number)),
    }
}

/// Reads the number after "&#": its value (as large as fits, if too large) and its length in bytes with the "x" but without a semicolon.
fn number_at(text: &str) -> Option<(u32, usize)> {
    let (digits, radix, skipped) = match text.as_bytes().first()? {
        b'x' | b'X' => (&text[1..], 16, 1),
        _ => (text, 10, 0),
    };
    let length = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    if length == 0 {
        return None;
    }
    let value = digits[..length]
        .chars()
        .filter_map(|c| c.to_digit(radix))
        .fold(0u32, |value, digit| value.saturating_mul(radix).saturating_add(digit));
    Some((value, skipped + length))
}

/// Replaces every reference as HTML does, also the broken ones.
pub(super) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let body = &rest[at + 1..];
        rest = match replaced(body, &mut out) {
            Some(length) => &body[length..],
            None => {
                out.push('&');
                body
            }
        };
    }
    out.push_str(rest);
    out
}

/// Appends what the reference stands for whose text after the ampersand is at the beginning of `body`; returns how many bytes it takes. None if
/// there is no reference.
fn replaced(body: &str, out: &mut String) -> Option<usize> {
    if let Some(number) = body.strip_prefix('#') {
        let (value, length) = number_at(number)?;
        push_numbered(value, out);
        return Some(1 + length + usize::from(number[length..].starts_with(';')));
    }
    let stops = |c: char| matches!(c, '\t' | '\n' | '\x0C' | ' ' | '<' | '&' | '#' | ';');
    let end = body.char_indices().take(LONGEST_NAME).find(|&(_, c)| stops(c)).map(|(at, _)| at);
    let end = end.or_else(|| body.char_indices().nth(LONGEST_NAME).map(|(at, _)| at)).unwrap_or(body.len());
    if end == 0 {
        return None;
    }
    let name = &body[..end];
    if body[end..].starts_with(';')
        && let Some(meaning) = named(name)
    {
        out.push_str(meaning);
        return Some(end + 1);
    }
    // the longest beginning that is a name by itself; what follows it is not looked at again, which `end` sees to
    let known = name
        .char_indices()
        .map(|(at, c)| at + c.len_utf8())
        .rev()
        .find_map(|length| Some((length, named_without_semicolon(&name[..length])?)));
    match known {
        Some((length, meaning)) => {
            out.push_str(meaning);
            out.push_str(&name[length..]);
        }
        None => {
            out.push('&');
            out.push_str(name);
        }
    }
    Some(end)
}

/// Replaces only what is certainly a reference: it ends with a semicolon, and its name is known as it stands, or in small letters if it is all
/// capitals.
pub(super) fn unescape_certain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let body = &rest[at + 1..];
        rest = match certainly_replaced(body, &mut out) {
            Some(length) => &body[length..],
            None => {
                out.push('&');
                body
            }
        };
    }
    out.push_str(rest);
    out
}

fn certainly_replaced(body: &str, out: &mut String) -> Option<usize> {
    let numeric = body.starts_with('#');
    let name = &body[usize::from(numeric)..];
    let length = name.find(|c: char| !c.is_ascii_alphanumeric())?;
    if length == 0 || length > LONGEST_CERTAIN_NAME || !name[length..].starts_with(';') {
        return None;
    }
    let name = &name[..length];
    if numeric {
        let (value, read) = number_at(name)?;
        // a reference to the semicolon itself is kept: the rule is that no semicolon may be left
        if read != length || value == u32::from(';') {
            return None;
        }
        push_numbered(value, out);
    } else if let Some(meaning) = named(name) {
        out.push_str(meaning);
    } else {
        // in capitals, unless HTML takes its beginning for a name
        let in_capitals = !name.bytes().any(|byte| byte.is_ascii_lowercase());
        let begins_with_name = (2..=length).any(|end| named_without_semicolon(&name[..end]).is_some());
        if !in_capitals || begins_with_name {
            return None;
        }
        out.push_str(&named(&name.to_ascii_lowercase())?.to_uppercase());
    }
    Some(usize::from(numeric) + length + 1)
}
