//! `oddlens model inspect`: what is in a model file?

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use oddlens::clip::vocabulary::Vocabulary;
use oddlens::clip::{Activation, Clip, Compute, Config};
use oddlens::weights::Value;
use serde::Serialize;

use crate::load::{Neighbours, read};
use crate::report::visible;
use crate::{Done, Failure};

const EXAMPLES: &str = "\
Examples:
  oddlens model inspect model.safetensors
  oddlens model inspect --format json clip.gguf | jq .geometry

What a file does not say itself is taken from config.json (or open_clip_config.json),
merges.txt, token_ids.json and vocabulary.json beside it. Tensors are shown by Hugging Face's
names, whatever the file calls them. A file that is read but is no usable CLIP is shown all
the same, with the reason.

Exit status: 0 read, 2 wrong usage (also: FILE cannot be read or is no model file).";

/// Show what a model file holds
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// The model file: GGUF, safetensors or a PyTorch archive
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The model's activation, where neither the file nor a configuration beside it tells
    #[arg(long, value_enum)]
    activation: Option<crate::load::Activation>,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object
    Json,
}

/// Items of a long list that are shown.
const SHOWN: usize = 4;

#[derive(Serialize)]
struct Inspection {
    file: String,
    format: &'static str,
    /// Whose names its tensors have in the file.
    naming: &'static str,
    bytes: u64,
    sha256: String,
    /// Whether it can be used here.
    usable: bool,
    /// Why not.
    problem: Option<String>,
    geometry: Option<Geometry>,
    /// Names that a model with a closed vocabulary knows; nothing: it reads any text.
    vocabulary_size: Option<usize>,
    parameters: usize,
    metadata: BTreeMap<String, serde_json::Value>,
    tensors: Vec<Tensor>,
}

#[derive(Serialize)]
struct Geometry {
    image_size: usize,
    patch_size: usize,
    embed_dim: usize,
    context: usize,
    /// Rows of the token embedding.
    tokens: usize,
    activation: &'static str,
    vision: Tower,
    text: Tower,
}

#[derive(Serialize)]
struct Tower {
    width: usize,
    layers: usize,
    heads: usize,
    mlp: usize,
    epsilon: f32,
}

#[derive(Serialize)]
struct Tensor {
    name: String,
    shape: Vec<usize>,
    #[serde(rename = "type")]
    kind: &'static str,
    bytes: u64,
}

/// Shows a file.
///
/// # Errors
/// When it cannot be read, or the output cannot be written.
pub fn run(arguments: &Args) -> Result<Done, Failure> {
    let inspection = inspect(arguments)?;
    let mut out = BufWriter::new(io::stdout().lock());
    match arguments.format {
        Format::Text => write_text(&mut out, &inspection)?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, &inspection).map_err(io::Error::from)?;
            writeln!(out)?;
        }
    }
    out.flush()?;
    Ok(Done::All)
}

fn inspect(arguments: &Args) -> Result<Inspection, Failure> {
    let (checkpoint, sha256) = read(&arguments.file)?;
    let sidecars = Neighbours::of(&arguments.file, &checkpoint, arguments.activation).read()?;
    let config = Config::of(&checkpoint, &sidecars);
    let problem = match &config {
        Err(error) => Some(error.to_string()),
        Ok(_) => Clip::new(&checkpoint, &sidecars, Compute::Q8).err().map(|error| error.to_string()),
    };
    let tensor = |(name, info): (&String, &oddlens::weights::TensorInfo)| Tensor {
        name: name.clone(),
        shape: info.shape.clone(),
        kind: info.dtype.name(),
        bytes: info.bytes(),
    };
    Ok(Inspection {
        file: arguments.file.to_string_lossy().into_owned(),
        format: checkpoint.format().name(),
        naming: checkpoint.naming().name(),
        bytes: checkpoint.file_bytes(),
        sha256,
        usable: problem.is_none(),
        problem,
        geometry: config.ok().map(|config| Geometry::of(&config)),
        vocabulary_size: Vocabulary::new(&checkpoint, &sidecars).names().map(|names| names.len()),
        parameters: checkpoint.tensors().values().map(|info| info.shape.iter().product::<usize>()).sum(),
        metadata: checkpoint.metadata.iter().map(|(key, value)| (key.clone(), shortened(value))).collect(),
        tensors: checkpoint.tensors().iter().map(tensor).collect(),
    })
}

