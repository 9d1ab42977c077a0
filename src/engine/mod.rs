//! [`Request`] in, [`Event`]s out: the one place where pixels, model and scoring meet.
//!
//! Page and command line both go through here, so that the same file gives the same score: [`pipeline`] has the steps as plain
//! functions over any [`Encoder`]; [`Engine`] adds the session (the model in use, the setup in force, kept embeddings).
//! It does not know the browser, the network or the file system, and asks a given clock for the time.

pub mod cosines;
pub mod learning;
pub mod pipeline;
pub mod self_test;
pub mod sharing;

use std::collections::VecDeque;
use std::rc::Rc;

use crate::clip::Encoder;
use crate::clip::on_demand::OnDemand;
use crate::clip::text_table::TextTable;
use crate::kernels::Kernels;
use crate::protocol::{
    Event, ImageId, JobId, ModelEntry, ModelInfo, NotLoaded, Outcome, Parcel, Request, Setup, Stage, Timings,
};
use crate::quant::Fastest;
use crate::score::METHODS;
use crate::score::prompts::prompts;
use crate::weights::{Checkpoint, Source};
use learning::{Kept, Learning, Ready};
use pipeline::{Failure, Prepared, Sight};

/// Rescored pictures in one event, and numbers in them: enough to be quick, few enough that the page is never busy with one for
/// long. A picture has two numbers for every text.
const RESCORED_AT_ONCE: usize = 100;
const RESCORED_NUMBERS: usize = 10_000;
/// Texts that are embedded between two messages: some 30 ms for a ViT-B/32.
const KNOWN_AT_ONCE: usize = 4;
const NOTHING_NORMAL: &str = "nothing has been said to be normal yet";

/// A session: one model, one setup, the embeddings of the pictures seen, what was learned from them.
pub struct Engine {
    clock: fn() -> f64,
    kernels: Fastest,
    encoder: Option<Rc<dyn Encoder>>,
    /// The encoder, where it was loaded from a file.
    loaded: Option<Rc<OnDemand>>,
    /// Texts to learn by heart when there is nothing else to do.
    to_know: VecDeque<String>,
    /// How many texts of the model were saved, or read.
    saved_texts: usize,
    /// Name and SHA-256 of the model in use.
    model: (String, String),
    in_force: Option<InForce>,
    kept: Kept,
    learning: Learning,
}

/// A model's file, and what goes with it.
pub struct ModelFile<'a> {
    pub file: Box<dyn Source>,
    /// What [`Engine::new_texts`] gave of this very file before; where it cannot be used, texts are embedded anew.
    pub texts: Option<&'a [u8]>,
    /// Where the model shall prove that it is one before it is used: the pictures of [`self_test::SAMPLES`], or none where they cannot be had.
    pub samples: Option<&'a [Vec<u8>]>,
}

impl<'a> ModelFile<'a> {
    /// A file that is believed in, with nothing beside it.
    pub fn alone(file: impl Source + 'static) -> Self {
        Self { file: Box::new(file), texts: None, samples: None }
    }
}

/// A setup that pictures are scored by.
struct InForce {
    /// Who asked for it: new scores of kept pictures bear its number.
    job: JobId,
    prepared: Prepared,
    ready: Ready,
}

type Emit<'a> = &'a mut dyn FnMut(Parcel<Event>);

impl Engine {
    /// An empty session; `clock` tells milliseconds.
    pub fn new(clock: fn() -> f64) -> Self {
        let model = (String::new(), String::new());
        Self {
            clock,
            kernels: Fastest::by(clock),
            encoder: None,
            loaded: None,
            to_know: VecDeque::new(),
            saved_texts: 0,
            model,
            in_force: None,
            kept: Kept::new(),
            learning: Learning::default(),
        }
    }

    /// The fastest kernels here: found now, where that was not before, so that a first model does not wait for it.
    pub fn fastest_kernels(&self) -> Kernels {
        self.kernels.get()
    }

    /// Builds the model of `file` and says so; `started` is the clock's time when loading began. On failure
    /// an earlier model stays in use. Kept embeddings of another model are dropped.
    pub fn load(&mut self, job: JobId, entry: ModelEntry, file: ModelFile<'_>, started: f64, emit: Emit<'_>) {
        match OnDemand::open(file.file, &self.kernels) {
            Ok(model) => {
                let proof = file.samples.map_or(Ok(()), |samples| prove(&model, samples));
                model.rest();
                if let Err((message, why)) = proof {
                    let message = format!("{}: {message}", entry.name);
                    return emit(Event::LoadFailed { job, message, why }.into());
                }
                let table = file.texts.and_then(|bytes| Checkpoint::read(bytes.to_vec()).ok());
                if let Some(table) = table.and_then(|file| TextTable::of(&file, model.embed_dim()).ok()) {
                    model.learn(&table);
                }
                let info = model_info(&model, entry, (self.clock)() - started);
                self.learning.forget_learned(emit);
                let model = Rc::new(model);
                self.use_encoder(model.clone());
                self.saved_texts = model.learned().len();
                self.loaded = Some(model);
                self.model = (info.entry.name.clone(), info.entry.sha256.clone());
                emit(Event::Ready { job, model: info }.into());
            }
            Err(e) => {
                let message = format!("{}: {e}", entry.name);
                emit(Event::LoadFailed { job, message, why: NotLoaded::Failed }.into());
            }
        }
    }

