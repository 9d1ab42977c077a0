//! What a session learns from labelled pictures: which methods are ready, their scores and measures, and the long work (fits,
//! curves, searches), done in slices so that messages get through.
//!
//! A picture that a method learned from is never silently judged by it: its score comes from cross-validation, or is marked.

use std::cell::OnceCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::cosines::Cosines;
use super::pipeline::Prepared;
use crate::embedding::Embeddings;
use crate::metrics::{self, Ranking};
use crate::protocol::{
    Advice, Basis, CurvePoint, Event, Fitted, ImageId, JobId, Judged, Kind, Label, LabelCounts, Measures, MethodState,
    Outcome, Parcel, PrPoint, Readiness, Report, RocPoint, Role, Score, Setup, Verdict,
};
use crate::score::{METHODS, Method, method};
use crate::train::cross_validation::{self, CrossValidation, Validated};
use crate::train::head_file::{self, SavedHead};
use crate::train::{Curve, Detector, Examples, Fit, OutlierSearch, Stepwise, TrainError};

/// Unit vectors by picture.
pub type Kept = BTreeMap<ImageId, Vec<f32>>;

type Emit<'a> = &'a mut dyn FnMut(Parcel<Event>);

/// Milliseconds of work between two looks at the messages.
const SLICE_MILLIS: f64 = 30.0;

/// A method that scores, and what it must not be asked directly.
#[derive(Clone)]
pub struct Ready {
    detector: Detector,
    /// Pictures that it learned from: value and margin in cross-validation, `None` where they could not be left out.
    learned_from: BTreeMap<ImageId, Option<(f32, f32)>>,
}

impl Ready {
    /// The score of a picture, as if it had not been learned from where that can be.
    pub fn judge(&self, image: ImageId, embedding: &[f32]) -> (Score, Basis) {
        self.as_unseen(image, self.detector.score(embedding))
    }

    /// The same, given the cosines with the normal examples.
    fn judge_among(&self, image: ImageId, embedding: &[f32], normal_examples: &[f32]) -> (Score, Basis) {
        self.as_unseen(image, self.detector.score_among(embedding, normal_examples))
    }

    fn as_unseen(&self, image: ImageId, score: Score) -> (Score, Basis) {
        match self.learned_from.get(&image) {
            None => (score, Basis::Unseen),
            Some(None) => (score, Basis::Learned),
            Some(&Some((value, margin))) => (Score { value, margin, ..score }, Basis::CrossValidated),
        }
    }

    /// The same in short.
    fn rate(&self, image: ImageId, embedding: &[f32]) -> Judged {
        match self.learned_from.get(&image) {
            Some(&Some((value, margin))) => Judged { image, value, margin, basis: Basis::CrossValidated },
            _ => {
                let (Score { value, margin, .. }, basis) = self.judge(image, embedding);
                Judged { image, value, margin, basis }
            }
        }
    }

    /// The score of what is no picture of the session.
    pub fn score(&self, embedding: &[f32]) -> Score {
        self.detector.score(embedding)
    }
}

/// A trained method.
struct Trained {
    ready: Ready,
    setup: Setup,
    /// Read from a file: it does not follow the labels.
    from_file: bool,
    normal_examples: usize,
    outlier_examples: usize,
}

/// The labels, what was learned from them, and the work to do.
#[derive(Default)]
pub struct Learning {
    labels: BTreeMap<ImageId, Label>,
    trained: BTreeMap<&'static str, Trained>,
    queue: VecDeque<Task>,
    /// Behind a lock, for threads may ask at once.
    cosines: Mutex<Cosines>,
}

struct Task {
    job: JobId,
    work: Work,
}

enum Work {
    Fit { waiting: VecDeque<&'static Method>, current: Option<Box<Fitting>>, seed: u64 },
    Curve(Box<Curve>),
    Search { method: &'static Method, search: Box<OutlierSearch>, outliers: Vec<ImageId> },
}

/// One method's fit and its cross-validation.
struct Fitting {
    method: &'static Method,
    pool: Pool,
    setup: Setup,
    fit: Fit,
    validation: CrossValidation,
}

/// Labelled pictures with an embedding, and their numbers in the session.
struct Pool {
    normal: Vec<ImageId>,
    outliers: Vec<ImageId>,
    vectors: Examples,
}

/// What methods are asked about: kept pictures, the setup, and the examples among them, gathered once and only where a method looks
/// at them.
struct Scene<'a> {
    learning: &'a Learning,
    kept: &'a Kept,
    prepared: &'a Prepared,
    examples: OnceCell<Pool>,
}

impl<'a> Scene<'a> {
    fn new(learning: &'a Learning, kept: &'a Kept, prepared: &'a Prepared) -> Self {
        Self { learning, kept, prepared, examples: OnceCell::new() }
    }

