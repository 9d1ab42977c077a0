//! Which model to use: the one built into this program, or a file and what lies beside it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::ValueEnum;
use oddlens::clip::tokenizer::parse_merges;
use oddlens::clip::{self, Clip, Sidecars};
use oddlens::eval::paths::one_line;
use oddlens::weights::manifest::{embedded, hex};
use oddlens::weights::source::Seekable;
use oddlens::weights::{Checkpoint, Format, Naming};
use serde::Deserialize;

use crate::Failure;

/// The threshold where nobody has measured a better one: anomalous when the anomaly texts have more than half of the probability.
pub const PLAIN_THRESHOLD: f32 = 0.5;

/// Which model, and how it computes.
#[derive(Debug, clap::Args)]
pub struct ModelArgs {
    /// CLIP to use: GGUF (ours or clip.cpp's), PyTorch archive, or safetensors, with what it does not say itself beside
    /// it: config.json or open_clip_config.json, merges.txt, token_ids.json, vocabulary.json [default: the small model
    /// built into this program]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// The model's activation, where neither the file nor a configuration beside it tells
    #[arg(long, value_enum, requires = "model")]
    activation: Option<Activation>,
    /// How to compute
    #[arg(long, value_enum, default_value = "q8")]
    compute: Compute,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Compute {
    /// 8-bit integers: fast, as the page does
    Q8,
    /// 32-bit floats: the reference, slow
    F32,
}

impl Compute {
    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Compute::Q8 => "q8",
            Compute::F32 => "f32",
        }
    }
}

/// The non-linearity of a model's MLPs.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Activation {
    /// x * sigmoid(1.702 x): OpenAI's weights, and OpenCLIP's models that are named so
    QuickGelu,
    /// The exact one: OpenCLIP's other models
    Gelu,
}

impl From<Activation> for clip::Activation {
    fn from(activation: Activation) -> Self {
        match activation {
            Activation::QuickGelu => clip::Activation::QuickGelu,
            Activation::Gelu => clip::Activation::Gelu,
        }
    }
}

/// A model ready to run.
pub struct Loaded {
    pub clip: Clip,
    /// The score above which a picture is anomalous, unless the person says otherwise.
    pub threshold: f32,
    /// For people, and in the files of heads.
    pub name: String,
    /// SHA-256 of the file (in 8 bits: of our GGUF made of it), lower-case hex.
    pub sha256: String,
}

/// Loads the model that was asked for.
///
/// # Errors
/// When its file cannot be read or holds no usable model: wrong usage.
pub fn load(arguments: &ModelArgs) -> Result<Loaded, Failure> {
    load_file(arguments.model.as_deref(), arguments.compute, arguments.activation)
}

/// Loads a file, or the built-in model.
///
/// # Errors
/// As [`load`].
pub fn load_file(path: Option<&Path>, compute: Compute, activation: Option<Activation>) -> Result<Loaded, Failure> {
    let compute = match compute {
        Compute::Q8 => clip::Compute::Q8,
        Compute::F32 => clip::Compute::F32,
    };
    let Some(path) = path else {
        let broken = |error: &dyn std::fmt::Display| Failure::Failed(format!("the built-in model: {error}"));
        let manifest = embedded::manifest();
        let entry = manifest.entry(None).map_err(|error| broken(&error))?;
        let checkpoint = Checkpoint::read(embedded::MODEL).map_err(|error| broken(&error))?;
        let clip = Clip::new(&checkpoint, &Sidecars::default(), compute).map_err(|error| broken(&error))?;
        return Ok(Loaded { clip, threshold: entry.threshold, name: entry.name.clone(), sha256: entry.sha256.clone() });
    };
    let wrong = |error: &dyn std::fmt::Display| Failure::Usage(format!("model {}: {error}", path.display()));
    let (mut checkpoint, mut sha256) = read(path)?;
    let mut sidecars = Neighbours::of(path, &checkpoint, activation).read()?;
    if compute == clip::Compute::Q8 {
        // as the page does, to the same scores
        if !clip::is_own(&checkpoint) {
            let own = clip::own_file(&checkpoint, &sidecars).map_err(|error| wrong(&error))?;
            let own = own.into_bytes().map_err(|error| wrong(&error))?;
            sha256 = digest(&own);
            checkpoint = Checkpoint::read(own).map_err(|error| wrong(&error))?;
        }
        sidecars = Sidecars::default();
    }
    let clip = Clip::new(&checkpoint, &sidecars, compute).map_err(|error| wrong(&error))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Loaded { clip, threshold: PLAIN_THRESHOLD, name, sha256 })
}