    /// Takes an encoder as the model in use: for tests, and for models made elsewhere.
    pub fn use_encoder(&mut self, encoder: Rc<dyn Encoder>) {
        self.encoder = Some(encoder);
        self.loaded = None;
        self.to_know.clear();
        self.saved_texts = 0;
        self.model = (String::new(), String::new());
        self.in_force = None;
        self.kept.clear();
        self.learning.forget_cosines();
        self.learning.forget_learned(&mut |_| {});
    }

    /// Answers a request. [`Request::Load`] and its like are not answered here: whoever can fetch calls [`Engine::load`].
    pub fn handle(&mut self, request: Parcel<Request>, emit: Emit<'_>) {
        let Parcel { message, attachments } = request;
        let first = attachments.into_iter().next().unwrap_or_default();
        match message {
            Request::Load { job, .. }
            | Request::LoadFile { job, .. }
            | Request::LoadAddress { job, .. }
            | Request::UseDoubtful { job }
            | Request::DeleteModel { job, .. } => {
                let message = "loading: expected the worker to fetch the model, got the request itself".into();
                emit(Event::LoadFailed { job, message, why: NotLoaded::Failed }.into());
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
                    self.learning.forget(image);
                }
            }
            Request::Label { job, labels } => {
                self.learning.label(labels);
                let methods = self.learning.states(&self.kept, self.in_force.as_ref().map(|f| &f.prepared));
                emit(Event::Labelled { job, counts: self.learning.counts(&self.kept), methods }.into());
                // a method that compares with examples follows them at once; a trained one waits to be trained again
                if self.in_force.as_ref().is_some_and(|f| !f.prepared.method().needs_texts_only()) {
                    self.rescore(emit);
                }
            }
            Request::Evaluate { job, methods, detail } => {
                let reports = self
                    .in_force
                    .as_ref()
                    .map_or_else(Vec::new, |f| self.learning.evaluate(&methods, &detail, &self.kept, &f.prepared));
                emit(Event::Evaluated { job, reports }.into());
            }
            Request::Advise { job, method, false_alarm_rate } => {
                let advice = match &self.in_force {
                    Some(f) => self.learning.advise(&method, false_alarm_rate, &self.kept, &f.prepared),
                    None => Err(NOTHING_NORMAL.into()),
                };
                emit(Event::Advised { job, method, advice }.into());
            }
            Request::Fit { job, methods, seed } => {
                let asked = self.learning.ask_fit(job, &methods, seed);
                refuse(job, asked, emit);
            }
            Request::Curve { job, methods, sizes, draws, seed } => {
                let (learning, kept) = (&mut self.learning, &self.kept);
                let asked = match &self.in_force {
                    Some(f) => learning.ask_curve(job, &methods, (&sizes, draws, seed), kept, &f.prepared),
                    None => Err(NOTHING_NORMAL.into()),
                };
                refuse(job, asked, emit);
            }
            Request::Search { job, method, seed } => {
                let asked = match &self.in_force {
                    Some(f) => self.learning.ask_search(job, &method, seed, &self.kept, &f.prepared),
                    None => Err(NOTHING_NORMAL.into()),
                };
                refuse(job, asked, emit);
            }
            Request::Cancel { job } => self.learning.cancel(job, emit),
            Request::SaveHead { job, method } => match self.learning.save(&method, &self.model) {
                Ok((file_name, bytes)) => emit(Parcel::new(Event::HeadSaved { job, method, file_name }, vec![bytes])),
                Err(message) => emit(Event::HeadFailed { job, message }.into()),
            },
            Request::LoadHead { job } => self.load_head(job, &first, emit),
        }
    }

    /// What sees pictures for [`Engine::judge`]; it can be kept while other requests are answered.
    ///
    /// # Errors
    /// When no model is loaded, or nothing is said to be normal yet.
    pub fn eyes(&self) -> Result<Rc<dyn Encoder>, Failure> {
        let eyes = self.encoder.clone().ok_or_else(no_model)?;
        self.in_force().map(|_| eyes)
    }

    /// Answers [`Request::Score`] for a picture that the model in use has seen, here or elsewhere ([`pipeline::look`]).
    pub fn judge(&mut self, job: JobId, image: ImageId, seen: Result<Sight, Failure>, emit: Emit<'_>) {
        let answer = seen.and_then(|sight| self.take(job, image, sight));
        emit(answer.unwrap_or_else(|f| f.event(job, Some(image)).into()));
    }

    /// Bytes of the image tower of the model in use: what each further worker that sees pictures would hold.
    pub fn image_tower_bytes(&self) -> u64 {
        self.loaded.as_ref().map_or(0, |model| model.clip().memory_bytes() as u64)
    }

    /// The loaded model shall know these texts by heart: those that it does not know yet are embedded when there is nothing else to do.
    pub fn know(&mut self, texts: Vec<String>) {
        let Some(model) = &self.loaded else { return };
        self.to_know = texts.into_iter().filter(|text| !model.knows(text)).collect();
    }

    /// Whether the loaded model reads any text, has its text tower in memory, and knows fewer than so many texts by heart.
    pub fn could_know(&self, texts: usize) -> bool {
        let wants = |model: &Rc<OnDemand>| {
            let known = model.clip().known().len() + model.learned().len();
            model.has_text_tower() && model.vocabulary().names().is_none() && known < texts
        };
        self.to_know.is_empty() && self.loaded.as_ref().is_some_and(wants)
    }

    /// The texts that the loaded model knows beside its file's, as a file of their own, where there are new ones since this was asked
    /// last.
    pub fn new_texts(&mut self) -> Option<Vec<u8>> {
        let learned = self.loaded.as_ref()?.learned();
        if learned.len() == self.saved_texts {
            return None;
        }
        self.saved_texts = learned.len();
        Some(learned.file())
    }

    /// Gives the memory of the model's text tower back; it is read again when a text asks for it.
    pub fn drop_text_tower(&self) {
        if let Some(model) = &self.loaded {
            model.drop_text_tower();
        }
    }

    /// Whether there is learning to do: call [`Engine::work`] between messages as long as there is.
    pub fn has_work(&self) -> bool {
        self.learning.has_work() || !self.to_know.is_empty()
    }

    /// Learns for some 30 ms; or, where there is nothing to learn from pictures, some texts by heart.
    pub fn work(&mut self, emit: Emit<'_>) {
        if !self.learning.has_work() {
            let texts: Vec<String> = self.to_know.drain(..self.to_know.len().min(KNOWN_AT_ONCE)).collect();
            if let Some(model) = &self.loaded {
                // what cannot be embedded is told when somebody asks for it
                let _ = model.embed_texts(&texts);
            }
            return;
        }
        let prepared = self.in_force.as_ref().map(|f| &f.prepared);
        let learned = self.learning.work(&self.kept, prepared, self.clock, emit);
        if learned.iter().any(|m| self.in_force.as_ref().is_some_and(|f| f.prepared.method().id == m.id)) {
            self.rescore(emit);
        }
    }

    fn load_head(&mut self, job: JobId, bytes: &[u8], emit: Emit<'_>) {
        let loaded = match &self.in_force {
            Some(f) => self.learning.load(bytes, &self.model.1, &f.prepared),
            None => Err(NOTHING_NORMAL.into()),
        };
        let (saved, same_texts) = match loaded {
            Ok(loaded) => loaded,
            Err(message) => return emit(Event::HeadFailed { job, message }.into()),
        };
        let method = saved.method.id;
        emit(
            Event::HeadLoaded {
                job,
                method: method.into(),
                setup: saved.setup,
                same_texts,
                normal_examples: saved.normal_examples,
                outlier_examples: saved.outlier_examples,
            }
            .into(),
        );
        if self.in_force.as_ref().is_some_and(|f| f.prepared.method().id == method) {
            self.rescore(emit);
        }
    }

    /// Scores all kept pictures by what the method in force knows now.
    fn rescore(&mut self, emit: Emit<'_>) {
        let Some(f) = &mut self.in_force else { return };
        let scores = self.learning.judge(&mut f.ready, &self.kept, &f.prepared);
        let at_once = (RESCORED_NUMBERS / (2 * f.prepared.entries().len()).max(1)).clamp(1, RESCORED_AT_ONCE);
        for scores in scores.chunks(at_once) {
            emit(Event::Rescored { job: f.job, scores: scores.to_vec() }.into());
        }
    }

    fn encoder(&self) -> Result<&dyn Encoder, Failure> {
        self.encoder.as_deref().ok_or_else(no_model)
    }

    fn in_force(&self) -> Result<&InForce, Failure> {
        self.in_force.as_ref().ok_or_else(|| Failure::new(Stage::Score, NOTHING_NORMAL))
    }

    /// Whether a setup has a text that the loaded model neither knows by heart nor can embed before its text tower is read.
    pub fn must_read(&self, setup: &Setup) -> bool {
        let Some(model) = self.loaded.as_ref().filter(|model| !model.has_text_tower()) else { return false };
        let prompts = prompts(setup, |name| model.vocabulary().spell(name));
        prompts.is_ok_and(|(prompts, _)| prompts.iter().flat_map(|prompt| &prompt.texts).any(|text| !model.knows(text)))
    }

    fn set_up(&mut self, job: JobId, setup: &Setup, emit: Emit<'_>) {
        let started = (self.clock)();
        let prepared = self.encoder().and_then(|encoder| Prepared::new(encoder, setup));
        if let Some(model) = &self.loaded {
            model.rest();
        }
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => return emit(Event::SetupFailed { job, message: failure.message }.into()),
        };
        let timings = Timings { encode_millis: Some((self.clock)() - started), ..Timings::default() };
        let ready = match self.learning.ready(prepared.method(), &self.kept, &prepared) {
            Ok(ready) => ready,
            Err(message) => return emit(Event::SetupFailed { job, message }.into()),
        };
        let (entries, notes) = (prepared.entries().to_vec(), prepared.notes().to_vec());
        emit(Event::SetupDone { job, entries, notes, timings }.into());
        self.in_force = Some(InForce { job, prepared, ready });
        self.rescore(emit);
    }

    fn score(
        &mut self,
        job: JobId,
        image: ImageId,
        pixels: &crate::protocol::Pixels,
        bytes: &[u8],
    ) -> Result<Parcel<Event>, Failure> {
        let eyes = self.eyes()?;
        let sight = pipeline::look(&*eyes, pixels, bytes, self.clock)?;
        self.take(job, image, sight)
    }

    /// Scores a picture that was seen, and keeps its embedding.
    fn take(&mut self, job: JobId, image: ImageId, sight: Sight) -> Result<Parcel<Event>, Failure> {
        let Sight { info, embedding, thumbnail, timings } = sight;
        let in_force = self.in_force()?;
        let started = (self.clock)();
        let score = in_force.ready.score(&embedding);
        let timings = Timings { score_millis: Some((self.clock)() - started), ..timings };
        let opaque = embedding.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.keep(image, embedding);
        Ok(Parcel::new(Event::Scored { job, image, score, picture: info, timings }, vec![thumbnail, opaque]))
    }

    fn frame(&self, job: JobId, pixels: &crate::protocol::Pixels, bytes: &[u8]) -> Result<Event, Failure> {
        let (encoder, in_force) = (self.encoder()?, self.in_force()?);
        let seen = pipeline::see(encoder, pixels, bytes, self.clock)?;
        let started = (self.clock)();
        let score = in_force.ready.score(&seen.embedding);
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
        // pictures that are learned from must have a direction, each and every one
        if let Err(e) = crate::embedding::Embeddings::normalise(expected, embedding.clone()) {
            return Err(Failure::new(Stage::Score, format!("kept embedding: {e}")));
        }
        // kept even while nothing is said to be normal: the next setup scores it with the others
        let scores = self.in_force.iter().map(|f| (image, f.ready.judge(image, &embedding).0)).collect();
        self.keep(image, embedding);
        Ok(Event::Rescored { job, scores })
    }

    fn keep(&mut self, image: ImageId, embedding: Vec<f32>) {
        if self.kept.insert(image, embedding).is_some() {
            self.learning.forget_cosines();
        }
    }
}