    fn width(&self) -> usize {
        self.prepared.texts().embeddings().width()
    }

    fn examples(&self) -> &Pool {
        self.examples.get_or_init(|| self.learning.pool(self.kept, Role::Example, self.width()))
    }

    /// Calls `each` for all kept pictures with their cosines with the normal examples.
    fn among_examples(&self, each: impl FnMut(ImageId, &[f32], &[f32])) {
        let mut cosines = self.learning.cosines.lock().unwrap_or_else(PoisonError::into_inner);
        cosines.for_each(self.kept, &self.examples().normal, each);
    }

    fn readiness(&self, method: &'static Method) -> Readiness {
        let names = self.prepared.setup().normal.iter().filter(|n| !n.trim().is_empty()).count();
        if names < method.needs.normal_names {
            let least = method.needs.normal_names;
            return Readiness::Lacking(format!(
                "{}: expected at least {least} normal classes, got {names}",
                method.name
            ));
        }
        if method.needs_texts_only() {
            return Readiness::Ready;
        }
        let pool = self.examples();
        if let Some(trained) = self.learning.trained.get(method.id) {
            let learned = &trained.ready.learned_from;
            // outliers count only for methods that look at them
            let outliers = if method.needs.outlier_examples > 0 { &pool.outliers[..] } else { &[] };
            let same = trained.from_file
                || (learned.len() == pool.normal.len() + outliers.len()
                    && pool.normal.iter().chain(outliers).all(|i| learned.contains_key(i)));
            let fits = !method.uses_texts() || same_texts(&trained.setup, self.prepared.setup());
            return if same && fits { Readiness::Ready } else { Readiness::Stale };
        }
        match pool.vectors.check(method, self.width()) {
            Err(e) => Readiness::Lacking(e.to_string()),
            Ok(()) if method.needs.training => Readiness::Untrained,
            Ok(()) => Readiness::Ready,
        }
    }

    fn ready(&self, method: &'static Method) -> Result<Ready, String> {
        match self.readiness(method) {
            Readiness::Lacking(message) => return Err(message),
            Readiness::Untrained => {
                return Err(format!("{}: expected to be trained on the examples first, and is not yet", method.name));
            }
            Readiness::Ready | Readiness::Stale => {}
        }
        let texts = self.prepared.texts();
        if let Some(trained) = self.learning.trained.get(method.id) {
            let detector = trained.ready.detector.with_texts(texts.clone());
            return Ok(Ready { detector, learned_from: trained.ready.learned_from.clone() });
        }
        let one_line = |e: TrainError| e.to_string();
        if method.needs_texts_only() {
            let none = Examples::none(self.width());
            let detector = Detector::untrained(method, texts.clone(), &none).map_err(one_line)?;
            return Ok(Ready { detector, learned_from: BTreeMap::new() });
        }
        let pool = self.examples();
        let detector = Detector::untrained(method, texts.clone(), &pool.vectors).map_err(one_line)?;
        let learned_from = self.left_out_in_turn(method, &detector);
        Ok(Ready { detector, learned_from })
    }

    /// Cross-validation of a method that compares with examples: those of a picture's own fold do not count. The same numbers as
    /// [`CrossValidation`]'s, which would fit a detector for every fold.
    fn left_out_in_turn(&self, method: &'static Method, detector: &Detector) -> BTreeMap<ImageId, Option<(f32, f32)>> {
        let pool = self.examples();
        let (folds, _) = cross_validation::folds(method, pool.normal.len(), pool.outliers.len(), 0);
        let place: BTreeMap<ImageId, usize> = pool.normal.iter().enumerate().map(|(at, &image)| (image, at)).collect();
        let mut others = Vec::with_capacity(folds.len());
        let mut learned = BTreeMap::new();
        self.among_examples(|image, embedding, row| {
            let Some(&at) = place.get(&image) else { return };
            let fold = folds[at];
            let short = fold.map(|_| {
                others.clear();
                others.extend(row.iter().zip(&folds).filter(|&(_, other)| *other != fold).map(|(&cosine, _)| cosine));
                let score = detector.score_among(embedding, &others);
                (score.value, score.margin)
            });
            learned.insert(image, short);
        });
        learned
    }