impl Geometry {
    fn of(config: &Config) -> Self {
        let tower = |tower: &oddlens::clip::config::TowerConfig| Tower {
            width: tower.width,
            layers: tower.layers,
            heads: tower.heads,
            mlp: tower.mlp,
            epsilon: tower.epsilon,
        };
        Self {
            image_size: config.image_size,
            patch_size: config.patch_size,
            embed_dim: config.embed_dim,
            context: config.context,
            tokens: config.vocabulary,
            activation: match config.activation {
                Activation::QuickGelu => "quick_gelu",
                Activation::Gelu => "gelu",
            },
            vision: tower(&config.vision),
            text: tower(&config.text),
        }
    }
}

/// A value as JSON; of a long list the beginning and the length.
fn shortened(value: &Value) -> serde_json::Value {
    fn list<T: Serialize>(items: &[T]) -> serde_json::Value {
        if items.len() <= 2 * SHOWN {
            serde_json::json!(items)
        } else {
            serde_json::json!({ "length": items.len(), "first": &items[..SHOWN] })
        }
    }
    match value {
        Value::Unsigned(v) => serde_json::json!(v),
        Value::Signed(v) => serde_json::json!(v),
        Value::Float(v) => serde_json::json!(v),
        Value::Bool(v) => serde_json::json!(v),
        Value::Text(v) => serde_json::json!(v),
        Value::Texts(v) => list(v),
        Value::Integers(v) => list(v),
        Value::Floats(v) => list(v),
    }
}

fn write_text(mut out: impl Write, inspection: &Inspection) -> io::Result<()> {
    let mut line = |name: &str, value: &str| writeln!(out, "{name:11} {}", visible(value));
    line("file", &inspection.file)?;
    line("format", &format!("{}, {} bytes", inspection.format, inspection.bytes))?;
    line("names", inspection.naming)?;
    line("sha256", &inspection.sha256)?;
    line("usable", &inspection.problem.as_ref().map_or("yes".into(), |problem| format!("no: {problem}")))?;
    line("parameters", &inspection.parameters.to_string())?;
    if let Some(geometry) = &inspection.geometry {
        let tower = |tower: &Tower| {
            let Tower { width, layers, heads, mlp, .. } = tower;
            format!("{layers} layers, width {width}, {heads} heads, MLP {mlp}")
        };
        line("pictures", &format!("{0} x {0} pixels, patches of {1} x {1}", geometry.image_size, geometry.patch_size))?;
        line("vision", &tower(&geometry.vision))?;
        line("text", &format!("{}, {} tokens of {}", tower(&geometry.text), geometry.context, geometry.tokens))?;
        line("activation", geometry.activation)?;
        line("embeddings", &format!("{} numbers", geometry.embed_dim))?;
        let vocabulary =
            inspection.vocabulary_size.map_or("free text".into(), |size| format!("{size} names, no others"));
        line("vocabulary", &vocabulary)?;
    }
    if !inspection.metadata.is_empty() {
        writeln!(out, "\nmetadata")?;
        let width = inspection.metadata.keys().map(String::len).max().unwrap_or(0);
        for (key, value) in &inspection.metadata {
            writeln!(out, "  {:width$}  {}", visible(key), visible(&value.to_string()))?;
        }
    }
    writeln!(out, "\n{} tensors", inspection.tensors.len())?;
    let width = inspection.tensors.iter().map(|tensor| tensor.name.len()).max().unwrap_or(0);
    for tensor in &inspection.tensors {
        let shape = format!("{:?}", tensor.shape);
        writeln!(out, "  {:width$}  {shape:18} {:5} {:>10} bytes", visible(&tensor.name), tensor.kind, tensor.bytes)?;
    }
    Ok(())
}
