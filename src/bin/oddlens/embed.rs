//! `oddlens embed`: pictures and texts as points on the unit sphere.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::slice;

use clap::{ArgMatches, ValueEnum};
use oddlens::clip::Encoder;
use oddlens::engine::pipeline::see;
use oddlens::eval::paths::{self, Found, Listing};
use oddlens::protocol::Pixels;
use serde::Serialize;

use crate::load::{ModelArgs, load};
use crate::pictures::{self, Threads, no_clock};
use crate::report::{json_line, visible};
use crate::{Done, Failure, say};

const EXAMPLES: &str = "\
Examples:
  oddlens embed dog.jpg --text 'a photo of a dog' cat.jpg
  oddlens embed --model clip.gguf --format npy photos/ > photos.npy
  oddlens embed photos/ | jq -c '[.path, .embedding[0]]'

Output: one line or row for each text and picture in the order of the command line, texts and
paths mixed as they were given; a folder or pattern stands for its pictures, sorted by path.
Every embedding has length 1, so that the product of two is their cosine.
  json  {\"text\", \"embedding\": [..]} or {\"path\", \"embedding\": [..]};
        with \"error\" in place of \"embedding\" where that failed
  npy   one array of float32, n x d, for numpy.load; written only when everything worked

Exit status: 0 everything was embedded, 1 something failed,
2 wrong usage (also: no picture found, the model cannot be read).";

/// Write the embeddings of pictures and texts
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A text to embed, as it stands (repeatable)
    #[arg(long, value_name = "TEXT")]
    text: Vec<String>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    threads: Threads,
    /// The form of the output
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
    /// Pictures, folders (with all pictures below, recognised by extension) and patterns (*, ?, [..], **)
    #[arg(value_name = "PATH", required_unless_present = "text")]
    paths: Vec<PathBuf>,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One JSON object a line
    Json,
    /// One NumPy array
    Npy,
}

/// What is to be embedded.
enum Item {
    Text(String),
    Picture(Found),
}

impl Item {
    fn name<'a>(&self, shown: &'a str) -> Name<'a> {
        match self {
            Item::Text(_) => Name::Text(shown),
            Item::Picture(_) => Name::Path(shown),
        }
    }
}

/// An embedding, and whether its text was too long.
struct Embedded {
    embedding: Vec<f32>,
    truncated: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Name<'a> {
    Text(&'a str),
    Path(&'a str),
}

#[derive(Serialize)]
struct JsonFailure<'a> {
    #[serde(flatten)]
    name: Name<'a>,
    error: &'a str,
}

#[derive(Serialize)]
struct JsonEmbedding<'a> {
    #[serde(flatten)]
    name: Name<'a>,
    embedding: &'a [f32],
}

/// Embeds what the arguments name. `matches` are those that `arguments` were read from: they know the order.
///
/// # Errors
/// When no picture is found, the model cannot be read, or the output cannot be written or is a terminal that must not be.
pub fn run(arguments: Args, matches: &ArgMatches) -> Result<Done, Failure> {
    if arguments.format == Format::Npy && io::stdout().is_terminal() {
        return Err(Failure::Usage(
            "npy is binary and not for a terminal: redirect it, as in '> embeddings.npy'".into(),
        ));
    }
    let listing = if arguments.paths.is_empty() { Listing::default() } else { pictures::list(&arguments.paths)? };
    let positions = |id: &str| matches.indices_of(id).map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    let path_positions = positions("paths");
    let pictures = listing.found.into_iter().zip(listing.argument_of.iter().map(|&argument| path_positions[argument]));
    let texts = arguments.text.into_iter().zip(positions("text"));
    let items = in_given_order(
        texts.map(|(text, position)| (position, Item::Text(text))),
        pictures.map(|(found, position)| (position, Item::Picture(found))),
    );
    let loaded = load(&arguments.model)?;
    let clip = &loaded.clip;
    let embed = |item: &Item| match item {
        Item::Text(text) => {
            let embedded = clip.embed_texts(slice::from_ref(text)).map_err(|error| error.to_string())?;
            let truncated = embedded.truncated.contains(&true);
            Ok(Embedded { embedding: embedded.embeddings.row(0).to_vec(), truncated })
        }
        Item::Picture(found) => {
            let bytes = paths::read(found.file()?)?;
            let seen = see(clip, &Pixels::Encoded, &bytes, no_clock).map_err(|failure| failure.message)?;
            Ok(Embedded { embedding: seen.embedding, truncated: false })
        }
    };
    let mut output =
        Output { out: BufWriter::new(io::stdout().lock()), format: arguments.format, rows: Vec::new(), failed: 0 };
    pictures::work_through(
        &arguments.threads,
        ("items", &items),
        embed,
        &mut output,
        |output, item, result| output.write(item, result),
        |output| output.out.flush(),
    )?;
    if output.failed > 0 {
        if output.format == Format::Npy {
            return Err(Failure::Failed(format!("{} of {} failed: nothing is written", output.failed, items.len())));
        }
        return Ok(Done::Some);
    }
    if output.format == Format::Npy {
        output.out.write_all(&npy_head(items.len(), clip.embed_dim()))?;
        let rows = &output.rows;
        rows.iter().try_for_each(|value| output.out.write_all(&value.to_le_bytes()))?;
        output.out.flush()?;
    }
    Ok(Done::All)
}

