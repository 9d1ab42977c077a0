//! `oddlens model convert`: any checkpoint that is read here to a GGUF of ours, complete in itself.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use oddlens::clip::{self, Clip, Compute, Sidecars};
use oddlens::engine::self_test::{Answers, EMBEDDED, LEAST_COSINE};
use oddlens::eval::paths::{Partial, one_line};
use oddlens::weights::{Checkpoint, convert};

use crate::load::{Neighbours, open};
use crate::{Done, Failure, say};

const EXAMPLES: &str = "\
Examples:
  oddlens model convert model.safetensors clip.gguf --quant q8
  oddlens model convert in.safetensors out.gguf --quant f16 --config b32/config.json
  oddlens model convert ViT-B-32.pt clip.gguf --quant q8

The result carries geometry, tokenizer and vocabulary in itself, and is loaded once before it
is written: a few embeddings in 8 bits must be those of IN in f32 (cosine at least 0.99; 0.95 where
weights have 4 bits). An existing OUT is replaced, and only when everything worked.

Exit status: 0 converted, 1 embeddings differ or OUT cannot be written,
2 wrong usage (also: IN cannot be read or is no usable CLIP).";

/// Convert a CLIP to GGUF
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The model to convert: safetensors, GGUF or a PyTorch archive
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The GGUF file to write
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// How linear weights are stored
    #[arg(long, value_enum)]
    quant: Quant,
    /// Write it even if its embeddings are not those of IN
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    neighbours: Neighbours,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Quant {
    /// 8 bits in blocks of 32 (Q8_0)
    Q8,
    /// 16-bit floats
    F16,
    /// 4 bits in blocks of 32 (Q4_0): a smaller file for some accuracy; in memory it is as large as q8
    Q4,
}

impl Quant {
    /// Whether large channels must be kept beside the weights.
    pub fn rounds(self) -> bool {
        self != Quant::F16
    }

    /// What the cosine of embeddings with those in f32 must at least be. 4 bits lose some of it by design: 0.972 at worst was measured
    /// on the tests' random weights, 0.995 on the built-in model.
    pub fn least_cosine(self) -> f32 {
        if self == Quant::Q4 { 0.95 } else { LEAST_COSINE }
    }

    /// The embeddings of a model stored so, in words; whatever the file holds, they are computed in 8 bits.
    pub fn how(self) -> &'static str {
        if self == Quant::Q4 { "of weights in 4 bits" } else { "in 8 bits" }
    }
}

impl From<Quant> for convert::Quant {
    fn from(quant: Quant) -> Self {
        match quant {
            Quant::Q8 => convert::Quant::Q8,
            Quant::F16 => convert::Quant::F16,
            Quant::Q4 => convert::Quant::Q4,
        }
    }
}

/// Converts.
///
/// # Errors
/// When IN is no usable model, or OUT cannot be written.
pub fn run(arguments: Args) -> Result<Done, Failure> {
    let input = &arguments.input;
    let wrong = |error: &dyn std::fmt::Display| Failure::Usage(format!("model {}: {error}", input.display()));
    let checkpoint = open(input)?;
    let sidecars = arguments.neighbours.or_beside(input, &checkpoint).read()?;
    let quant = arguments.quant;
    let additions = clip::gguf_additions(&checkpoint, &sidecars, quant.rounds()).map_err(|error| wrong(&error))?;
    let output = arguments.output.display();
    let unwritten = |error: io::Error| Failure::Failed(format!("{output}: {}", one_line(&error)));
    let conversion = convert::Conversion::new(&checkpoint, additions, quant.into()).map_err(|error| wrong(&error))?;
    let size = conversion.size();
    let partial = Partial::beside(&arguments.output).map_err(unwritten)?;
    let mut file = fs::File::create(partial.path()).map_err(unwritten)?;
    for piece in conversion {
        file.write_all(&piece.map_err(|error| wrong(&error))?).map_err(unwritten)?;
    }
    drop(file);
    let result = open(partial.path())?;
    let exact = answers(&checkpoint, &sidecars, Compute::F32).map_err(|error| wrong(&error))?;
    let agreement =
        answers(&result, &Sidecars::default(), Compute::Q8).map_err(|error| wrong(&error))?.agreement(&exact);
    match agreement.check(quant.how(), quant.least_cosine()) {
        Err(message) if arguments.force => say(&format!("warning: {message}")),
        checked => checked.map_err(|message| Failure::Failed(format!("{message}; --force writes it all the same")))?,
    }
    let tensors = result.tensors().len();
    // before one takes the other's place, which may be the same file
    drop((result, checkpoint));
    partial.keep().map_err(unwritten)?;
    say(&format!(
        "{output}: {size} bytes, {tensors} tensors; cosine with f32 at least {:.4} (pictures), {:.4} (texts)",
        agreement.pictures, agreement.texts
    ));
    Ok(Done::All)
}

/// What a model says about a few samples.
fn answers(checkpoint: &Checkpoint, sidecars: &Sidecars, compute: Compute) -> Result<Answers, String> {
    let clip = Clip::new(checkpoint, sidecars, compute).map_err(|error| error.to_string())?;
    Answers::few(&clip, &EMBEDDED)
}