    /// All kept pictures in short.
    fn rate(&self, method: &'static Method, ready: &Ready) -> Vec<Judged> {
        if !method.compares_with_examples() {
            return self.kept.iter().map(|(&image, embedding)| ready.rate(image, embedding)).collect();
        }
        let mut judged = Vec::with_capacity(self.kept.len());
        self.among_examples(|image, embedding, row| {
            let (Score { value, margin, .. }, basis) = ready.judge_among(image, embedding, row);
            judged.push(Judged { image, value, margin, basis });
        });
        judged
    }
}

impl Learning {
    /// Takes labels.
    pub fn label(&mut self, labels: Vec<(ImageId, Option<Label>)>) {
        for (image, label) in labels {
            match label {
                Some(label) => self.labels.insert(image, label),
                None => self.labels.remove(&image),
            };
        }
    }

    /// A picture is gone.
    pub fn forget(&mut self, image: ImageId) {
        self.labels.remove(&image);
        self.cosines.get_mut().unwrap_or_else(PoisonError::into_inner).forget(image);
    }

    /// Another model is in use: what was learned is void.
    pub fn forget_learned(&mut self, emit: Emit<'_>) {
        self.trained.clear();
        for task in self.queue.drain(..) {
            emit(Event::LearningEnded { job: task.job, outcome: Outcome::Cancelled }.into());
        }
    }

    /// Labelled pictures that are kept.
    pub fn counts(&self, kept: &Kept) -> LabelCounts {
        let count = |kind, role| {
            self.labels.iter().filter(|&(i, l)| *l == Label { kind, role } && kept.contains_key(i)).count()
        };
        LabelCounts {
            normal_examples: count(Kind::Normal, Role::Example),
            outlier_examples: count(Kind::Outlier, Role::Example),
            normal_judged: count(Kind::Normal, Role::Judged),
            outlier_judged: count(Kind::Outlier, Role::Judged),
        }
    }

    fn pool(&self, kept: &Kept, role: Role, width: usize) -> Pool {
        let of = |kind: Kind| -> Vec<ImageId> {
            let wanted = Label { kind, role };
            self.labels.iter().filter(|&(i, l)| *l == wanted && kept.contains_key(i)).map(|(&i, _)| i).collect()
        };
        let (normal, outliers) = (of(Kind::Normal), of(Kind::Outlier));
        let vectors = |images: &[ImageId]| {
            let values = images.iter().filter_map(|i| kept.get(i)).flatten().copied().collect();
            // rows of unit length are left as they are, up to the last digit
            Embeddings::normalise(width, values).ok()
        };
        let both = vectors(&normal).zip(vectors(&outliers)).map(|(normal, outliers)| Examples { normal, outliers });
        Pool { normal, outliers, vectors: both.unwrap_or_else(|| Examples::none(width)) }
    }

    /// What every method can do.
    pub fn states(&self, kept: &Kept, prepared: Option<&Prepared>) -> Vec<MethodState> {
        let scene = prepared.map(|prepared| Scene::new(self, kept, prepared));
        let nothing = || Readiness::Lacking("nothing has been said to be normal yet".into());
        let readiness = |method| scene.as_ref().map_or_else(nothing, |scene| scene.readiness(method));
        METHODS.iter().map(|m| MethodState { method: m.id.into(), readiness: readiness(m) }).collect()
    }

    /// A method as it can score now; a stale one scores by what it knows.
    ///
    /// # Errors
    /// One line: what it lacks.
    pub fn ready(&self, method: &'static Method, kept: &Kept, prepared: &Prepared) -> Result<Ready, String> {
        Scene::new(self, kept, prepared).ready(method)
    }

