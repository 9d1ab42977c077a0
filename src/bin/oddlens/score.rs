//! `oddlens score`: how anomalous is each picture?

use std::io::{self, BufWriter};
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use oddlens::engine::pipeline::{Prepared, see};
use oddlens::eval::paths;
use oddlens::protocol::{DEFAULT_ANOMALY, DEFAULT_METHOD, DEFAULT_TEMPLATE, Note, Pixels, Setup};
use oddlens::score::METHODS;

use crate::load::{ModelArgs, load};
use crate::pictures::{self, Threads, no_clock};
use crate::report::{Format, Report, Tally};
use crate::{Done, Failure, say};

const EXAMPLES: &str = "\
Examples:
  oddlens score --normal dog photos/
  oddlens score --normal dog,cat --threshold 0.8 a.jpg b.png '2026-*/**/*.jpg'
  oddlens score --normal screw --anomaly 'a photo of a broken {}' --model clip.gguf parts/
  oddlens score --normal dog --template 'a photo of a {}' --template 'a drawing of a {}' pets/
  oddlens score --normal dog --format json photos/ | jq -s 'sort_by(-.margin)[:10] | .[].path'

Output: one line for each picture, in the order given, folders sorted by path, whatever the
number of threads.
  text  score, verdict, nearest normal name, path; then a summary on standard error
  json  {\"path\", \"score\", \"margin\", \"verdict\": \"normal\" or \"anomalous\", \"nearest\",
         \"entries\": [{\"text\", \"kind\": \"normal\" or \"anomaly\", \"cosine\", \"probability\"}]}
        or {\"path\", \"error\"}
  csv   path,score,margin,verdict,nearest,error
The score runs from 0 (normal) to 1 (anomalous). The margin gives the same order without
saturation: use it to rank.

Exit status: 0 all pictures were scored, 1 some failed,
2 wrong usage (also: no picture found, the model cannot be read).";

/// Score how anomalous pictures are
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What is normal: names, separated by commas or given repeatedly
    #[arg(long, value_name = "NAMES", required = true, value_delimiter = ',')]
    normal: Vec<String>,
    /// Prompt for a normal name, which stands at '{}'; several are averaged
    #[arg(long, value_name = "TEXT", default_value = DEFAULT_TEMPLATE)]
    template: Vec<String>,
    /// Text that stands for the anomaly; several are possible; with '{}' it is asked for every normal name
    #[arg(long, value_name = "TEXT", default_value = DEFAULT_ANOMALY)]
    anomaly: Vec<String>,
    /// Name of an outlier that is known to occur, a further text for the anomaly; several are possible
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    known_outlier: Vec<String>,
    /// How cosines become a score
    #[arg(long, value_name = "METHOD", default_value = DEFAULT_METHOD, value_parser = methods())]
    method: String,
    #[command(flatten)]
    model: ModelArgs,
    /// A picture whose score is larger is anomalous, 0 to 1 [default: the built-in model's own; 0.5 with --model FILE]
    #[arg(long, value_name = "SCORE", value_parser = threshold)]
    threshold: Option<f32>,
    #[command(flatten)]
    threads: Threads,
    /// The form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Pictures, folders (with all pictures below, recognised by extension) and patterns (*, ?, [..], **)
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
}

fn methods() -> PossibleValuesParser {
    PossibleValuesParser::new(
        METHODS.iter().map(|method| clap::builder::PossibleValue::new(method.id).help(method.name)),
    )
}

fn threshold(text: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| "expected a number from 0 to 1".to_string())?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err("expected a number from 0 to 1".into()) }
}

/// Scores what the arguments name.
///
/// # Errors
/// When the setup cannot be asked, no picture is found, the model cannot be read, or the output cannot be written.
pub fn run(arguments: Args) -> Result<Done, Failure> {
    let listing = pictures::list(&arguments.paths)?;
    let loaded = load(&arguments.model)?;
    let setup = Setup {
        normal: arguments.normal.iter().map(|name| name.trim().to_string()).filter(|name| !name.is_empty()).collect(),
        templates: arguments.template,
        anomaly: arguments.anomaly,
        known_outliers: arguments.known_outlier,
        method: arguments.method,
    };
    let prepared = Prepared::new(&loaded.clip, &setup).map_err(|failure| Failure::Usage(failure.message))?;
    let detector = prepared.detector().map_err(|failure| Failure::Usage(failure.message))?;
    for note in prepared.notes() {
        say(&format!("note: {}", said(note)));
    }
    let threshold = arguments.threshold.unwrap_or(loaded.threshold);
    let output = BufWriter::new(io::stdout().lock());
    let mut report = Report::begin(output, arguments.format, prepared.entries(), threshold)?;
    pictures::work_through(
        &arguments.threads,
        &listing.found,
        |found| {
            let bytes = paths::read(found.file()?)?;
            let seen = see(&loaded.clip, &Pixels::Encoded, &bytes, no_clock).map_err(|failure| failure.message)?;
            Ok(detector.score(&seen.embedding))
        },
        &mut report,
        |report, found, outcome| Ok(report.write(found.path(), &outcome)?),
        Report::flush,
    )?;
    let tally = report.tally;
    drop(report);
    if arguments.format == Format::Text {
        pictures::say_passed_over(&listing);
        let Tally { normal, anomalous, failed } = tally;
        say(&format!(
            "{} scored: {normal} normal, {anomalous} anomalous (score above {threshold}); {failed} failed",
            normal + anomalous
        ));
    }
    Ok(if tally.failed == 0 { Done::All } else { Done::Some })
}

/// A note with the names to choose instead.
fn said(note: &Note) -> String {
    if note.suggestions.is_empty() {
        return note.message.clone();
    }
    let names: Vec<_> = note.suggestions.iter().map(|name| format!("'{name}'")).collect();
    format!("{}; nearest known: {}", note.message, names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use oddlens::protocol::NoteKind;

    #[test]
    fn thresholds_are_probabilities() {
        assert_eq!(threshold("0.25"), Ok(0.25));
        assert_eq!(threshold("1"), Ok(1.0));
        for wrong in ["-0.1", "1.5", "nan", "inf", "half", ""] {
            assert!(threshold(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_note_offers_names() {
        let mut note = Note {
            label: "dgo".into(),
            kind: NoteKind::UnknownName,
            message: "'dgo' is unknown".into(),
            suggestions: vec!["dog".into(), "dodo".into()],
        };
        assert_eq!(said(&note), "'dgo' is unknown; nearest known: 'dog', 'dodo'");
        note.suggestions.clear();
        assert_eq!(said(&note), "'dgo' is unknown");
    }
}
