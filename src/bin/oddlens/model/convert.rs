//! `oddlens model convert`: any checkpoint that is read here to a GGUF of ours, complete in itself.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use oddlens::clip::{self, Clip, Compute, Sidecars};
use oddlens::eval::paths::{Partial, one_line};
use oddlens::weights::convert;

use crate::load::{Neighbours, open};
use crate::{Done, Failure, say};

const EXAMPLES: &str = "\
Examples:
  oddlens model convert model.safetensors clip.gguf --quant q8
  oddlens model convert in.safetensors out.gguf --quant f16 --config b32/config.json
  oddlens model convert ViT-B-32.pt clip.gguf --quant q8

The result carries geometry, tokenizer and vocabulary in itself, and is loaded once before it
is written. An existing OUT is replaced, and only when everything worked.

Exit status: 0 converted, 1 OUT cannot be written,
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
    #[command(flatten)]
    neighbours: Neighbours,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Quant {
    /// 8 bits in blocks of 32 (Q8_0)
    Q8,
    /// 16-bit floats
    F16,
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
    let rounded = matches!(arguments.quant, Quant::Q8);
    let additions = clip::gguf_additions(&checkpoint, &sidecars, rounded).map_err(|error| wrong(&error))?;
    let quant = match arguments.quant {
        Quant::Q8 => convert::Quant::Q8,
        Quant::F16 => convert::Quant::F16,
    };
    let output = arguments.output.display();
    let unwritten = |error: io::Error| Failure::Failed(format!("{output}: {}", one_line(&error)));
    let conversion = convert::Conversion::new(&checkpoint, additions, quant).map_err(|error| wrong(&error))?;
    let size = conversion.size();
    let partial = Partial::beside(&arguments.output).map_err(unwritten)?;
    let mut file = fs::File::create(partial.path()).map_err(unwritten)?;
    for piece in conversion {
        file.write_all(&piece.map_err(|error| wrong(&error))?).map_err(unwritten)?;
    }
    drop((file, checkpoint));
    let result = open(partial.path())?;
    Clip::new(&result, &Sidecars::default(), Compute::Q8).map_err(|error| wrong(&error))?;
    let tensors = result.tensors().len();
    drop(result);
    partial.keep().map_err(unwritten)?;
    say(&format!("{output}: {size} bytes, {tensors} tensors"));
    Ok(Done::All)
}