    /// Scores of all kept pictures by what the method in force knows now, which `ready` becomes; a method that has lost its examples
    /// goes on with those it had.
    pub fn judge(&self, ready: &mut Ready, kept: &Kept, prepared: &Prepared) -> Vec<(ImageId, Score)> {
        let (scene, method) = (Scene::new(self, kept, prepared), prepared.method());
        if let Ok(now) = scene.ready(method) {
            *ready = now;
            if method.compares_with_examples() {
                let mut scores = Vec::with_capacity(kept.len());
                scene.among_examples(|image, embedding, row| {
                    scores.push((image, ready.judge_among(image, embedding, row).0));
                });
                return scores;
            }
        }
        kept.iter().map(|(&image, embedding)| (image, ready.judge(image, embedding).0)).collect()
    }

    /// A picture has another embedding than before.
    pub fn forget_cosines(&mut self) {
        self.cosines.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How methods compare on the labelled pictures, best AUROC first; those of `detail` with pictures and curves.
    pub fn evaluate(&self, methods: &[String], detail: &[String], kept: &Kept, prepared: &Prepared) -> Vec<Report> {
        let asked = |m: &&'static Method| methods.is_empty() || methods.iter().any(|id| id == m.id);
        let scene = Scene::new(self, kept, prepared);
        let mut reports: Vec<Report> = Vec::new();
        for method in METHODS.iter().filter(asked) {
            match scene.ready(method) {
                Ok(ready) => {
                    let mut report = self.report(method, scene.rate(method, &ready));
                    if !detail.iter().any(|id| id == method.id) {
                        report.pictures.clear();
                        if let Ok(measures) = &mut report.measures {
                            measures.roc.clear();
                            measures.precision_recall.clear();
                        }
                    }
                    reports.push(report);
                }
                // whoever asks for none by name wants those that can be had
                Err(_) if methods.is_empty() => {}
                Err(message) => {
                    reports.push(Report { method: method.id.into(), pictures: vec![], measures: Err(message) });
                }
            }
        }
        let auroc = |r: &Report| r.measures.as_ref().map_or(-1.0, |m| m.auroc);
        reports.sort_by(|a, b| auroc(b).total_cmp(&auroc(a)));
        reports
    }

    fn report(&self, method: &'static Method, pictures: Vec<Judged>) -> Report {
        let measured: Vec<(&Judged, bool)> = pictures
            .iter()
            .filter(|p| p.basis != Basis::Learned)
            .filter_map(|p| Some((p, self.labels.get(&p.image)?.kind == Kind::Outlier)))
            .collect();
        let measures = measures(&measured).map_err(|e| e.to_string());
        Report { method: method.id.into(), pictures, measures }
    }

    /// A threshold from normal pictures alone.
    ///
    /// # Errors
    /// One line: what the method lacks, or how many pictures the promise needs.
    pub fn advise(&self, id: &str, rate: f64, kept: &Kept, prepared: &Prepared) -> Result<Advice, String> {
        let method = method(id).map_err(|e| e.to_string())?;
        let ready = self.ready(method, kept, prepared)?;
        let mut values = Vec::new();
        for (&image, _) in self.labels.iter().filter(|(_, l)| l.kind == Kind::Normal) {
            let Some(embedding) = kept.get(&image) else { continue };
            let judged = ready.rate(image, embedding);
            if judged.basis != Basis::Learned {
                values.push(f64::from(judged.value));
            }
        }
        let advice = metrics::conformal(&values, rate).map_err(|e| e.to_string())?;
        Ok(Advice {
            threshold: advice.threshold as f32,
            false_alarm_rate: advice.false_alarm_rate,
            normal: advice.examples,
        })
    }

    /// Puts a fit into the queue.
    pub fn ask_fit(&mut self, job: JobId, methods: &[String], seed: u64) -> Result<(), String> {
        let waiting = methods.iter().map(|id| method(id)).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
        self.queue.push_back(Task { job, work: Work::Fit { waiting, current: None, seed } });
        Ok(())
    }

    /// Puts a curve into the queue.
    pub fn ask_curve(
        &mut self,
        job: JobId,
        methods: &[String],
        (sizes, draws, seed): (&[usize], usize, u64),
        kept: &Kept,
        prepared: &Prepared,
    ) -> Result<(), String> {
        let methods: Vec<&'static Method> =
            methods.iter().map(|id| method(id)).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
        let (_, pool, judged) = self.pools(kept, prepared);
        let curve = Curve::new(&methods, prepared.texts().clone(), pool, judged, sizes, draws, seed);
        self.queue.push_back(Task { job, work: Work::Curve(Box::new(curve.map_err(|e| e.to_string())?)) });
        Ok(())
    }

    /// Puts a one-outlier search into the queue.
    pub fn ask_search(
        &mut self,
        job: JobId,
        id: &str,
        seed: u64,
        kept: &Kept,
        prepared: &Prepared,
    ) -> Result<(), String> {
        let method = method(id).map_err(|e| e.to_string())?;
        let (outliers, pool, judged) = self.pools(kept, prepared);
        let search = OutlierSearch::new(method, prepared.texts().clone(), pool, judged, seed);
        let search = Box::new(search.map_err(|e| e.to_string())?);
        self.queue.push_back(Task { job, work: Work::Search { method, search, outliers } });
        Ok(())
    }

    /// The outlier examples' numbers, the examples, and what is judged only.
    fn pools(&self, kept: &Kept, prepared: &Prepared) -> (Vec<ImageId>, Examples, Examples) {
        let width = prepared.texts().embeddings().width();
        let examples = self.pool(kept, Role::Example, width);
        (examples.outliers, examples.vectors, self.pool(kept, Role::Judged, width).vectors)
    }

    /// Drops the work of a job, begun or not.
    pub fn cancel(&mut self, job: JobId, emit: Emit<'_>) {
        let before = self.queue.len();
        self.queue.retain(|task| task.job != job);
        if self.queue.len() < before {
            emit(Event::LearningEnded { job, outcome: Outcome::Cancelled }.into());
        }
    }

    /// Whether there is work.
    pub fn has_work(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Works for about [`SLICE_MILLIS`]; the methods that were trained meanwhile.
    pub fn work(
        &mut self,
        kept: &Kept,
        prepared: Option<&Prepared>,
        clock: fn() -> f64,
        emit: Emit<'_>,
    ) -> Vec<&'static Method> {
        let mut learned = Vec::new();
        let Some(mut task) = self.queue.pop_front() else { return learned };
        let started = clock();
        let outcome = loop {
            match self.step(&mut task, kept, prepared, &mut learned, emit) {
                Err(message) => break Some(Outcome::Failed(message)),
                Ok(true) => break Some(Outcome::Finished),
                Ok(false) if clock() - started >= SLICE_MILLIS => break None,
                Ok(false) => {}
            }
        };
        task.tell(emit);
        match outcome {
            Some(outcome) => emit(Event::LearningEnded { job: task.job, outcome }.into()),
            None => self.queue.push_front(task),
        }
        learned
    }

    /// A little more of a task; whether it is finished.
    fn step(
        &mut self,
        task: &mut Task,
        kept: &Kept,
        prepared: Option<&Prepared>,
        learned: &mut Vec<&'static Method>,
        emit: Emit<'_>,
    ) -> Result<bool, String> {
        let one_line = |e: TrainError| e.to_string();
        match &mut task.work {
            Work::Curve(curve) => Ok(curve.step().map_err(one_line)?.finished()),
            Work::Search { search, .. } => Ok(search.step().map_err(one_line)?.finished()),
            Work::Fit { waiting, current, seed } => {
                let job = task.job;
                let Some(fitting) = current else {
                    let Some(method) = waiting.pop_front() else { return Ok(true) };
                    let prepared = prepared.ok_or("nothing has been said to be normal yet")?;
                    let pool = self.pool(kept, Role::Example, prepared.texts().embeddings().width());
                    match Fitting::begin(method, pool, prepared, *seed) {
                        Ok(fitting) => *current = Some(Box::new(fitting)),
                        Err(e) => emit(Event::Fitted { job, fitted: refused(method, e.to_string()) }.into()),
                    }
                    return Ok(false);
                };
                match fitting.step() {
                    Ok(false) => {}
                    Ok(true) => {
                        let (trained, fitted) = fitting.finish()?;
                        // the others follow the labels by themselves
                        if fitting.method.needs.training {
                            self.trained.insert(fitting.method.id, trained);
                            learned.push(fitting.method);
                        }
                        emit(Event::Fitted { job, fitted }.into());
                        *current = None;
                    }
                    Err(e) => {
                        emit(Event::Fitted { job, fitted: refused(fitting.method, e.to_string()) }.into());
                        *current = None;
                    }
                }
                Ok(false)
            }
        }
    }

    /// A trained method for a file.
    pub fn save(&self, id: &str, model: &(String, String)) -> Result<(String, Vec<u8>), String> {
        let method = method(id).map_err(|e| e.to_string())?;
        let trained = self.trained.get(method.id).filter(|t| t.ready.detector.head().is_some());
        let trained = trained.ok_or_else(|| format!("{}: expected a trained head to save, got none", method.name))?;
        let head = trained.ready.detector.head().cloned().ok_or("a trained method has a head")?;
        let (model_name, model_sha256) = model.clone();
        let saved = SavedHead {
            method,
            model_sha256,
            model_name,
            setup: trained.setup.clone(),
            normal_examples: trained.normal_examples,
            outlier_examples: trained.outlier_examples,
            head,
        };
        Ok((format!("oddlens-{}.json", method.id), head_file::write(&saved)))
    }

    /// Takes a head from a file; whether its texts are those in force.
    pub fn load(&mut self, bytes: &[u8], sha256: &str, prepared: &Prepared) -> Result<(SavedHead, bool), String> {
        let texts = prepared.texts();
        let saved = head_file::read(bytes, sha256, texts.embeddings().width()).map_err(|e| e.to_string())?;
        let detector = Detector::trained(saved.method, texts.clone(), saved.head.clone()).map_err(|e| e.to_string())?;
        let trained = Trained {
            ready: Ready { detector, learned_from: BTreeMap::new() },
            setup: saved.setup.clone(),
            from_file: true,
            normal_examples: saved.normal_examples,
            outlier_examples: saved.outlier_examples,
        };
        self.trained.insert(saved.method.id, trained);
        let same = !saved.method.uses_texts() || same_texts(&saved.setup, prepared.setup());
        Ok((saved, same))
    }
}

impl Pool {
    /// The pictures that a method learned from, with their scores in cross-validation.
    fn learned_from(
        &self,
        method: &'static Method,
        validated: Option<&Validated>,
    ) -> BTreeMap<ImageId, Option<(f32, f32)>> {
        let short = |score: &Option<Score>| score.as_ref().map(|s| (s.value, s.margin));
        let mut all = BTreeMap::new();
        for (at, &image) in self.normal.iter().enumerate() {
            all.insert(image, validated.and_then(|v| short(&v.normal[at])));
        }
        for (at, &image) in self.outliers.iter().enumerate() {
            all.insert(image, validated.and_then(|v| short(&v.outliers[at])));
        }
        // outliers that the method does not look at are judged by the full detector
        if method.needs.outlier_examples == 0 {
            self.outliers.iter().for_each(|image| {
                all.remove(image);
            });
        }
        all
    }
}

impl Fitting {
    fn begin(method: &'static Method, pool: Pool, prepared: &Prepared, seed: u64) -> Result<Self, TrainError> {
        let texts = prepared.texts();
        let fit = Fit::new(method, texts.clone(), &pool.vectors, seed)?;
        let validation = CrossValidation::new(method, texts.clone(), pool.vectors.clone(), seed)?;
        Ok(Self { method, pool, setup: prepared.setup().clone(), fit, validation })
    }