/// Reads a model file; also gives its SHA-256 in lower-case hex.
///
/// # Errors
/// When it cannot be read or is of no known format: wrong usage.
pub fn read(path: &Path) -> Result<(Checkpoint, String), Failure> {
    let wrong = |message: String| Failure::Usage(format!("model {}: {message}", path.display()));
    let bytes = read_bytes(path).map_err(|error| wrong(one_line(&error)))?;
    let digest = digest(&bytes);
    let checkpoint = Checkpoint::read(bytes).map_err(|error| wrong(error.to_string()))?;
    Ok((checkpoint, digest))
}

/// As [`read`], without a checksum: only what is asked for is ever in memory.
///
/// # Errors
/// As there.
pub fn open(path: &Path) -> Result<Checkpoint, Failure> {
    let wrong = |message: String| Failure::Usage(format!("model {}: {message}", path.display()));
    let Ok(file) = fs::File::open(path).and_then(Seekable::new) else { return Ok(read(path)?.0) };
    Checkpoint::open(file).map_err(|error| wrong(error.to_string()))
}

/// The name of part `number`, from 1, of a file that is split.
pub fn part_name(file: &str, number: usize) -> String {
    format!("{file}.part{number}")
}

/// A file, or the parts that lie in its place, one after the other.
fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let whole = fs::read(path);
    let part = |number| path.with_file_name(part_name(&path.file_name().unwrap_or_default().to_string_lossy(), number));
    if whole.is_ok() || !part(1).is_file() {
        return whole;
    }
    let mut bytes = Vec::new();
    for part in (1..).map(part).take_while(|part| part.is_file()) {
        io::copy(&mut fs::File::open(part)?, &mut bytes)?;
    }
    Ok(bytes)
}

/// SHA-256 in lower-case hex.
pub fn digest(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex(sha2::Sha256::digest(bytes))
}

/// Files that complete a model file which does not carry everything itself.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Neighbours {
    /// OpenAI's merge rules of the tokenizer, as text, one a line [default: merges.txt beside IN, else the built-in ones]
    #[arg(long, value_name = "FILE")]
    merges: Option<PathBuf>,
    /// The geometry, as Hugging Face or OpenCLIP writes it [default: beside IN config.json, or open_clip_config.json if
    /// its tensors have OpenCLIP's names]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The model's activation, where neither the file nor a configuration beside it tells
    #[arg(long, value_enum)]
    activation: Option<Activation>,
    /// Which tokens the rows of a pruned token embedding stand for: JSON, {"ids": [..]} or a list [default: token_ids.json
    /// beside IN]
    #[arg(long, value_name = "FILE")]
    token_ids: Option<PathBuf>,
    /// The names that a model with a closed vocabulary knows: JSON, {"names": [{"name": ..}, ..]} or a list [default:
    /// vocabulary.json beside IN]
    #[arg(long, value_name = "FILE")]
    vocabulary: Option<PathBuf>,
}

impl Neighbours {
    /// Those that lie beside `path`; none for GGUF, which carries everything itself.
    pub fn of(path: &Path, checkpoint: &Checkpoint, activation: Option<Activation>) -> Self {
        Self::none(activation).or_beside(path, checkpoint)
    }

    /// None but the activation.
    pub fn none(activation: Option<Activation>) -> Self {
        Self { activation, ..Self::default() }
    }

    /// These, completed with those beside `path`.
    pub fn or_beside(self, path: &Path, checkpoint: &Checkpoint) -> Self {
        if checkpoint.format() == Format::Gguf {
            return self;
        }
        let beside = |name: &str| Some(path.with_file_name(name)).filter(|path| path.is_file());
        // a config.json beside a file with OpenAI's names is another model's: in the hub's folders it belongs to model.safetensors
        let config = if checkpoint.naming() == Naming::OpenAi { "open_clip_config.json" } else { "config.json" };
        Self {
            merges: self.merges.or_else(|| beside("merges.txt")),
            config: self.config.or_else(|| beside(config)),
            activation: self.activation,
            token_ids: self.token_ids.or_else(|| beside("token_ids.json")),
            vocabulary: self.vocabulary.or_else(|| beside("vocabulary.json")),
        }
    }

