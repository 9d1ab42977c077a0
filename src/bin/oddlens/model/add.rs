//! `oddlens model add`: a model file into a folder of models as a page offers them. It asks no network.

use std::path::PathBuf;

use super::shelf::{self, ShelfArgs, Words, short};
use crate::load::{Neighbours, read};
use crate::{Done, Failure};

const EXAMPLES: &str = "\
Examples:
  oddlens model add ViT-B-32.pt --out weights
  oddlens model add clip.safetensors --config b32/config.json --id mine --default --out dist/weights

FILE becomes a GGUF in --out, is tested as by 'oddlens model check', split into parts if it is
large, and named in the manifest.json there, which is made or changed. 'make dist MODEL=FILE' does
that for a page. --model takes the GGUF whether it is split or not.

Exit status: 0 added, 1 it fails the self-test or the folder cannot be written,
2 wrong usage (also: FILE cannot be read or is no usable CLIP).";

/// Add a model file to a page's models
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The model file: GGUF, safetensors or a PyTorch archive
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    shelf: ShelfArgs,
    #[command(flatten)]
    neighbours: Neighbours,
}

/// Adds a file.
///
/// # Errors
/// As [`shelf::put`]; or when the file cannot be read.
pub fn run(arguments: Args) -> Result<Done, Failure> {
    let (checkpoint, _) = read(&arguments.file)?;
    let sidecars = arguments.neighbours.or_beside(&arguments.file, &checkpoint).read()?;
    let stem = arguments.file.file_stem().unwrap_or_default().to_string_lossy();
    let id = arguments.shelf.id.clone().unwrap_or_else(|| short(&stem));
    if id.is_empty() {
        let message = format!(
            "{}: expected a name to make a short one of, got none; give one with --id",
            arguments.file.display()
        );
        return Err(Failure::Usage(message));
    }
    let words = Words {
        name: stem.into_owned(),
        can: "Not known here: this model came from a file.".into(),
        cannot: "Not known here: measure it with 'oddlens eval' on pictures like yours.".into(),
    };
    shelf::put(&arguments.shelf, &id, words, checkpoint, &sidecars)?;
    Ok(Done::All)
}