fn no_model() -> Failure {
    Failure::new(Stage::Score, "no model is loaded yet")
}

/// Says that learning could not be begun.
fn refuse(job: JobId, asked: Result<(), String>, emit: Emit<'_>) {
    if let Err(message) = asked {
        emit(Event::LearningEnded { job, outcome: Outcome::Failed(message) }.into());
    }
}

/// Has a model answer before it is believed in: both towers have to work, and it has to recognise the samples, where there are some.
fn prove(model: &OnDemand, samples: &[Vec<u8>]) -> Result<(), (String, NotLoaded)> {
    let answers = self_test::Answers::all(model, samples).map_err(|message| (message, NotLoaded::Failed))?;
    if samples.is_empty() {
        return Ok(());
    }
    answers.recognition().check().map_err(|message| (message, NotLoaded::Doubtful))
}

/// What people are told about a model.
fn model_info(model: &OnDemand, entry: ModelEntry, load_millis: f64) -> ModelInfo {
    let clip = model.clip();
    ModelInfo {
        entry,
        image_size: clip.image_size() as u32,
        embed_dim: clip.embed_dim() as u32,
        memory_bytes: model.memory_bytes() as u64,
        kernel: clip.kernel_name().into(),
        vocabulary: clip.vocabulary().names().map(|names| names.iter().cloned().collect()),
        methods: METHODS.iter().map(|m| m.info()).collect(),
        load_millis,
    }
}

#[cfg(test)]
mod tests;