    /// Whether it is finished.
    fn step(&mut self) -> Result<bool, TrainError> {
        if !self.fit.progress().finished() {
            self.fit.step()?;
            return Ok(false);
        }
        Ok(self.validation.step()?.finished() && self.validation.result().is_some())
    }

    fn progress(&self) -> (usize, usize) {
        let (fit, validation) = (self.fit.progress(), self.validation.progress());
        (fit.done + validation.done, fit.total + validation.total)
    }

    fn finish(&self) -> Result<(Trained, Fitted), String> {
        let detector = self.fit.detector().map_err(|e| e.to_string())?;
        let validated = self.validation.result();
        let (normal_examples, outlier_examples) = (self.pool.normal.len(), self.pool.outliers.len());
        let fitted = Fitted {
            method: self.method.id.into(),
            problem: None,
            normal_examples,
            outlier_examples,
            loss: self.fit.loss(),
            auroc: validated.and_then(|v| v.auroc),
            zero_shot_auroc: validated.and_then(|v| v.zero_shot),
            verdict: match validated.map(Validated::verdict) {
                Some(cross_validation::Verdict::NotWorse) => Verdict::NotWorse,
                Some(cross_validation::Verdict::Worse) => Verdict::Worse,
                Some(cross_validation::Verdict::Unknown) | None => Verdict::Unknown,
            },
        };
        let ready = Ready { detector, learned_from: self.pool.learned_from(self.method, validated) };
        let setup = self.setup.clone();
        Ok((Trained { ready, setup, from_file: false, normal_examples, outlier_examples }, fitted))
    }
}

impl Task {
    /// Tells how far it has come.
    fn tell(&self, emit: Emit<'_>) {
        let job = self.job;
        match &self.work {
            Work::Fit { current: Some(fitting), .. } => {
                let (done, total) = fitting.progress();
                emit(Event::Learning { job, method: fitting.method.id.into(), done, total }.into());
            }
            Work::Fit { .. } => {}
            Work::Curve(curve) => {
                let progress = curve.progress();
                let point = |p: &crate::train::CurvePoint| {
                    let (mean, deviation) = p.mean_and_deviation()?;
                    let draws = p.aurocs.len();
                    Some(CurvePoint { method: p.method.into(), outliers: p.outliers, mean, deviation, draws })
                };
                let points = curve.points().iter().filter_map(point).collect();
                emit(Event::Curve { job, points, done: progress.done, total: progress.total }.into());
            }
            Work::Search { method, search, outliers } => {
                let progress = search.progress();
                let mut ranking: Vec<(ImageId, f64)> =
                    outliers.iter().copied().zip(search.aurocs().iter().copied()).collect();
                ranking.sort_by(|a, b| b.1.total_cmp(&a.1));
                let method = method.id.into();
                emit(Event::Search { job, method, ranking, done: progress.done, total: progress.total }.into());
            }
        }
    }
}

/// A training that cannot be.
fn refused(method: &'static Method, problem: String) -> Fitted {
    Fitted {
        method: method.id.into(),
        problem: Some(problem),
        normal_examples: 0,
        outlier_examples: 0,
        loss: None,
        auroc: None,
        zero_shot_auroc: None,
        verdict: Verdict::Unknown,
    }
}

/// Whether two setups ask the same texts.
fn same_texts(a: &Setup, b: &Setup) -> bool {
    a.normal == b.normal && a.templates == b.templates && a.anomaly == b.anomaly && a.known_outliers == b.known_outliers
}

/// Ranked by margins, with thresholds on values.
fn measures(pictures: &[(&Judged, bool)]) -> Result<Measures, metrics::MetricsError> {
    let margins: Vec<f64> = pictures.iter().map(|(p, _)| f64::from(p.margin)).collect();
    let odd: Vec<bool> = pictures.iter().map(|&(_, odd)| odd).collect();
    let ranking = Ranking::new(&margins, &odd)?;
    let interval = metrics::auroc_interval(&margins, &odd)?;
    let values: BTreeMap<u64, f32> = pictures.iter().map(|(p, _)| (f64::from(p.margin).to_bits(), p.value)).collect();
    let value = |margin: f64| values.get(&margin.to_bits()).copied();
    let roc = ranking.roc().into_iter().map(|p| RocPoint {
        threshold: value(p.threshold),
        false_alarm_rate: p.false_alarm_rate,
        hit_rate: p.hit_rate,
    });
    let precision_recall = ranking
        .precision_recall()
        .into_iter()
        .filter_map(|p| Some(PrPoint { threshold: value(p.threshold)?, precision: p.precision, recall: p.recall }));
    Ok(Measures {
        normal: ranking.normal(),
        outliers: ranking.anomalous(),
        cross_validated: pictures.iter().filter(|(p, _)| p.basis == Basis::CrossValidated).count(),
        auroc: ranking.auroc(),
        auroc_low: interval.low,
        auroc_high: interval.high,
        average_precision: ranking.average_precision(),
        false_alarm_rate_at_95: ranking.false_alarm_rate_at(0.95)?,
        roc: roc.collect(),
        precision_recall: precision_recall.collect(),
    })
}
