//! A folder of models as a page offers them: files, in parts where they are large, and the manifest beside them; and the way of any
//! model file onto it: to our GGUF, through the self-test.
//!
//! It does not know where files come from.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oddlens::clip::{self, Clip, Compute, Encoder, Sidecars};
use oddlens::engine::self_test::{Answers, EMBEDDED};
use oddlens::eval::paths::{one_line, replace};
use oddlens::protocol::{ModelEntry, ModelFront, ModelPart};
use oddlens::weights::manifest::{self, Manifest};
use oddlens::weights::{Checkpoint, convert};

use super::by_heart;
use super::convert::Quant;
use crate::load::{self, PLAIN_THRESHOLD, digest};
use crate::{Failure, say};

/// GitHub refuses files above 100 MiB, and warns of those above 50; 90 MiB (94.4 MB) leave room for hosts that count otherwise.
const PART_BYTES: u64 = 90 << 20;

/// Where a model goes, and in what form.
#[derive(Debug, clap::Args)]
pub struct ShelfArgs {
    /// The folder for model and manifest; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "models")]
    pub out: PathBuf,
    /// How linear weights are stored
    #[arg(long, value_enum, default_value = "q8")]
    pub quant: Quant,
    /// The model's short name, in the manifest and of its file [default: after the file]
    #[arg(long, value_name = "NAME", value_parser = id)]
    pub id: Option<String>,
    /// Make it the model that a page begins with (the first in a folder is so anyway)
    #[arg(long)]
    pub default: bool,
    /// A larger file is split into parts of this size: hosts limit what they take
    #[arg(long, value_name = "BYTES", default_value_t = PART_BYTES, value_parser = clap::value_parser!(u64).range(1..))]
    pub part_bytes: u64,
    /// Take it even if it fails the self-test (a model of random weights does)
    #[arg(long)]
    pub force: bool,
}

/// What people are told about a model.
pub struct Words {
    pub name: String,
    pub can: String,
    pub cannot: String,
}

fn id(text: &str) -> Result<String, String> {
    if short(text) == text && !text.is_empty() {
        Ok(text.into())
    } else {
        Err("expected lower-case letters, digits, '-', '_' and '.', not at the beginning".into())
    }
}

/// A text as a short name: what may stand neither in addresses nor in file names becomes a hyphen.
pub fn short(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c.to_ascii_lowercase() } else { '-' };
    text.chars().map(plain).collect::<String>().trim_start_matches(['.', '-']).to_string()
}

/// Makes our GGUF of a model, tests it, and puts it into the folder under `id`; says so on standard error.
///
/// # Errors
/// When it is no usable CLIP (wrong usage), does not work, or the folder cannot be written.
pub fn put(
    arguments: &ShelfArgs,
    id: &str,
    words: Words,
    checkpoint: Checkpoint,
    sidecars: &Sidecars,
) -> Result<(), Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::Usage(format!("model {id}: {error}"));
    let failed = |message: String| Failure::Failed(format!("model {id}: {message}"));
    // before the long work: a manifest that cannot be read is no reason to have done it in vain
    let mut shelf = read(&arguments.out)?;
    let exact = {
        let clip = Clip::new(&checkpoint, sidecars, Compute::F32).map_err(|error| wrong(&error))?;
        Answers::few(&clip, &EMBEDDED).map_err(failed)?
    };
    let bytes = if arguments.quant == Quant::Q8 && clip::is_own(&checkpoint) {
        let source = checkpoint.source();
        source.read(0..source.size()).map_err(|error| wrong(&error))?.into_owned()
    } else {
        let quant = arguments.quant;
        let additions = clip::gguf_additions(&checkpoint, sidecars, quant.rounds()).map_err(|error| wrong(&error))?;
        convert::to_gguf(&checkpoint, additions, quant.into()).map_err(|error| wrong(&error))?
    };
    drop(checkpoint);
    let file: Arc<[u8]> = bytes.into();
    let result = Checkpoint::open(file.clone()).map_err(|error| wrong(&error))?;
    let clip = Clip::new(&result, &Sidecars::default(), Compute::Q8).map_err(|error| wrong(&error))?;
    let answers = Answers::all(&clip, &EMBEDDED).map_err(failed)?;
    let (recognition, agreement) = (answers.recognition(), answers.agreement(&exact));
    for tested in [recognition.check(), agreement.check(arguments.quant.how(), arguments.quant.least_cosine())] {
        match tested {
            Err(message) if arguments.force => say(&format!("warning: {message}")),
            Err(message) => return Err(failed(format!("{message}; --force takes it all the same"))),
            Ok(()) => {}
        }
    }
    // a model of a closed vocabulary is small, and one that knows texts by heart keeps them
    let file: Arc<[u8]> = if clip.known().is_empty() && clip.vocabulary().names().is_none() {
        let texts = by_heart::usual_texts_of(&clip).map_err(|error| wrong(&error))?;
        let whole = convert::to_gguf(&result, texts.additions(), convert::Quant::Kept);
        whole.map_err(|error| wrong(&error))?.into()
    } else {
        file
    };
    drop((clip, result));
    let entry = shelf.put(arguments, id, words, &file)?;
    let file = arguments.out.join(&entry.file);
    let parts = if entry.parts.is_empty() { String::new() } else { format!(" in {} parts", entry.parts.len()) };
    say(&format!("{}: {} bytes{parts}, SHA-256 {}", file.display(), entry.bytes, entry.sha256));
    say(&format!(
        "{}; cosine with f32 at least {:.4} (pictures), {:.4} (texts)",
        recognition.line(),
        agreement.pictures,
        agreement.texts
    ));
    Ok(())
}

