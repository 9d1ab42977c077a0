//! `oddlens score`: how anomalous is each picture?

use std::io::{self, BufWriter};
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use oddlens::clip::Encoder;
use oddlens::engine::pipeline::{Prepared, see};
use oddlens::eval::paths;
use oddlens::protocol::{Basis, DEFAULT_METHOD, Note, Pixels};
use oddlens::score::{METHODS, Method};
use oddlens::train::head_file::{self, SavedHead};

use crate::labels::{Labelled, Labels};
use crate::learn::{ExampleArgs, Lessons, read_head};
use crate::load::{Loaded, ModelArgs, load};
use crate::pictures::{self, Threads, no_clock};
use crate::report::{Format, Report, Tally};
use crate::texts::TextArgs;
use crate::train::warning;
use crate::{Done, Failure, say};

const EXAMPLES: &str = "\
Examples:
  oddlens score --normal dog photos/
  oddlens score --normal dog,cat --threshold 0.8 a.jpg b.png '2026-*/**/*.jpg'
  oddlens score --normal screw --anomaly 'a photo of a broken {}' --model clip.gguf parts/
  oddlens score --normal dog --template 'a photo of a {}' --template 'a drawing of a {}' pets/
  oddlens score --normal dog --format json photos/ | jq -s 'sort_by(-.margin)[:10] | .[].path'
  oddlens score parts/ --method bce --normal screw --normal-examples good/ --outlier-examples bad/
  oddlens score --head head.json parts/
  oddlens score --normal dog --labels folder test/

Output: one line for each picture, in the order given, folders sorted by path, whatever the
number of threads.
  text  score, verdict, nearest normal name, path; then a summary on standard error
  json  {\"path\", \"score\", \"margin\", \"verdict\": \"normal\" or \"anomalous\", \"nearest\",
         \"entries\": [{\"text\", \"kind\": \"normal\" or \"anomaly\", \"cosine\", \"probability\"}]}
        or {\"path\", \"error\"}
  csv   path,score,margin,verdict,nearest,error
The score runs from 0 (normal) to 1 (anomalous). The margin gives the same order without
saturation: use it to rank.

Methods beyond zero-shot and mcm learn from examples (name the pictures to score first: a list of
examples takes all paths behind it). Of a picture that is itself an example, the score comes from
cross-validation, and json has \"basis\": \"cross-validated\" (\"learned\" where it could not be left
out). The page gives the same scores for the same examples, setup and seed. Without --threshold,
the methods whose scores have no natural middle (nearest-normal, text-and-examples, dsvdd) take
one from the normal examples, above which at most 5 % of such pictures are expected (more where
there are fewer than 19 of them).

With --labels folder a last line on standard error has AUROC, its interval, average precision and
the false-alarm rate; with --format json it also stands on standard output as
  {\"labels\", \"normal\", \"anomalous\", \"cross_validated\", \"auroc\", \"auroc_interval\": [low, high],
   \"average_precision\", \"fpr_at_95\"} or {\"labels\", \"error\"}

Exit status: 0 all pictures were scored, 1 some failed,
2 wrong usage (also: no picture found, the model cannot be read).";

/// Score how anomalous pictures are
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What is normal: names, separated by commas or given repeatedly; not needed with --head, which knows its own
    #[arg(long, value_name = "NAMES", required_unless_present = "head", value_delimiter = ',')]
    normal: Vec<String>,
    #[command(flatten)]
    texts: TextArgs,
    /// How a score comes about [default: zero-shot; with --head, the head's]
    #[arg(long, value_name = "METHOD", value_parser = methods(|_| true))]
    method: Option<String>,
    #[command(flatten)]
    examples: ExampleArgs,
    /// A head that 'oddlens train' or the page saved, in place of examples
    #[arg(long, value_name = "FILE", conflicts_with_all = ["normal_examples", "outlier_examples"])]
    head: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    /// A picture whose score is larger is anomalous, 0 to 1 [default: the built-in model's own; 0.5 with --model FILE and
    /// for trained classifiers]
    #[arg(long, value_name = "SCORE", value_parser = threshold)]
    threshold: Option<f32>,
    #[command(flatten)]
    threads: Threads,
    /// The form of the output
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Say how well the scores agree with labels
    #[arg(long, value_enum, value_name = "FROM")]
    labels: Option<Labels>,
    /// Pictures, folders (with all pictures below, recognised by extension) and patterns (*, ?, [..], **)
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
}

/// The methods of the list that `wanted` picks.
pub fn methods(wanted: fn(&Method) -> bool) -> PossibleValuesParser {
    PossibleValuesParser::new(
        METHODS
            .iter()
            .filter(|method| wanted(method))
            .map(|method| clap::builder::PossibleValue::new(method.id).help(method.name)),
    )
}

fn threshold(text: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| "expected a number from 0 to 1".to_string())?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err("expected a number from 0 to 1".into()) }
}