    /// Their contents; without a list of merge rules, the built-in model's, for all CLIPs have the same.
    ///
    /// # Errors
    /// When one cannot be read or is not of its form: wrong usage.
    pub fn read(&self) -> Result<Sidecars, Failure> {
        let merges = match &self.merges {
            Some(path) => Some(parse_merges(&read_text(path)?)),
            None => clip::merges_of(embedded::MODEL),
        };
        Ok(Sidecars {
            merges,
            config: self.config.as_deref().map(read_text).transpose()?,
            activation: self.activation.map(Into::into),
            token_ids: self.token_ids.as_deref().map(read_json::<TokenIds>).transpose()?.map(TokenIds::ids),
            vocabulary: self.vocabulary.as_deref().map(read_json::<Vocabulary>).transpose()?.map(Vocabulary::names),
        })
    }
}

fn read_text(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::Usage(format!("{}: {}", path.display(), one_line(&error))))
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, Failure> {
    let text = read_text(path)?;
    serde_json::from_str(&text).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

/// The contents of a `token_ids.json`.
///
/// # Errors
/// When they are not of its form.
pub fn parse_token_ids(text: &str) -> Result<Vec<i64>, serde_json::Error> {
    serde_json::from_str(text).map(TokenIds::ids)
}

/// The contents of a `vocabulary.json`.
///
/// # Errors
/// When they are not of its form.
pub fn parse_vocabulary(text: &str) -> Result<Vec<String>, serde_json::Error> {
    serde_json::from_str(text).map(Vocabulary::names)
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a list of numbers, or an object that has one under \"ids\"")]
enum TokenIds {
    List(Vec<i64>),
    Object { ids: Vec<i64> },
}

impl TokenIds {
    fn ids(self) -> Vec<i64> {
        match self {
            TokenIds::List(ids) | TokenIds::Object { ids } => ids,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a list of names, or an object that has one under \"names\"")]
enum Vocabulary {
    List(Vec<Name>),
    Object { names: Vec<Name> },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Plain(String),
    Described { name: String },
}

impl Vocabulary {
    fn names(self) -> Vec<String> {
        let (Vocabulary::List(names) | Vocabulary::Object { names }) = self;
        let plain = |name| match name {
            Name::Plain(name) | Name::Described { name } => name,
        };
        names.into_iter().map(plain).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oddlens::clip::tokenizer::MERGE_COUNT;

    #[test]
    fn merge_files_of_both_kinds() {
        assert_eq!(parse_merges("\"x.txt#version: 0.2\ni n\nt h\n"), ["i n", "t h"]);
        assert_eq!(parse_merges("#version: 0.2\ni n\n"), ["i n"]);
        assert_eq!(parse_merges("i n\n# #</w>\n"), ["i n", "# #</w>"]);
        assert_eq!(parse_merges(&"a b\n".repeat(MERGE_COUNT + 9)).len(), MERGE_COUNT);
    }

    #[test]
    fn lists_of_both_kinds() {
        let ids = |json| serde_json::from_str::<TokenIds>(json).map(TokenIds::ids).map_err(|error| error.to_string());
        assert_eq!(ids("[-1,5]"), Ok(vec![-1, 5]));
        assert_eq!(ids(r#"{"rows": 2, "ids": [-1, 5]}"#), Ok(vec![-1, 5]));
        assert!(ids(r#"{"id": []}"#).unwrap_err().contains("under \"ids\""));
        let names = |json| serde_json::from_str::<Vocabulary>(json).unwrap().names();
        assert_eq!(names(r#"["cat", "dog"]"#), ["cat", "dog"]);
        assert_eq!(names(r#"{"names": [{"name": "cat", "vector": "published"}]}"#), ["cat"]);
    }

    #[test]
    fn the_manifest_has_the_built_in_models_checksum() {
        let manifest = embedded::manifest();
        let digest = digest(embedded::MODEL);
        assert_eq!(manifest.entry(None).unwrap().sha256, digest);
    }
}
