//! One line for each picture, in the form that was asked for: columns for people, JSON, or CSV.
//!
//! Lines are written as they come and nothing is kept. It does not know how a score came about.

use std::io::{self, Write};
use std::path::Path;

use clap::ValueEnum;
use oddlens::protocol::{Basis, Entry, EntryKind, Score};
use serde::Serialize;

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people
    Text,
    /// One JSON object a line
    Json,
    /// Comma-separated values with a header
    Csv,
}

/// A picture's score and how it came about, or one line that says why it has none.
pub type Outcome = Result<(Score, Basis), String>;

/// Writes outcomes to `out`.
pub struct Report<'a, W> {
    out: W,
    format: Format,
    entries: &'a [Entry],
    threshold: f32,
    /// Characters in the widest name of the normal classes.
    nearest_width: usize,
    pub tally: Tally,
}

/// How many came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub normal: usize,
    pub anomalous: usize,
    pub failed: usize,
    /// Of those with a score: examples whose score is by cross-validation.
    pub cross_validated: usize,
    /// Of those with a score: examples that could not be left out.
    pub learned: usize,
}

#[derive(Serialize)]
struct JsonScore<'a> {
    path: &'a str,
    score: f32,
    margin: f32,
    verdict: &'a str,
    nearest: &'a str,
    /// Only where the method learned from the picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    basis: Option<&'a str>,
    entries: Vec<JsonEntry<'a>>,
}

#[derive(Serialize)]
struct JsonEntry<'a> {
    text: &'a str,
    kind: EntryKind,
    cosine: f32,
    probability: f32,
}

#[derive(Serialize)]
struct JsonFailure<'a> {
    path: &'a str,
    error: &'a str,
}

impl<'a, W: Write> Report<'a, W> {
    /// Begins a report, with its header if it has one. `entries` are those of the scores to come.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn begin(mut out: W, format: Format, entries: &'a [Entry], threshold: f32) -> io::Result<Self> {
        let normal = entries.iter().filter(|entry| entry.kind == EntryKind::Normal);
        let nearest_width =
            normal.map(|entry| visible(&entry.label).chars().count()).max().unwrap_or(0).max("nearest".len());
        match format {
            Format::Text => writeln!(out, " score  verdict    {:nearest_width$}  path", "nearest")?,
            Format::Json => {}
            Format::Csv => out.write_all(&csv_line(&["path", "score", "margin", "verdict", "nearest", "error"])?)?,
        }
        Ok(Self { out, format, entries, threshold, nearest_width, tally: Tally::default() })
    }

    /// Writes one line.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write(&mut self, path: &Path, outcome: &Outcome) -> io::Result<()> {
        // Paths that are no Unicode are shown with replacement characters; they were read all the same.
        let path = &*path.to_string_lossy();
        let width = self.nearest_width;
        match outcome {
            Ok((score, basis)) => {
                let verdict = self.count(score, *basis);
                let nearest = &*self.entries[score.nearest].label;
                match self.format {
                    Format::Text => {
                        let (nearest, path) = (visible(nearest), visible(path));
                        writeln!(self.out, "{:6.4}  {verdict:9}  {nearest:width$}  {path}", score.value)
                    }
                    Format::Json => self.json(&JsonScore {
                        path,
                        score: score.value,
                        margin: score.margin,
                        verdict,
                        nearest,
                        basis: match basis {
                            Basis::Unseen => None,
                            Basis::CrossValidated => Some("cross-validated"),
                            Basis::Learned => Some("learned"),
                        },
                        entries: self.json_entries(score),
                    }),
                    Format::Csv => {
                        let (value, margin) = (score.value.to_string(), score.margin.to_string());
                        self.out.write_all(&csv_line(&[path, &value, &margin, verdict, nearest, ""])?)
                    }
                }
            }
            Err(error) => {
                self.tally.failed += 1;
                match self.format {
                    Format::Text => {
                        let (path, error) = (visible(path), visible(error));
                        writeln!(self.out, "{:>6}  {:9}  {:width$}  {path}: {error}", "-", "failed", "-")
                    }
                    Format::Json => self.json(&JsonFailure { path, error }),
                    Format::Csv => self.out.write_all(&csv_line(&[path, "", "", "", "", error])?),
                }
            }
        }
    }

    /// Writes a line of JSON of another kind, where that is the form.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn extra(&mut self, line: &impl Serialize) -> io::Result<()> {
        if self.format == Format::Json { self.json(line) } else { Ok(()) }
    }

    /// Hands on what is buffered.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn count(&mut self, score: &Score, basis: Basis) -> &'static str {
        match basis {
            Basis::Unseen => {}
            Basis::CrossValidated => self.tally.cross_validated += 1,
            Basis::Learned => self.tally.learned += 1,
        }
        if score.is_anomalous(self.threshold) {
            self.tally.anomalous += 1;
            "anomalous"
        } else {
            self.tally.normal += 1;
            "normal"
        }
    }

    fn json_entries(&self, score: &Score) -> Vec<JsonEntry<'a>> {
        let numbers = score.cosines.iter().zip(&score.probabilities);
        let entry = |(entry, (&cosine, &probability)): (&'a Entry, (&f32, &f32))| JsonEntry {
            text: &entry.text,
            kind: entry.kind,
            cosine,
            probability,
        };
        self.entries.iter().zip(numbers).map(entry).collect()
    }

    fn json(&mut self, line: &impl Serialize) -> io::Result<()> {
        json_line(&mut self.out, line)
    }
}

