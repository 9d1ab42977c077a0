//! [`Camera`]: the live card. It keeps the rule "at most one frame in flight" and a short history; it does not know where
//! frames come from.

use std::rc::Rc;

use crate::protocol::{Entry, JobId, Score, Timings};

/// Scores that the history line shows.
pub const HISTORY: usize = 120;
/// Weight of the newest interval in the moving average of the frame rate.
const SMOOTH: f64 = 0.15;

/// What the camera shows and how it is doing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Camera {
    pub phase: CameraPhase,
    /// The newest score and the texts it runs along.
    pub latest: Option<Rc<(Score, Rc<[Entry]>)>>,
    /// Newest last.
    pub history: Vec<f32>,
    /// Scored frames a second; smoothed.
    pub fps: Option<f64>,
    /// From the frame to its score, milliseconds.
    pub latency_millis: Option<f64>,
    pub timings: Timings,
    /// Why the newest frame has no score.
    pub trouble: Option<String>,
    /// The frozen picture is to be scored once more, by other texts.
    is_due: bool,
    flying: Option<Flying>,
    last_scored: Option<f64>,
}

/// A frame that the worker has.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Flying {
    job: JobId,
    sent: f64,
    is_frozen: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum CameraPhase {
    /// Asked for; the browser asks the person.
    #[default]
    Starting,
    Live,
    Frozen,
    /// One sentence.
    Failed(String),
}

impl Camera {
    /// Would a frame be of use now?
    pub fn wants_frame(&self) -> bool {
        (self.phase == CameraPhase::Live || self.is_due) && self.flying.is_none()
    }

    /// From now on scores are by other texts: a frozen picture comes once more.
    pub(super) fn texts_changed(&mut self) {
        self.is_due = self.phase == CameraPhase::Frozen;
    }

    /// Is the frozen picture to be scored once more?
    pub(super) fn is_due(&self) -> bool {
        self.is_due
    }

    pub(super) fn asked(&mut self, job: JobId, now: f64) {
        let is_frozen = self.phase == CameraPhase::Frozen;
        self.flying = Some(Flying { job, sent: now, is_frozen });
        self.is_due = false;
    }

    pub(super) fn forget(&mut self, job: JobId) {
        self.flying.take_if(|flying| flying.job == job);
    }

    pub(super) fn refused(&mut self, job: JobId, message: String) {
        self.forget(job);
        self.trouble = Some(message);
    }

    pub(super) fn freeze(&mut self, frozen: bool) {
        match (&self.phase, frozen) {
            (CameraPhase::Live, true) => self.phase = CameraPhase::Frozen,
            (CameraPhase::Frozen, false) => self.phase = CameraPhase::Live,
            _ => {}
        }
        self.is_due = false;
        self.last_scored = None;
    }

    pub(super) fn scored(&mut self, job: JobId, score: Score, entries: Rc<[Entry]>, timings: Timings, now: f64) {
        let Some(Flying { sent, is_frozen, .. }) = self.flying.take_if(|flying| flying.job == job) else { return };
        match self.phase {
            CameraPhase::Live => {}
            CameraPhase::Frozen if is_frozen => {
                self.trouble = None;
                self.latest = Some(Rc::new((score, entries)));
                return;
            }
            _ => return,
        }
        self.trouble = None;
        self.latency_millis = Some(now - sent);
        if let Some(last) = self.last_scored
            && now > last
        {
            let rate = 1000.0 / (now - last);
            self.fps = Some(self.fps.map_or(rate, |fps| fps + SMOOTH * (rate - fps)));
        }
        self.last_scored = Some(now);
        if self.history.len() == HISTORY {
            self.history.remove(0);
        }
        self.history.push(score.value);
        self.timings = timings;
        self.latest = Some(Rc::new((score, entries)));
    }
}
