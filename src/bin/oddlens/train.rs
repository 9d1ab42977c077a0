//! `oddlens train`: a head from examples, as a file that the page and `oddlens score` take.

use std::io::{self, Write};
use std::path::PathBuf;

use oddlens::engine::pipeline::Prepared;
use oddlens::eval::paths::{one_line, replace};
use oddlens::protocol::{Fitted, Verdict};
use oddlens::score::METHODS;

use crate::learn::{ExampleArgs, Lessons};
use crate::load::{ModelArgs, load};
use crate::pictures::Threads;
use crate::score::{methods, say_notes};
use crate::texts::TextArgs;
use crate::{Done, Failure, say};

const EXAMPLES: &str = "\
Examples:
  oddlens train --method bce --normal screw --normal-examples ok/ --outlier-examples bad/ --out h.json
  oddlens train --method dsvdd --normal dog,cat --normal-examples pets/ --out pets.json
  oddlens score --head h.json parts/

Learned from are the examples alone; how well it went is told by cross-validation (AUROC on
examples that were left out), next to zero-shot on the same pictures. A head is for one model: the
file holds that model's checksum, and another model refuses it. The page loads the same file.

Exit status: 0 the head was written, 1 some examples could not be read or the file could not be
written, 2 wrong usage (also: too few examples).";

/// Train a head on example pictures
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What is trained; 'oddlens eval' compares them
    #[arg(long, value_name = "METHOD", value_parser = methods(|m| m.needs.training))]
    method: String,
    /// What is normal: names, separated by commas or given repeatedly
    #[arg(long, value_name = "NAMES", required = true, value_delimiter = ',')]
    normal: Vec<String>,
    #[command(flatten)]
    texts: TextArgs,
    #[command(flatten)]
    examples: ExampleArgs,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    threads: Threads,
}

/// Trains.
///
/// # Errors
/// When examples are lacking, the setup cannot be asked, the model cannot be read, or the file cannot be written.
pub fn run(arguments: Args) -> Result<Done, Failure> {
    let method = oddlens::score::method(&arguments.method).map_err(|e| Failure::Usage(e.to_string()))?;
    arguments.examples.check(method)?;
    let loaded = load(&arguments.model)?;
    let setup = arguments.texts.setup(&arguments.normal, method);
    let prepared = Prepared::new(&loaded.clip, &setup).map_err(|failure| Failure::Usage(failure.message))?;
    say_notes(&prepared);
    let mut lessons = Lessons::look(&arguments.examples, &loaded, &arguments.threads)?;
    let fitted = lessons.fit(method, &prepared, arguments.examples.seed)?;
    let bytes = lessons.save(method, &loaded)?;
    let written = replace(&arguments.out, &bytes);
    written.map_err(|e| Failure::Failed(format!("cannot write {}: {}", arguments.out.display(), one_line(&e))))?;
    let mut out = io::stdout().lock();
    tell(&mut out, method.name, &fitted)?;
    writeln!(out, "written to {}", arguments.out.display())?;
    if let Some(warning) = warning(method.id, &fitted) {
        say(&warning);
    }
    Ok(if lessons.failed == 0 { Done::All } else { Done::Some })
}

fn tell(out: &mut impl Write, name: &str, fitted: &Fitted) -> io::Result<()> {
    let Fitted { normal_examples, outlier_examples, .. } = fitted;
    writeln!(out, "{name}: learned from {normal_examples} normal examples and {outlier_examples} outliers")?;
    match (fitted.auroc, fitted.zero_shot_auroc) {
        (Some(own), Some(zero_shot)) => {
            writeln!(out, "cross-validated AUROC {own:.4}; zero-shot on the same pictures {zero_shot:.4}")
        }
        _ => writeln!(out, "cross-validated AUROC unknown: too few examples of one kind could be left out"),
    }
}

/// What a person must know before using the head.
pub fn warning(id: &str, fitted: &Fitted) -> Option<String> {
    match (fitted.verdict, fitted.auroc, fitted.zero_shot_auroc) {
        (Verdict::Worse, Some(own), Some(zero_shot)) => {
            let better = METHODS[0].id;
            Some(format!(
                "warning: {id} ends below {better} on the examples (AUROC {own:.4} against {zero_shot:.4}): better use --method {better}, or give more examples"
            ))
        }
        _ => None,
    }
}