/// One object, one line.
///
/// # Errors
/// When `out` cannot be written.
pub fn json_line(mut out: impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut out, line)?;
    out.write_all(b"\n")
}

/// One record, quoted where it must be.
fn csv_line(fields: &[&str]) -> io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(fields)?;
    writer.into_inner().map_err(csv::IntoInnerError::into_error)
}

/// `text` with control characters escaped: a file name must not break the line nor command the terminal.
pub fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str, label: &str, kind: EntryKind) -> Entry {
        Entry { text: text.into(), label: label.into(), kind }
    }

    /// One normal, one anomalous, one failed picture with difficult names.
    fn report(format: Format) -> String {
        let entries = [
            entry("a photo of a dog", "dog", EntryKind::Normal),
            entry("a photo of a grand piano", "grand piano", EntryKind::Normal),
            entry("a photo of something", "a photo of something", EntryKind::Anomaly),
        ];
        let low = Score {
            value: 0.25,
            margin: -1.5,
            nearest: 1,
            cosines: vec![0.125, 0.25, 0.5],
            probabilities: vec![0.25, 0.5, 0.25],
        };
        let high = Score { value: 0.75, margin: 2.5, nearest: 0, ..low.clone() };
        let mut out = Vec::new();
        let mut report = Report::begin(&mut out, format, &entries, 0.5).unwrap();
        report.write(Path::new("a, \"b\".jpg"), &Ok((low, Basis::Unseen))).unwrap();
        report.write(Path::new("c.png"), &Ok((high, Basis::Unseen))).unwrap();
        report.write(Path::new("new\nline\u{1b}[2J.gif"), &Err("broken GIF: no end".into())).unwrap();
        assert_eq!(report.tally, Tally { normal: 1, anomalous: 1, failed: 1, ..Tally::default() });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_is_aligned() {
        assert_eq!(
            report(Format::Text),
            " score  verdict    nearest      path\n\
             0.2500  normal     grand piano  a, \"b\".jpg\n\
             0.7500  anomalous  dog          c.png\n     \
             -  failed     -            new\\nline\\u{1b}[2J.gif: broken GIF: no end\n"
        );
    }

    #[test]
    fn json_is_one_object_a_line_with_the_promised_keys() {
        let text = report(Format::Json);
        let lines: Vec<&str> = text.lines().collect();
        let entries = r#"[{"text":"a photo of a dog","kind":"normal","cosine":0.125,"probability":0.25},{"text":"a photo of a grand piano","kind":"normal","cosine":0.25,"probability":0.5},{"text":"a photo of something","kind":"anomaly","cosine":0.5,"probability":0.25}]"#;
        assert_eq!(
            lines,
            [
                format!(
                    r#"{{"path":"a, \"b\".jpg","score":0.25,"margin":-1.5,"verdict":"normal","nearest":"grand piano","entries":{entries}}}"#
                ),
                format!(
                    r#"{{"path":"c.png","score":0.75,"margin":2.5,"verdict":"anomalous","nearest":"dog","entries":{entries}}}"#
                ),
                r#"{"path":"new\nline\u001b[2J.gif","error":"broken GIF: no end"}"#.to_string(),
            ]
        );
    }

    #[test]
    fn csv_is_quoted_where_it_must_be() {
        assert_eq!(
            report(Format::Csv),
            "path,score,margin,verdict,nearest,error\n\
             \"a, \"\"b\"\".jpg\",0.25,-1.5,normal,grand piano,\n\
             c.png,0.75,2.5,anomalous,dog,\n\
             \"new\nline\u{1b}[2J.gif\",,,,,broken GIF: no end\n"
        );
    }
}
