//! Text to the token numbers CLIP's text tower was trained on: byte-pair encoding with OpenAI's 48,894 merge rules.
//!
//! It must give exactly what OpenAI's own tokenizer gives, also where that is odd, because the tower has seen nothing else. So the text is first
//! put through the same cleaning ([`clean`]), then cut into pieces (runs of letters, single digits, runs of anything else), and the bytes of
//! each piece are merged, best rule first. The module knows nothing of models or files: whoever has the merge rules hands them over, and they
//! may be hostile, as may the text.
//!
//! The scheme is that of Sennrich, Haddow and Birch, "Neural machine translation of rare words with subword units" (2016), on bytes; the order
//! of the vocabulary and the way of cutting are those of OpenAI's CLIP release (2021). `tests/tokenizer.rs` holds both against that release.
use super::text_cleaning::{clean, is_letter, is_number};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use thiserror::Error;

/// Opens every text.
pub const START_ID: u32 = 49406;
/// Closes every text; the tower's answer is read at its place.
pub const END_ID: u32 = 49407;
/// How many merge rules the vocabulary is built from.
pub const MERGE_COUNT: usize = 48_894;

const START_TEXT: &str = "<|startoftext|>";
const END_TEXT: &str = "<|endoftext|>";
/// Marks the end of a piece in the merge rules.
const END_OF_WORD: &str = "</w>";
/// One symbol for each byte, and one for each byte that ends a piece.
const BYTE_SYMBOLS: u32 = 512;
/// Stands for "no neighbour" in the linked list of symbols.
const NONE: u32 = u32::MAX;

/// Why a list of merge rules was refused. Rules are counted from 0.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenizerError {
    #[error("the tokenizer needs {MERGE_COUNT} merge rules, got {got}")]
    WrongCount { got: usize },
    #[error("merge rule {rule} must be two symbols with one space between them")]
    NotAPair { rule: usize },
    #[error("merge rule {rule} joins a symbol that no byte and no earlier rule makes")]
    UnknownSymbol { rule: usize },
    #[error("merge rule {rule} makes a symbol that exists already")]
    Repeated { rule: usize },
}

/// What the text tower takes: `START_ID`, the text's own ids, `END_ID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Between 2 and `context` ids, unpadded.
    pub ids: Vec<u32>,
    /// Whether the text was longer than the context and its end was left out.
    pub truncated: bool,
}

/// The merge rules, ready for use. About 2 MB.
pub struct Tokenizer {
    /// (left, right) -> the symbol they make. The symbols are numbered in the order of the rules, so a lower number is also a better rule.
    merges: HashMap<(u32, u32), u32>,
    /// The symbol of each byte inside a piece.
    byte_symbols: [u32; 256],
}

impl Tokenizer {
    /// Takes OpenAI's 48,894 merge rules, one "left right" a string, best first.
    ///
    /// Every rule must join two symbols that are there already and make one that is not; that holds for OpenAI's list, and a list for which it
    /// does not hold is an error.
    pub fn new<S: AsRef<str>>(merges: &[S]) -> Result<Tokenizer, TokenizerError> {
        if merges.len() != MERGE_COUNT {
            return Err(TokenizerError::WrongCount { got: merges.len() });
        }
        let mut byte_symbols = [0; 256];
        let mut symbols: HashMap<String, u32> = HashMap::with_capacity(MERGE_COUNT + BYTE_SYMBOLS as usize);
        for (symbol, (byte, stand_in)) in (0..).zip(bytes_in_vocabulary_order()) {
            byte_symbols[usize::from(byte)] = symbol;
            symbols.insert(stand_in.to_string(), symbol);
            symbols.insert(format!("{stand_in}{END_OF_WORD}"), symbol + 256);
        }
        let mut pairs = HashMap::with_capacity(MERGE_COUNT);
        for (made, (rule, text)) in (BYTE_SYMBOLS..).zip(merges.iter().enumerate()) {
            let (left, right) = text.as_ref().split_once(' ').ok_or(TokenizerError::NotAPair { rule })?;
            if left.is_empty() || right.is_empty() || right.contains(' ') {
                return Err(TokenizerError::NotAPair { rule });
            }
            let (Some(&left_symbol), Some(&right_symbol)) = (symbols.get(left), symbols.get(right)) else {
                return Err(TokenizerError::UnknownSymbol { rule });
            };
            if symbols.insert(format!("{left}{right}"), made).is_some() {
                return Err(TokenizerError::Repeated { rule });
            }
            pairs.insert((left_symbol, right_symbol), made);
        }
        Ok(Tokenizer { merges: pairs, byte_symbols })
    }

