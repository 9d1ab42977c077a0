//! [`Picture`]: one card of the grid, from its arrival to its verdict. It does not know where its bytes are.

use std::rc::Rc;

use super::learning::folder_of;
use crate::protocol::{Basis, Entry, ImageId, JobId, Kind, Label, PictureInfo, Role, Score, Stage, Timings};

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
    /// What the folders in its name say it is.
    pub folder: Folder,
    /// What a person says it is, which counts more; `Some(None)`: that its folder's word does not count.
    pub by_hand: Option<Option<Kind>>,
    pub role: Role,
    /// What it is taken for.
    pub label: Option<Label>,
    /// What the engine was told.
    pub told: Option<Label>,
    /// How its score came about; `None` before the engine said so.
    pub basis: Option<Basis>,
}

/// What folders say of a picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Folder {
    #[default]
    Nothing,
    /// `normal/`, `anomalous/` and their like.
    Says(Kind),
    /// Named after a class, maybe.
    Class(Rc<str>),
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
        let (folder, role) = folder_of(name);
        Self {
            id,
            name: name.into(),
            bytes,
            phase: Phase::Queued,
            thumbnail: None,
            removed: false,
            folder,
            by_hand: None,
            role,
            label: None,
            told: None,
            basis: None,
        }
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
