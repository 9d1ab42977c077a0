//! `oddlens model`: what is in a model file, whether it works, and making one of ours from it.

mod add;
mod by_heart;
mod check;
mod convert;
mod fetch;
mod inspect;
mod published;
mod shelf;

use crate::{Done, Failure};

const EXAMPLES: &str = "\
Examples:
  oddlens model inspect model.safetensors
  oddlens model convert model.safetensors clip.gguf --quant q8
  oddlens model check clip.gguf
  oddlens model add clip.gguf --out dist/weights --default
  oddlens model fetch vit-b-32";

/// Inspect, convert, test, install and download model files
#[derive(clap::Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Command {
    Inspect(inspect::Args),
    Convert(convert::Args),
    Check(check::Args),
    Add(add::Args),
    Fetch(fetch::Args),
}

pub fn run(command: Command) -> Result<Done, Failure> {
    match command {
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Convert(arguments) => convert::run(arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Add(arguments) => add::run(arguments),
        Command::Fetch(arguments) => fetch::run(arguments),
    }
}
