//! `oddlens model`: what is in a model file, whether it works, and making one of ours from it.

mod check;
mod convert;
mod inspect;
mod published;

use crate::{Done, Failure};

const EXAMPLES: &str = "\
Examples:
  oddlens model inspect model.safetensors
  oddlens model convert model.safetensors clip.gguf --quant q8
  oddlens model check clip.gguf";

/// Inspect, convert and test model files
#[derive(clap::Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Command {
    Inspect(inspect::Args),
    Convert(convert::Args),
    Check(check::Args),
}

pub fn run(command: Command) -> Result<Done, Failure> {
    match command {
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Convert(arguments) => convert::run(arguments),
        Command::Check(arguments) => check::run(&arguments),
    }
}
