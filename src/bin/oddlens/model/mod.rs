//! `oddlens model`: what is in a model file, and making one of ours from it.

mod convert;
mod inspect;

use crate::{Done, Failure};

const EXAMPLES: &str = "\
Examples:
  oddlens model inspect model.safetensors
  oddlens model convert model.safetensors clip.gguf --quant q8";

/// Inspect and convert model files
#[derive(clap::Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Command {
    Inspect(inspect::Args),
    Convert(convert::Args),
}

pub fn run(command: Command) -> Result<Done, Failure> {
    match command {
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Convert(arguments) => convert::run(arguments),
    }
}
