//! [`Request`] in, [`Event`]s out: the one place where pixels, model and scoring meet.
//!
//! Page and command line both go through here, so that the same file gives the same score: [`pipeline`] has the steps as plain
//! functions over any [`Encoder`]; [`Engine`] adds the session (the model in use, the setup in force, kept embeddings).
//! It does not know the browser, the network or the file system, and asks a given clock for the time.

pub mod pipeline;

use std::collections::BTreeMap;

use crate::clip::{Clip, ClipError, Compute, Encoder, Sidecars};
use crate::protocol::{Event, ImageId, JobId, ModelEntry, ModelInfo, Parcel, Request, Stage, Timings};
use crate::score::METHODS;
use crate::weights::Checkpoint;
use pipeline::{Failure, Prepared};

/// Rescored pictures in one event, and numbers in them: enough to be quick, few enough that the page is never busy with one for
/// long. A picture has two numbers for every text.
const RESCORED_AT_ONCE: usize = 100;
const RESCORED_NUMBERS: usize = 10_000;
/// Side of the small pictures to show, pixels.
pub const THUMBNAIL_SIDE: u32 = 320;

/// A session: one model, one setup, the embeddings of the pictures seen.
pub struct Engine {
    clock: fn() -> f64,
    encoder: Option<Box<dyn Encoder>>,
    prepared: Option<Prepared>,
    /// Unit vectors by picture.
    kept: BTreeMap<ImageId, Vec<f32>>,
}

type Emit<'a> = &'a mut dyn FnMut(Parcel<Event>);

impl Engine {
    /// An empty session; `clock` tells milliseconds.
    pub fn new(clock: fn() -> f64) -> Self {
        Self { clock, encoder: None, prepared: None, kept: BTreeMap::new() }
    }

    /// Builds the model of `bytes` (the whole file) and says so; `started` is the clock's time when loading began. On failure
    /// an earlier model stays in use. Kept embeddings of another model are dropped.
    pub fn load(&mut self, job: JobId, entry: ModelEntry, bytes: Vec<u8>, started: f64, emit: Emit<'_>) {
        match build(bytes) {
            Ok(clip) => {
                let info = model_info(&clip, entry, (self.clock)() - started);
                self.use_encoder(Box::new(clip));
                emit(Event::Ready { job, model: info }.into());
            }
            Err(e) => emit(Event::LoadFailed { job, message: e.to_string() }.into()),
        }
    }

    /// Takes an encoder as the model in use: for tests, and for models made elsewhere.
    pub fn use_encoder(&mut self, encoder: Box<dyn Encoder>) {
        self.encoder = Some(encoder);
        self.prepared = None;
        self.kept.clear();
    }

    /// Answers a request. [`Request::Load`] is not answered here: whoever can fetch calls [`Engine::load`].
    pub fn handle(&mut self, request: Parcel<Request>, emit: Emit<'_>) {
        let Parcel { message, attachments } = request;
        let first = attachments.into_iter().next().unwrap_or_default();
        match message {
            Request::Load { job, .. } => {
                let message = "loading: expected the worker to fetch the model, got the request itself".into();
                emit(Event::LoadFailed { job, message }.into());
            }
            Request::Setup { job, setup } => self.set_up(job, &setup, emit),
            Request::Score { job, image, pixels } => {
                let answer = self.score(job, image, &pixels, &first);
                emit(answer.unwrap_or_else(|f| f.event(job, Some(image)).into()));
            }
            Request::Frame { job, pixels } => {
                let answer = self.frame(job, &pixels, &first);
                emit(answer.unwrap_or_else(|f| f.event(job, None)).into());
            }
            Request::Restore { job, image } => {
                let answer = self.restore(job, image, &first);
                emit(answer.unwrap_or_else(|f| f.event(job, Some(image))).into());
            }
            Request::Forget { images } => {
                for image in images {
                    self.kept.remove(&image);
                }
            }
        }
    }

    fn encoder(&self) -> Result<&dyn Encoder, Failure> {
        self.encoder.as_deref().ok_or_else(|| Failure::new(Stage::Score, "no model is loaded yet"))
    }

    fn prepared(&self) -> Result<&Prepared, Failure> {
        self.prepared.as_ref().ok_or_else(|| Failure::new(Stage::Score, "nothing has been said to be normal yet"))
    }