/// Scores what the arguments name.
///
/// # Errors
/// When the setup cannot be asked, examples are lacking, no picture is found, the model or head cannot be read, or the output
/// cannot be written.
pub fn run(arguments: Args) -> Result<Done, Failure> {
    let listing = pictures::list(&arguments.paths)?;
    let asked = oddlens::score::method(arguments.method.as_deref().unwrap_or(DEFAULT_METHOD));
    let mut method = asked.map_err(|e| Failure::Usage(e.to_string()))?;
    if arguments.head.is_none() {
        arguments.examples.check(method)?;
    }
    let loaded = load(&arguments.model)?;
    let mut setup = arguments.texts.setup(&arguments.normal, method);
    let head = arguments.head.as_deref().map(read_head).transpose()?;
    if let Some(bytes) = &head {
        let saved = saved_head(bytes, &loaded, arguments.method.as_deref())?;
        method = saved.method;
        if arguments.normal.is_empty() {
            setup = saved.setup;
        }
        setup.method = method.id.into();
    }
    let prepared = Prepared::new(&loaded.clip, &setup).map_err(|failure| Failure::Usage(failure.message))?;
    say_notes(&prepared);
    let lessons = learn(&arguments, method, head.as_deref(), &loaded, &prepared)?;
    let ready = lessons.ready(method, &prepared)?;
    let threshold = match (arguments.threshold, method.threshold) {
        (Some(threshold), _) | (None, Some(threshold)) => threshold,
        _ if method.needs_texts_only() => loaded.threshold,
        _ => match lessons.threshold(method, &prepared) {
            Some((threshold, rate)) => {
                let percent = 100.0 * rate;
                say(&format!(
                    "note: threshold {threshold}: at most {percent:.0} % of normal pictures like the examples are expected above it"
                ));
                threshold
            }
            None => loaded.threshold,
        },
    };
    let output = BufWriter::new(io::stdout().lock());
    let report = Report::begin(output, arguments.format, prepared.entries(), threshold)?;
    let mut scoring = (report, Labelled::default());
    pictures::work_through(
        &arguments.threads,
        ("pictures", &listing.found),
        |found| {
            let bytes = paths::read(found.file()?)?;
            let seen = see(&loaded.clip, &Pixels::Encoded, &bytes, no_clock).map_err(|failure| failure.message)?;
            Ok(match lessons.example(&bytes) {
                Some((example, kind)) => (ready.judge(example, &seen.embedding), Some(kind)),
                None => ((ready.score(&seen.embedding), Basis::Unseen), None),
            })
        },
        &mut scoring,
        |(report, labelled), found, outcome| {
            if let Ok(((score, basis), known)) = &outcome {
                labelled.take(found.path(), *known, &setup.normal, score, *basis);
            }
            Ok(report.write(found.path(), &outcome.map(|(score, _)| score))?)
        },
        |(report, _)| report.flush(),
    )?;
    let (mut report, labelled) = scoring;
    if arguments.labels.is_some() {
        report.extra(&labelled.agreement())?;
        report.flush()?;
    }
    let tally = report.tally;
    drop(report);
    if arguments.format == Format::Text {
        pictures::say_passed_over(&listing);
        let Tally { normal, anomalous, failed, .. } = tally;
        say(&format!(
            "{} scored: {normal} normal, {anomalous} anomalous (score above {threshold}); {failed} failed",
            normal + anomalous
        ));
    }
    say_examples(tally);
    if arguments.labels.is_some() {
        say(&labelled.agreement().line());
    }
    Ok(if tally.failed + lessons.failed == 0 { Done::All } else { Done::Some })
}

/// What a head file holds.
fn saved_head(bytes: &[u8], loaded: &Loaded, asked: Option<&str>) -> Result<SavedHead, Failure> {
    let saved = head_file::read(bytes, &loaded.sha256, loaded.clip.embed_dim());
    let saved = saved.map_err(|e| Failure::Usage(e.to_string()))?;
    match asked.filter(|asked| *asked != saved.method.id) {
        Some(asked) => {
            let own = saved.method.id;
            Err(Failure::Usage(format!("head file: expected a head of the method {asked}, got one of {own}")))
        }
        None => Ok(saved),
    }
}

/// What the method needs to know before it scores.
fn learn(
    arguments: &Args,
    method: &'static Method,
    head: Option<&[u8]>,
    loaded: &Loaded,
    prepared: &Prepared,
) -> Result<Lessons, Failure> {
    if let Some(bytes) = head {
        let mut lessons = Lessons::none();
        if !lessons.take_head(bytes, &loaded.sha256, prepared)? {
            let message =
                "head file: expected the texts that it was trained with, got others; leave --normal out to use its own";
            return Err(Failure::Usage(message.into()));
        }
        return Ok(lessons);
    }
    if method.needs_texts_only() {
        if !arguments.examples.is_empty() {
            say(&format!("note: {} looks at no examples; those given are passed over", method.id));
        }
        return Ok(Lessons::none());
    }
    let mut lessons = Lessons::look(&arguments.examples, loaded, &arguments.threads)?;
    if method.needs.training {
        let fitted = lessons.fit(method, prepared, arguments.examples.seed)?;
        warning(method.id, &fitted).iter().for_each(|warning| say(warning));
    }
    Ok(lessons)
}

/// How pictures were judged that are examples themselves.
fn say_examples(tally: Tally) {
    if tally.cross_validated > 0 {
        say(&format!(
            "note: {} of the pictures are examples; their scores come from cross-validation",
            tally.cross_validated
        ));
    }
    if tally.learned > 0 {
        say(&format!(
            "note: {} of the pictures are examples that could not be left out: the method has learned from them",
            tally.learned
        ));
    }
}

/// Says what is doubtful about the texts.
pub fn say_notes(prepared: &Prepared) {
    for note in prepared.notes() {
        say(&format!("note: {}", said(note)));
    }
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
