//! [`Picture`]: one card of the grid, from its arrival to its verdict. It does not know where its bytes are.

use std::rc::Rc;

use crate::protocol::{Entry, ImageId, JobId, PictureInfo, Score, Stage, Timings};

/// One picture that a person gave us.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    pub id: ImageId,
    /// The file's name, with its folders where it came in one.
    pub name: Rc<str>,
    /// Size of the file.
    pub bytes: u64,
    pub phase: Phase,
    /// Address of a small JPEG of it.
    pub thumbnail: Option<Rc<str>>,
    /// Taken off the grid, but it can be brought back.
    pub removed: bool,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    Queued,
    Scoring { job: JobId },
    Done(Rc<Outcome>),
    Failed { stage: Stage, message: Rc<str> },
}

/// What is known of a scored picture. `score` runs along `entries`.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub score: Score,
    pub entries: Rc<[Entry]>,
    pub picture: PictureInfo,
    pub timings: Timings,
}

impl Outcome {
    /// The normal class that is nearest to the picture.
    pub fn nearest(&self) -> &str {
        self.entries.get(self.score.nearest).map_or("", |e| &e.label)
    }
}

impl Picture {
    pub fn new(id: ImageId, name: &str, bytes: u64) -> Self {
        Self { id, name: name.into(), bytes, phase: Phase::Queued, thumbnail: None, removed: false }
    }

    pub fn outcome(&self) -> Option<&Rc<Outcome>> {
        match &self.phase {
            Phase::Done(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// The phase as the page's test hooks name it.
    pub fn phase_name(&self) -> &'static str {
        match self.phase {
            Phase::Queued => "queued",
            Phase::Scoring { .. } => "scoring",
            Phase::Done(_) => "done",
            Phase::Failed { .. } => "failed",
        }
    }
}