    fn set_up(&mut self, job: JobId, setup: &crate::protocol::Setup, emit: Emit<'_>) {
        let started = (self.clock)();
        let prepared = match self.encoder().and_then(|encoder| Prepared::new(encoder, setup)) {
            Ok(prepared) => prepared,
            Err(failure) => return emit(Event::SetupFailed { job, message: failure.message }.into()),
        };
        let timings = Timings { encode_millis: Some((self.clock)() - started), ..Timings::default() };
        let (entries, notes) = (prepared.entries().to_vec(), prepared.notes().to_vec());
        emit(Event::SetupDone { job, entries, notes, timings }.into());
        let at_once = (RESCORED_NUMBERS / (2 * prepared.entries().len()).max(1)).clamp(1, RESCORED_AT_ONCE);
        let mut scores = Vec::new();
        for (&image, embedding) in &self.kept {
            scores.push((image, prepared.score(embedding)));
            if scores.len() == at_once {
                emit(Event::Rescored { job, scores: std::mem::take(&mut scores) }.into());
            }
        }
        if !scores.is_empty() {
            emit(Event::Rescored { job, scores }.into());
        }
        self.prepared = Some(prepared);
    }

    fn score(
        &mut self,
        job: JobId,
        image: ImageId,
        pixels: &crate::protocol::Pixels,
        bytes: &[u8],
    ) -> Result<Parcel<Event>, Failure> {
        let (encoder, prepared) = (self.encoder()?, self.prepared()?);
        let seen = pipeline::see(encoder, pixels, bytes, self.clock)?;
        let started = (self.clock)();
        let score = prepared.score(&seen.embedding);
        let timings = Timings { score_millis: Some((self.clock)() - started), ..seen.timings };
        let thumbnail = crate::pixels::thumbnail_jpeg(&seen.picture, THUMBNAIL_SIDE);
        let opaque = seen.embedding.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.kept.insert(image, seen.embedding);
        Ok(Parcel::new(Event::Scored { job, image, score, picture: seen.info, timings }, vec![thumbnail, opaque]))
    }

    fn frame(&self, job: JobId, pixels: &crate::protocol::Pixels, bytes: &[u8]) -> Result<Event, Failure> {
        let (encoder, prepared) = (self.encoder()?, self.prepared()?);
        let seen = pipeline::see(encoder, pixels, bytes, self.clock)?;
        let started = (self.clock)();
        let score = prepared.score(&seen.embedding);
        let timings = Timings { score_millis: Some((self.clock)() - started), ..seen.timings };
        Ok(Event::FrameScored { job, score, timings })
    }

    fn restore(&mut self, job: JobId, image: ImageId, opaque: &[u8]) -> Result<Event, Failure> {
        let embedding: Vec<f32> =
            opaque.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let expected = self.encoder()?.embed_dim();
        if embedding.len() != expected || opaque.len() != 4 * expected {
            let message = format!("kept embedding: expected {} bytes, got {}", 4 * expected, opaque.len());
            return Err(Failure::new(Stage::Score, message));
        }
        // kept even while nothing is said to be normal: the next setup scores it with the others
        let scores = self.prepared.iter().map(|prepared| (image, prepared.score(&embedding))).collect();
        self.kept.insert(image, embedding);
        Ok(Event::Rescored { job, scores })
    }
}

fn build(bytes: Vec<u8>) -> Result<Clip, ClipError> {
    let checkpoint = Checkpoint::read(bytes)?;
    Clip::new(&checkpoint, &Sidecars::default(), Compute::Q8)
}

/// What people are told about a model.
fn model_info(clip: &Clip, entry: ModelEntry, load_millis: f64) -> ModelInfo {
    ModelInfo {
        entry,
        image_size: clip.image_size() as u32,
        embed_dim: clip.embed_dim() as u32,
        memory_bytes: clip.memory_bytes() as u64,
        kernel: clip.kernel_name().into(),
        vocabulary: clip.vocabulary().names().map(|names| names.iter().cloned().collect()),
        methods: METHODS.iter().map(|m| m.info()).collect(),
        load_millis,
    }
}

#[cfg(test)]
mod tests;