/// A model's file as a page fetches it: in pieces of at most so many bytes, of which none holds some of both towers.
struct Split<'a> {
    pieces: Vec<&'a [u8]>,
    /// What is enough to see with, where the model knows texts by heart to compare pictures with.
    front: Option<&'a [u8]>,
}

impl<'a> Split<'a> {
    fn of(bytes: &'a Arc<[u8]>, size: usize) -> Self {
        let checkpoint = Checkpoint::open(bytes.clone()).ok();
        let text_tower = checkpoint.as_ref().and_then(|checkpoint| {
            let of_texts = checkpoint.tensors().iter().filter(|(name, _)| !convert::is_to_see_with(name));
            usize::try_from(of_texts.map(|(_, tensor)| tensor.range.start).min()?).ok()
        });
        let (see, say) = bytes.split_at(text_tower.unwrap_or(bytes.len()).min(bytes.len()));
        let knows_texts =
            checkpoint.is_some_and(|checkpoint| checkpoint.metadata.contains_key(convert::KNOWN_TEXTS_KEY));
        Self {
            pieces: see.chunks(size).chain(say.chunks(size)).collect(),
            front: (knows_texts && !say.is_empty()).then_some(see),
        }
    }
}

/// The folder's manifest, if it has one.
struct Shelf(Option<Manifest>);

fn read(folder: &Path) -> Result<Shelf, Failure> {
    let path = folder.join("manifest.json");
    let wrong = |error: &dyn std::fmt::Display| Failure::Usage(format!("{}: {error}", path.display()));
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Shelf(Some(manifest::parse(&text).map_err(|error| wrong(&error))?))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Shelf(None)),
        Err(error) => Err(wrong(&one_line(&error))),
    }
}

impl Shelf {
    /// Writes the file or its parts, then the manifest that names them, then removes what an older model of that name leaves behind:
    /// at no time does the manifest name what is not there.
    fn put(&mut self, arguments: &ShelfArgs, id: &str, words: Words, bytes: &Arc<[u8]>) -> Result<ModelEntry, Failure> {
        let folder = &arguments.out;
        let cannot = |path: &Path, error: &std::io::Error| {
            Failure::Failed(format!("cannot write {}: {}", path.display(), one_line(error)))
        };
        fs::create_dir_all(folder).map_err(|error| cannot(folder, &error))?;
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            replace(&path, bytes).map_err(|error| cannot(&path, &error))
        };
        let file = format!("{id}.gguf");
        let (mut parts, mut front) = (Vec::new(), None);
        let size = usize::try_from(arguments.part_bytes).unwrap_or(usize::MAX);
        if bytes.len() > size {
            let split = Split::of(bytes, size);
            for (piece, number) in split.pieces.into_iter().zip(1..) {
                let name = load::part_name(&file, number);
                write(&name, piece)?;
                parts.push(ModelPart { file: name, bytes: piece.len() as u64, sha256: digest(piece) });
            }
            front = split.front.map(|front| Box::new(ModelFront { bytes: front.len() as u64, sha256: digest(front) }));
        } else {
            write(&file, bytes)?;
        }
        let Words { name, can, cannot: limits } = words;
        let entry = ModelEntry {
            id: id.into(),
            name,
            file: file.clone(),
            address: None,
            parts,
            front,
            bytes: bytes.len() as u64,
            sha256: digest(bytes),
            threshold: PLAIN_THRESHOLD,
            threshold_source:
                "Not measured for this model: at 0.5 both sentences fit equally well. Set it by your own pictures."
                    .into(),
            can,
            cannot: limits,
            memory_bytes: bytes.len() as u64,
            kept: false,
            partial: 0,
        };
        let manifest = self.0.get_or_insert_with(|| Manifest { default: id.into(), models: vec![] });
        match manifest.models.iter_mut().find(|model| model.id == id) {
            Some(model) => *model = entry.clone(),
            None => manifest.models.push(entry.clone()),
        }
        if arguments.default {
            manifest.default = id.into();
        }
        let json = serde_json::to_string_pretty(manifest).map_err(|error| Failure::Failed(error.to_string()))?;
        write("manifest.json", format!("{json}\n").as_bytes())?;
        let mut stale = vec![folder.join(&file)];
        if entry.parts.is_empty() {
            stale.clear();
        }
        stale.extend(
            (entry.parts.len() + 1..).map(|n| folder.join(load::part_name(&file, n))).take_while(|p| p.is_file()),
        );
        for path in stale {
            // it may not be there; nothing names it any more
            let _ = fs::remove_file(path);
        }
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_fit_for_files_and_addresses() {
        assert_eq!(short("ViT-B-32 (mine)"), "vit-b-32--mine-");
        assert_eq!(short("../.x/y"), "x-y");
        assert!(id("vit-b-32").is_ok());
        for wrong in ["", "A", ".a", "a/b", "ü"] {
            assert!(id(wrong).is_err(), "{wrong}");
        }
    }
}