/// Where embeddings go. Lines of JSON are written as they come; the rows of an array wait until all have worked.
struct Output<W> {
    out: W,
    format: Format,
    /// Row-major, of the embeddings so far.
    rows: Vec<f32>,
    failed: usize,
}

impl<W: Write> Output<W> {
    fn write(&mut self, item: &Item, result: Result<Embedded, String>) -> Result<(), Failure> {
        let shown = match item {
            Item::Text(text) => Cow::from(text),
            Item::Picture(found) => found.path().to_string_lossy(),
        };
        match result {
            Ok(Embedded { embedding, truncated }) => {
                if truncated {
                    say(&format!("note: '{}' is longer than the model reads; its end is left out", visible(&shown)));
                }
                match self.format {
                    Format::Npy => self.rows.extend(embedding),
                    Format::Json => {
                        let line = JsonEmbedding { name: item.name(&shown), embedding: &embedding };
                        json_line(&mut self.out, &line)?;
                    }
                }
            }
            Err(error) => {
                self.failed += 1;
                match self.format {
                    Format::Npy => say(&format!("{}: {}", visible(&shown), visible(&error))),
                    Format::Json => json_line(&mut self.out, &JsonFailure { name: item.name(&shown), error: &error })?,
                }
            }
        }
        Ok(())
    }
}

/// Texts and pictures, each with its argument's position on the command line, in the order of these positions. A folder's
/// pictures share a position and keep their order.
fn in_given_order<T>(texts: impl Iterator<Item = (usize, T)>, pictures: impl Iterator<Item = (usize, T)>) -> Vec<T> {
    let mut all: Vec<_> = texts.chain(pictures).collect();
    all.sort_by_key(|(position, _)| *position);
    all.into_iter().map(|(_, item)| item).collect()
}

/// The head of a NumPy file, version 1.0, for `rows x width` little-endian float32, row-major.
///
/// Source: NumPy Enhancement Proposal 1, "A Simple File Format for NumPy Arrays".
fn npy_head(rows: usize, width: usize) -> Vec<u8> {
    /// Magic, version and the header's length.
    const FIXED: usize = 10;
    /// The numbers begin at a multiple of this.
    const ALIGNMENT: usize = 64;
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}").into_bytes();
    let len = (FIXED + header.len() + 1).next_multiple_of(ALIGNMENT) - FIXED;
    header.resize(len - 1, b' ');
    header.push(b'\n');
    let len = u16::try_from(len).expect("two numbers of at most 20 digits make a header of at most 118 bytes");
    [b"\x93NUMPY\x01\x00".as_slice(), &len.to_le_bytes(), &header].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_lines_order_is_kept() {
        let texts = [(2, "t1"), (5, "t2")].into_iter();
        let pictures = [(1, "p1"), (3, "p2a"), (3, "p2b"), (6, "p3")].into_iter();
        let mixed = in_given_order(texts, pictures);
        assert_eq!(mixed, ["p1", "t1", "p2a", "p2b", "t2", "p3"]);
    }

    /// Against `numpy.save(f, numpy.zeros((3, 512), numpy.float32))`: its first 128 bytes.
    #[test]
    fn the_head_is_numpys() {
        let mut expected =
            b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (3, 512), }".to_vec();
        expected.resize(127, b' ');
        expected.push(b'\n');
        assert_eq!(npy_head(3, 512), expected);
        assert_eq!(npy_head(usize::MAX, usize::MAX).len() % 64, 0);
    }
}
