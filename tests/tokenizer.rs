//! The tokenizer against OpenAI's own, on the texts that `tests/reference/tokenizer.py` wrote down with their ids.
#![cfg(feature = "model")]
use flate2::read::GzDecoder;
use oddlens::clip::lexicon::MERGES_KEY;
use oddlens::clip::tokenizer::{END_ID, START_ID, Tokenizer, TokenizerError};
use oddlens::weights::Checkpoint;
use std::io::Read;
use std::time::{Duration, Instant};

/// The tokenizer with OpenAI's merge rules, which the embedded model carries.
fn openai() -> Tokenizer {
    let model = include_bytes!("../weights/mini.gguf");
    let checkpoint = Checkpoint::read(model.as_slice()).unwrap();
    Tokenizer::new(checkpoint.metadata[MERGES_KEY].as_texts().unwrap()).unwrap()
}

/// Texts and the ids the reference gives them.
fn reference(packed: &[u8]) -> Vec<(String, Vec<u32>)> {
    let mut data = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut data).unwrap();
    let mut rest = data.as_slice();
    let mut take = |count: usize| -> &[u8] {
        let (taken, after) = rest.split_at(count);
        rest = after;
        taken
    };
    let mut texts = Vec::new();
    loop {
        let length = u32::from_le_bytes(take(4).try_into().unwrap());
        if length == u32::MAX {
            break;
        }
        texts.push(String::from_utf8(take(length as usize).to_vec()).unwrap());
    }
    let both = texts
        .into_iter()
        .map(|text| {
            let count = u32::from_le_bytes(take(4).try_into().unwrap()) as usize;
            let ids = take(2 * count).chunks_exact(2).map(|id| u32::from(u16::from_le_bytes([id[0], id[1]]))).collect();
            (text, ids)
        })
        .collect();
    assert!(rest.is_empty());
    both
}

#[test]
fn every_text_has_the_ids_openai_gives_it() {
    let tokenizer = openai();
    let packed = match std::env::var("ODDLENS_TOKENIZER_REFERENCE") {
        Ok(path) => std::fs::read(path).unwrap(),
        Err(_) => include_bytes!("reference/tokenizer.bin.gz").to_vec(),
    };
    let texts = reference(&packed);
    assert!(texts.len() >= 20_000, "only {} texts", texts.len());
    let wrong: Vec<_> = texts.iter().filter(|(text, ids)| tokenizer.encode(text) != *ids).collect();
    for (text, ids) in wrong.iter().take(40) {
        println!("{text:?}\n  expected {ids:?}\n  got      {:?}", tokenizer.encode(text));
    }
    assert!(wrong.is_empty(), "{} of {} texts differ, the first of them above", wrong.len(), texts.len());
}

#[test]
fn a_text_that_is_too_long_keeps_its_end_id() {
    let tokenizer = openai();
    let five_hundred = vec!["dog"; 500].join(" ");
    let dog = tokenizer.encode("dog");
    assert_eq!(dog.len(), 1);
    let cut = tokenizer.encode_for(&five_hundred, 77);
    assert!(cut.truncated);
    assert_eq!(cut.ids.len(), 77);
    assert_eq!((cut.ids[0], cut.ids[76]), (START_ID, END_ID));
    assert!(cut.ids[1..76].iter().all(|id| *id == dog[0]));
    // 75 words just fit
    let fits = tokenizer.encode_for(&vec!["dog"; 75].join(" "), 77);
    assert_eq!((fits.truncated, fits.ids.len(), fits.ids[76]), (false, 77, END_ID));
    let empty = tokenizer.encode_for("", 77);
    assert_eq!((empty.truncated, empty.ids), (false, vec![START_ID, END_ID]));
    assert_eq!(tokenizer.encode_for("dog", 0).ids, [START_ID, END_ID]);
}

#[test]
fn a_megabyte_of_anything_is_done_in_seconds() {
    let tokenizer = openai();
    let fill = |part: &str| part.repeat(1_000_000 / part.len());
    let hostile = [
        fill("a"),
        fill("ab"),
        fill("!"),
        fill("1"),
        fill("' "),
        fill("'s"),
        fill("é"),
        fill("Ã©"),
        fill("Ã"),
        fill("â€"),
        fill("ã"),
        fill("\u{301}"),
        fill("Σ"),
        fill("&"),
        fill("&#"),
        fill("&amp"),
        fill("&aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        fill("\n"),
        fill("é\n"),
        fill("\x1b["),
        fill("\x1b[1;"),
        fill("日本"),
        format!("&{};", fill("amp;")),
        fill("<|endoftext|>"),
        fill("ÃƒÂ©"),
    ];
    for text in hostile {
        let start = Instant::now();
        let ids = tokenizer.encode(&text);
        let time = start.elapsed();
        let beginning: String = text.chars().take(12).collect();
        println!("{beginning:?}: {} ids in {time:?}", ids.len());
        // 1 s in a release build; tests are built with less care, and run where others run
        assert!(time < Duration::from_secs(10), "{beginning:?} takes {time:?}");
    }
}

#[test]
fn malformed_merge_rules_are_refused() {
    assert_eq!(Tokenizer::new::<&str>(&[]).err(), Some(TokenizerError::WrongCount { got: 0 }));
    let rules = |last: &str| {
        // every pair of bytes that show as themselves, 188 of them, makes a new symbol; 188 squared is less than needed, so go on with those
        let visible: Vec<char> = ('!'..='~').chain('\u{A1}'..='\u{AC}').chain('\u{AE}'..='\u{FF}').collect();
        let mut rules: Vec<String> =
            visible.iter().flat_map(|a| visible.iter().map(move |b| format!("{a} {b}"))).collect();
        rules.extend(visible.iter().flat_map(|a| visible.iter().map(move |b| format!("{a} {b}</w>"))));
        rules.truncate(48_893);
        rules.push(last.to_owned());
        rules
    };
    let refused = |last: &str| Tokenizer::new(&rules(last)).err();
    assert_eq!(refused("!! !!"), None);
    let rule = 48_893;
    assert_eq!(refused("a b c"), Some(TokenizerError::NotAPair { rule }));
    assert_eq!(refused("ab"), Some(TokenizerError::NotAPair { rule }));
    assert_eq!(refused(""), Some(TokenizerError::NotAPair { rule }));
    assert_eq!(refused(" a"), Some(TokenizerError::NotAPair { rule }));
    assert_eq!(refused("a "), Some(TokenizerError::NotAPair { rule }));
    assert_eq!(refused("a abc"), Some(TokenizerError::UnknownSymbol { rule }));
    assert_eq!(refused("a \u{1F600}"), Some(TokenizerError::UnknownSymbol { rule }));
    assert_eq!(refused("a b"), Some(TokenizerError::Repeated { rule }));
    assert_eq!(Tokenizer::new(&rules("!! !!")[..100]).err(), Some(TokenizerError::WrongCount { got: 100 }));
}
