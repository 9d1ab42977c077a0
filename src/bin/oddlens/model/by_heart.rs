//! The texts that most people ask for, embedded once for all: a page with such a model compares pictures with them before it has read the
//! text tower.

use std::thread;

use oddlens::app_state::presets;
use oddlens::clip::text_table::TextTable;
use oddlens::clip::{self, Clip, ClipError, Encoder};
use oddlens::score::prompts::usual_texts;
use oddlens::weights::manifest::embedded;

/// The names of the presets, and those that the built-in model was taught, each asked as usual.
///
/// # Errors
/// When the model gives no usable embedding.
pub fn usual_texts_of(clip: &Clip) -> Result<TextTable, ClipError> {
    let texts = usual_texts(presets::names().chain(clip::names_of(embedded::MODEL)));
    let hands = thread::available_parallelism().map_or(1, |n| n.get());
    let shares: Vec<&[String]> = texts.chunks(texts.len().div_ceil(hands)).collect();
    let tables = thread::scope(|scope| {
        let workers: Vec<_> = shares.iter().map(|share| scope.spawn(|| table(clip, share))).collect();
        let tables = workers.into_iter().map(|worker| worker.join().expect("embedding a text does not panic"));
        tables.collect::<Result<Vec<_>, _>>()
    })?;
    let mut all = TextTable::empty(clip.embed_dim());
    tables.iter().for_each(|table| all.extend(table));
    Ok(all)
}

fn table(clip: &Clip, texts: &[String]) -> Result<TextTable, ClipError> {
    let mut table = TextTable::empty(clip.embed_dim());
    let embedded = clip.embed_texts(texts)?;
    // a context so short that it cuts these off is no language model's
    for (i, text) in texts.iter().enumerate().filter(|&(i, _)| !embedded.truncated[i]) {
        table.insert(text, &embedded.embeddings.select(&[i]));
    }
    Ok(table)
}