    /// The ids of a text (0..49408), without the start and the end. An empty text has none. Takes time in proportion to n log n for n bytes.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let cleaned = clean(text);
        let mut ids = Vec::new();
        let mut rest = cleaned.as_str();
        while let Some((piece, after)) = next_piece(rest) {
            match piece {
                START_TEXT => ids.push(START_ID),
                END_TEXT => ids.push(END_ID),
                _ => self.merge_piece(piece.as_bytes(), &mut ids),
            }
            rest = after;
        }
        ids
    }

    /// The ids of a text between `START_ID` and `END_ID`, at most `context` in all (77 for CLIP; taken as 2 if less). What does not fit is cut
    /// from the text's end, never the `END_ID`.
    pub fn encode_for(&self, text: &str, context: usize) -> Tokens {
        let mut body = self.encode(text);
        let room = context.saturating_sub(2);
        let truncated = body.len() > room;
        body.truncate(room);
        let mut ids = Vec::with_capacity(body.len() + 2);
        ids.push(START_ID);
        ids.append(&mut body);
        ids.push(END_ID);
        Tokens { ids, truncated }
    }

    /// Merges the bytes of one piece and appends what is left to `ids`.
    ///
    /// The best rule that applies anywhere is applied everywhere, from left to right, before the next is looked for. A heap of the pairs that
    /// are there, by rule and by place, keeps a long piece from costing its length squared. The order is the same, for a symbol is made by one
    /// rule only and used by later ones only (see `new`), so that no merge can give rise to a better pair than its own.
    fn merge_piece(&self, bytes: &[u8], ids: &mut Vec<u32>) {
        let mut symbols: Vec<u32> = bytes.iter().map(|&byte| self.byte_symbols[usize::from(byte)]).collect();
        if let Some(last) = symbols.last_mut() {
            *last += 256;
        }
        merge(&self.merges, symbols, ids);
    }
}

/// The merge rules of a vocabulary that has OpenAI's order: the 512 symbols of bytes, what the rules make, best first, and the two markers. Files
/// of clip.cpp have such a list and no rules.
///
/// A rule made its token of two others, those to which the better rules merge the token's bytes (as in Hugging Face's conversion of tiktoken's
/// vocabularies, `convert_slow_tokenizer.py`).
///
/// # Errors
/// When there are too few tokens, or one is not made of two that come before it.
pub fn rules_of<S: AsRef<str>>(tokens: &[S]) -> Result<Vec<String>, TokenizerError> {
    let made = tokens.get(BYTE_SYMBOLS as usize..BYTE_SYMBOLS as usize + MERGE_COUNT);
    let made = made.ok_or(TokenizerError::WrongCount { got: tokens.len().saturating_sub(BYTE_SYMBOLS as usize) })?;
    let bytes: HashMap<char, u32> = bytes_in_vocabulary_order().map(|(_, stand_in)| stand_in).zip(0..).collect();
    let name = |symbol: u32| match bytes_in_vocabulary_order().nth(symbol as usize % 256) {
        _ if symbol >= BYTE_SYMBOLS => tokens[symbol as usize].as_ref().to_string(),
        Some((_, stand_in)) => format!("{stand_in}{}", if symbol < 256 { "" } else { END_OF_WORD }),
        None => String::new(),
    };
    let (mut pairs, mut rules, mut parts) = (HashMap::with_capacity(MERGE_COUNT), Vec::new(), Vec::new());
    for (made, (rule, token)) in (BYTE_SYMBOLS..).zip(made.iter().enumerate()) {
        let token = token.as_ref();
        let (body, ends) = match token.strip_suffix(END_OF_WORD) {
            Some(body) if !body.is_empty() => (body, true),
            _ => (token, false),
        };
        let symbols: Option<Vec<u32>> = body.chars().map(|c| bytes.get(&c).copied()).collect();
        let mut symbols = symbols.ok_or(TokenizerError::UnknownSymbol { rule })?;
        if let Some(last) = symbols.last_mut().filter(|_| ends) {
            *last += 256;
        }
        parts.clear();
        merge(&pairs, symbols, &mut parts);
        let &[left, right] = &parts[..] else { return Err(TokenizerError::NotAPair { rule }) };
        pairs.insert((left, right), made);
        rules.push(format!("{} {}", name(left), name(right)));
    }
    Ok(rules)
}

