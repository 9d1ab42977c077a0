//! The scores as text to take away: CSV for tables, JSON lines for programs, with the same keys as the command line's
//! `oddlens score` writes. It does not know how text becomes a file.

use std::rc::Rc;

use serde::Serialize;

use super::State;
use super::picture::{Outcome, Phase, Picture};
use crate::protocol::EntryKind;

#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    score: f32,
    margin: f32,
    verdict: &'static str,
    nearest: &'a str,
    entries: Vec<Text<'a>>,
}

#[derive(Serialize)]
struct Text<'a> {
    text: &'a str,
    kind: EntryKind,
    cosine: f32,
    probability: f32,
}

#[derive(Serialize)]
struct Failure<'a> {
    path: &'a str,
    error: &'a str,
}

/// The word for a verdict, here and on the command line.
pub fn verdict(anomalous: bool) -> &'static str {
    if anomalous { "anomalous" } else { "normal" }
}

/// The pictures as they stand at one moment. Its lines are written one by one, so that whoever takes them can pause between
/// them: a thousand pictures with thirty classes are ten megabytes of text.
pub struct Snapshot {
    pictures: Vec<Rc<Picture>>,
    threshold: f32,
}

impl Snapshot {
    /// Every picture that is scored or failed, in order of arrival.
    pub fn of(state: &State) -> Self {
        let finished = |p: &&Rc<Picture>| !p.removed && matches!(p.phase, Phase::Done(_) | Phase::Failed { .. });
        Self {
            pictures: state.pictures.iter().filter(finished).cloned().collect(),
            threshold: state.threshold_in_use(),
        }
    }

    /// One JSON object a line.
    pub fn json_lines(self) -> impl Iterator<Item = String> {
        self.pictures.into_iter().filter_map(move |p| {
            let line = match &p.phase {
                Phase::Done(o) => serde_json::to_string(&line(&p, o, self.threshold)),
                Phase::Failed { message, .. } => serde_json::to_string(&Failure { path: &p.name, error: message }),
                _ => return None,
            };
            // a value of plain structs has no way to fail; were there one, the line is left out rather than the page lost
            line.ok().map(|line| line + "\n")
        })
    }

    /// The same as a table (RFC 4180 quoting, LF line ends): `path,score,margin,verdict,nearest,error`.
    pub fn csv(self) -> impl Iterator<Item = String> {
        let head = std::iter::once("path,score,margin,verdict,nearest,error\n".to_owned());
        head.chain(self.pictures.into_iter().filter_map(move |p| {
            let fields = match &p.phase {
                Phase::Done(o) => [
                    p.name.to_string(),
                    o.score.value.to_string(),
                    o.score.margin.to_string(),
                    verdict(o.score.is_anomalous(self.threshold)).to_owned(),
                    o.nearest().to_owned(),
                    String::new(),
                ],
                Phase::Failed { message, .. } => [
                    p.name.to_string(),
                    String::new(),
                    String::new(),
                    String::new(),
                    String::new(),
                    message.to_string(),
                ],
                _ => return None,
            };
            Some(fields.map(|f| quote(&f)).join(",") + "\n")
        }))
    }
}

fn line<'a>(picture: &'a Picture, outcome: &'a Outcome, threshold: f32) -> Line<'a> {
    let score = &outcome.score;
    let numbers = score.cosines.iter().zip(&score.probabilities);
    Line {
        path: &picture.name,
        score: score.value,
        margin: score.margin,
        verdict: verdict(score.is_anomalous(threshold)),
        nearest: outcome.nearest(),
        entries: outcome
            .entries
            .iter()
            .zip(numbers)
            .map(|(e, (&cosine, &probability))| Text { text: &e.text, kind: e.kind, cosine, probability })
            .collect(),
    }
}

fn quote(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}
