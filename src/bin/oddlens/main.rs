//! `oddlens`, the command line. This file reads the arguments and turns the outcome into an exit status; each subcommand has a
//! file of its own, which touches files and the terminal and leaves every step from bytes to score to the library.

mod bench;
mod download;
mod embed;
mod eval;
mod labels;
mod learn;
mod load;
mod model;
mod ordered;
mod pictures;
mod report;
mod score;
mod texts;
mod train;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use oddlens::eval::paths;

const EXAMPLES: &str = "\
Examples:
  oddlens score --normal dog photos/
  oddlens score --normal dog,cat --format csv '**/*.jpg' > scores.csv
  oddlens embed --text \"a photo of a dog\" dog.jpg
  oddlens model inspect model.safetensors

Exit status: 0 everything worked, 1 something failed (a line says what), 2 wrong usage.";

/// Is this picture normal? Scores how anomalous pictures are, by a CLIP model and a few words that say what is normal.
#[derive(Parser)]
#[command(name = "oddlens", version, after_help = EXAMPLES, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Score(score::Args),
    Train(train::Args),
    Eval(eval::Args),
    Embed(embed::Args),
    Bench(bench::Args),
    #[command(subcommand)]
    Model(model::Command),
}

/// Whether everything that was asked for could be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    All,
    /// Some pictures failed; their lines say why.
    Some,
}

/// Why a subcommand ended early.
#[derive(Debug)]
enum Failure {
    /// The command line asks for something that cannot be: exit status 2.
    Usage(String),
    /// The command line is right, its result cannot be had: exit status 1.
    Failed(String),
    /// Standard output cannot be written.
    Output(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Output(error)
    }
}

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    match run(&matches) {
        Ok(Done::All) => ExitCode::SUCCESS,
        Ok(Done::Some) => ExitCode::from(1),
        // Whoever read our output has enough (`| head`): no reason to complain.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Output(error)) => complain(&format!("cannot write the output: {}", paths::one_line(&error)), 1),
        Err(Failure::Failed(message)) => complain(&message, 1),
        Err(Failure::Usage(message)) => complain(&message, 2),
    }
}

fn run(matches: &ArgMatches) -> Result<Done, Failure> {
    let cli = Cli::from_arg_matches(matches).unwrap_or_else(|error| error.exit());
    match cli.command {
        Command::Score(arguments) => score::run(arguments),
        Command::Train(arguments) => train::run(arguments),
        Command::Eval(arguments) => eval::run(arguments),
        Command::Embed(arguments) => {
            let matches = matches.subcommand_matches("embed").expect("clap has just parsed this subcommand");
            embed::run(arguments, matches)
        }
        Command::Bench(arguments) => bench::run(arguments),
        Command::Model(command) => model::run(command),
    }
}

fn complain(message: &str, status: u8) -> ExitCode {
    say(&format!("error: {message}"));
    ExitCode::from(status)
}

/// One line on standard error. That nobody listens there is no failure.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        fn check(command: &clap::Command) {
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Examples:"), "{}: {help}", command.get_name());
            assert!(command.get_about().is_some(), "{}", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