/// Merges the symbols by rules `(left, right) -> made` and appends what is left to `ids`; see [`Tokenizer::merge_piece`].
fn merge(merges: &HashMap<(u32, u32), u32>, mut symbols: Vec<u32>, ids: &mut Vec<u32>) {
    // a linked list over the positions; a position that was merged into its left neighbour is marked by having itself as its next
    let count = u32::try_from(symbols.len()).unwrap_or(NONE);
    let mut next: Vec<u32> = (1..count).chain([NONE]).collect();
    let mut previous: Vec<u32> = [NONE].into_iter().chain(0..count.saturating_sub(1)).collect();
    let mut heap = BinaryHeap::with_capacity(symbols.len());
    for (at, pair) in symbols.windows(2).enumerate() {
        if let Some(&made) = merges.get(&(pair[0], pair[1])) {
            heap.push(Reverse((made, at as u32)));
        }
    }
    while let Some(Reverse((made, at))) = heap.pop() {
        let here = at as usize;
        let right = next[here];
        if right == NONE || right == at {
            continue; // the last one, or merged away since the pair was noted
        }
        if merges.get(&(symbols[here], symbols[right as usize])) != Some(&made) {
            continue; // one of the two has grown since
        }
        let after = next[right as usize];
        symbols[here] = made;
        next[right as usize] = right;
        next[here] = after;
        if after != NONE {
            previous[after as usize] = at;
            if let Some(&new) = merges.get(&(made, symbols[after as usize])) {
                heap.push(Reverse((new, at)));
            }
        }
        let before = previous[here];
        if before != NONE
            && let Some(&new) = merges.get(&(symbols[before as usize], made))
        {
            heap.push(Reverse((new, before)));
        }
    }
    let mut at = if symbols.is_empty() { NONE } else { 0 };
    while at != NONE {
        ids.push(symbols[at as usize]);
        at = next[at as usize];
    }
}

/// The 256 bytes in the order of the vocabulary, each with the character that stands for it in the merge rules: the visible characters of
/// Latin-1 stand for themselves, the other bytes come after them and are shown as the characters from U+0100 on.
fn bytes_in_vocabulary_order() -> impl Iterator<Item = (u8, char)> {
    let visible = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let themselves = (0..=255u8).filter(visible).map(|byte| (byte, char::from(byte)));
    let shown_otherwise = (0..=255u8).filter(move |byte| !visible(byte)).zip('\u{100}'..);
    themselves.chain(shown_otherwise)
}

/// What a character is to the cutting of a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Unicode's general category L
    Letter,
    /// Unicode's general category N
    Number,
    /// Belongs to no piece
    Gap,
    Other,
}

impl Kind {
    fn of(c: char) -> Kind {
        if c.is_ascii_lowercase() {
            Kind::Letter
        } else if is_number(c) {
            Kind::Number
        } else if is_letter(c) {
            Kind::Letter
        // The reference looks for its characters without regard to case. U+0345 is a mark, but its capital is the letter iota: to the
        // reference it is neither a letter nor "something that is not a letter", so it falls through.
        } else if c == '\u{345}' || c.is_whitespace() {
            Kind::Gap
        } else {
            Kind::Other
        }
    }
}

/// Cuts off the first piece of a cleaned text; returns it and what comes after it, or none if there is no further piece.
fn next_piece(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches(|c| Kind::of(c) == Kind::Gap);
    let first = text.chars().next()?;
    let special = [START_TEXT, END_TEXT, "'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];
    if let Some(length) = special.iter().find_map(|wanted| opening_without_case(text, wanted)) {
        return Some(text.split_at(length));
    }
    let kind = Kind::of(first);
    let end = match kind {
        Kind::Number => first.len_utf8(),
        _ => text.find(|c| Kind::of(c) != kind).unwrap_or(text.len()),
    };
    Some(text.split_at(end))
}

/// The length in bytes of `wanted` at the beginning of `text`, both lower case. The long s is an s to the reference.
fn opening_without_case(text: &str, wanted: &str) -> Option<usize> {
    let mut found = text.chars();
    for expected in wanted.chars() {
        let c = found.next()?;
        if c != expected && !(expected == 's' && c == '\u{17F}') {
            return None;
        }
    }
    Some(text.len() - found.as_str().len())
}

/// The rules of OpenAI's list, one a line: its first line may name a version, and it holds far more rules than CLIP uses.
pub fn parse_merges(text: &str) -> Vec<String> {
    let first_is_rule = !text.lines().next().unwrap_or_default().contains("#version");
    text.lines().skip(usize::from(!first_is_rule)).take(MERGE_COUNT).map(str::to_string).collect()
}
