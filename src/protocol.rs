//! What the page and the engine say to each other: plain serde data, no behaviour beyond small look-ups.
//!
//! A [`Request`] goes from the page to the worker, [`Event`]s come back. Large binary data (picture bytes, thumbnails,
//! embeddings) never stand in these types: they travel beside them as *attachments*, transferred and not copied; each
//! variant says which attachments it carries, in order. Weights never travel at all: the worker fetches them itself.
//!
//! It does not know who speaks: the command line uses the same engine through the same types.

use serde::{Deserialize, Serialize};

/// Names one request, chosen by the asker, larger for a later one. Answers repeat it, so that stale ones can be dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId(pub u32);

/// Names one picture of the session, chosen by the asker and never used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ImageId(pub u32);

/// A message with its attachments (binary buffers beside the serde data).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parcel<T> {
    pub message: T,
    pub attachments: Vec<Vec<u8>>,
}

impl<T> Parcel<T> {
    pub fn new(message: T, attachments: Vec<Vec<u8>>) -> Self {
        Self { message, attachments }
    }
}

impl<T> From<T> for Parcel<T> {
    fn from(message: T) -> Self {
        Self { message, attachments: Vec::new() }
    }
}

/// What can be asked of the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Fetch the manifest and load a model of it (`None`: its default). `from_afar`: a person wants it even if it lies on another host.
    /// Answered by [`Event::Manifest`], [`Event::Loading`] (several) and [`Event::Ready`] or [`Event::LoadFailed`].
    Load { job: JobId, model: Option<String>, from_afar: bool },
    /// Load the model file that goes beside this message, convert it where it is not ours, and keep it for later visits. `beside`
    /// names the attachments: files that complete it (`config.json`, `open_clip_config.json`, `merges.txt`). Answered as [`Request::Load`].
    LoadFile { job: JobId, name: String, beside: Vec<String> },
    /// Fetch a model from an address of the person's, convert it where it is not ours, and keep it for later visits. Answered as
    /// [`Request::Load`].
    LoadAddress { job: JobId, address: String },
    /// Loads the model that was refused last as [`NotLoaded::Doubtful`]. Answer as for [`Request::Load`].
    UseDoubtful { job: JobId },
    /// Delete a kept model, or what has come of one that is not whole. Answered by [`Event::Manifest`], after
    /// [`Event::NotDeleted`] where it could not be done.
    DeleteModel { job: JobId, model: String },
    /// Say what is normal. Texts are encoded once; all kept embeddings are scored again.
    /// Answered by [`Event::SetupDone`] and any number of [`Event::Rescored`], or by [`Event::SetupFailed`].
    Setup { job: JobId, setup: Setup },
    /// Score one picture and keep its embedding under `image`. Attachment 0: the bytes that `pixels` describes.
    /// Answered by [`Event::Scored`] or [`Event::Failed`].
    Score { job: JobId, image: ImageId, pixels: Pixels },
    /// Score one camera frame; nothing is kept. Attachment 0: the bytes that `pixels` describes.
    /// Answered by [`Event::FrameScored`] or [`Event::Failed`] (with no image).
    Frame { job: JobId, pixels: Pixels },
    /// Give back an embedding that an earlier [`Event::Scored`] brought (after the worker was replaced).
    /// Attachment 0: those very bytes. Answered by [`Event::Rescored`] (without a score where nothing is said to be normal
    /// yet: the next setup brings it) or [`Event::Failed`].
    Restore { job: JobId, image: ImageId },
    /// Drop kept embeddings, and their labels. No answer.
    Forget { images: Vec<ImageId> },
    /// Say what kept pictures are (`None`: unknown again). Answered by [`Event::Labelled`]; where the method in force compares with
    /// examples, [`Event::Rescored`] follow. Labels given before the picture are kept for it.
    Label { job: JobId, labels: Vec<(ImageId, Option<Label>)> },
    /// Train methods on the examples, and cross-validate them. Answered by [`Event::Learning`] (several), one [`Event::Fitted`]
    /// for each method, [`Event::LearningEnded`]; where a method is the one in force, [`Event::Rescored`] follow.
    Fit { job: JobId, methods: Vec<String>, seed: u64 },
    /// Compare methods (of none: all that are ready) on the labelled pictures; those of `detail` with pictures and curves.
    /// Answered by [`Event::Evaluated`].
    Evaluate { job: JobId, methods: Vec<String>, detail: Vec<String> },
    /// The few-shot curve. Answered by [`Event::Curve`] (several, each with all points so far) and [`Event::LearningEnded`].
    Curve { job: JobId, methods: Vec<String>, sizes: Vec<usize>, draws: usize, seed: u64 },
    /// Which single outlier teaches a method most? Answered by [`Event::Search`] (several) and [`Event::LearningEnded`].
    Search { job: JobId, method: String, seed: u64 },
    /// Stop the learning that was asked for by that job, or do not begin it. Answered by its [`Event::LearningEnded`].
    Cancel { job: JobId },
    /// A threshold for a method, promised from normal pictures alone. Answered by [`Event::Advised`].
    Advise { job: JobId, method: String, false_alarm_rate: f64 },
    /// A trained head as a file. Answered by [`Event::HeadSaved`] or [`Event::HeadFailed`].
    SaveHead { job: JobId, method: String },
    /// Use a saved head. Attachment 0: the file. Answered by [`Event::HeadLoaded`] or [`Event::HeadFailed`].
    LoadHead { job: JobId },
}

/// What a person says about a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    pub kind: Kind,
    pub role: Role,
}

/// What a picture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Normal,
    Outlier,
}

impl Kind {
    /// What a folder's name says of its pictures; `None`: nothing. "nominal" is the reference's word.
    pub fn of_folder(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "normal" | "nominal" | "good" | "inlier" | "inliers" => Some(Self::Normal),
            "anomalous" | "anomaly" | "anomalies" | "abnormal" | "outlier" | "outliers" | "odd" | "defect"
            | "defective" => Some(Self::Outlier),
            _ => None,
        }
    }
}

/// What a labelled picture is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// To learn from. It is judged all the same, by cross-validation.
    Example,
    /// To be judged only.
    Judged,
}

/// Bytes of a picture file at most: 100 megapixels of uncompressed RGBA and some. More is no picture that could be decoded, and
/// would only take the memory away from others.
pub const MAX_FILE_BYTES: u64 = 512 << 20;

/// Bytes of a head file at most: more is none of ours, since 64 rows of the widest CLIP take a fifth of it.
pub const MAX_HEAD_BYTES: u64 = 8 << 20;

/// How the bytes of a picture are to be understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pixels {
    /// An encoded file (JPEG, PNG, ...), recognised by content.
    Encoded,
    /// Rows of 8-bit RGBA, `width * height * 4` bytes, already upright. `by` says who decoded it.
    Rgba { width: u32, height: u32, by: Decoder },
}

/// Who turned the file into pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decoder {
    /// Our own decoders: the same pixels everywhere.
    Oddlens,
    /// The browser's decoder (AVIF, HEIC): another browser or the command line may see slightly different pixels.
    Browser,
    /// A camera frame.
    Camera,
}

/// What is normal, and how it is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// Names of what is normal, verbatim, at least one.
    pub normal: Vec<String>,
    /// Prompt templates; `{}` stands for the name. Several are averaged.
    pub templates: Vec<String>,
    /// Texts that stand for the anomaly, at least one; each may hold `{}` (then it is asked once for every normal name).
    pub anomaly: Vec<String>,
    /// Names of outliers that are known to occur: asked with the same templates, they are further texts for the anomaly.
    #[serde(default)]
    pub known_outliers: Vec<String>,
    /// The `id` of one of [`ModelInfo::methods`].
    pub method: String,
}

impl Default for Setup {
    /// Dogs, asked as the paper asks.
    fn default() -> Self {
        Self {
            normal: vec!["dog".into()],
            templates: vec![DEFAULT_TEMPLATE.into()],
            anomaly: vec![DEFAULT_ANOMALY.into()],
            known_outliers: vec![],
            method: DEFAULT_METHOD.into(),
        }
    }
}

/// The paper's prompt for a class (one-vs-rest and leave-one-out).
pub const DEFAULT_TEMPLATE: &str = "a photo of a {}";
/// The paper's text for the anomaly.
pub const DEFAULT_ANOMALY: &str = "a photo of something";
/// The `id` of the zero-shot detector of the paper.
pub const DEFAULT_METHOD: &str = "zero-shot";

/// What the engine says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The models that can be had.
    Manifest { job: JobId, models: Vec<ModelEntry> },
    /// A model is still there, and why: one line.
    NotDeleted { job: JobId, message: String },
    /// Bytes of the model received so far; `total` is `None` where the server does not say.
    Loading { job: JobId, received: u64, total: Option<u64> },
    /// The model is loaded.
    Ready { job: JobId, model: ModelInfo },
    /// The model is in use, and its text tower is still being fetched, or could not be: why. All `total` bytes are there when it ends.
    TextTower { job: JobId, received: u64, total: u64, trouble: Option<String> },
    /// So many threads share the work from now on. Comes with a large model, where the browser lets threads share memory.
    Threads { job: JobId, count: u32 },
    /// The model could not be loaded; an earlier one, if any, stays in use.
    LoadFailed { job: JobId, message: String, why: NotLoaded },
    /// The texts are encoded; `notes` say what is doubtful about them. [`Event::Rescored`] follow for kept pictures.
    SetupDone { job: JobId, entries: Vec<Entry>, notes: Vec<Note>, timings: Timings },
    /// The setup cannot be used; the earlier one stays in force.
    SetupFailed { job: JobId, message: String },
    /// New scores of kept pictures, for the setup of `job`.
    Rescored { job: JobId, scores: Vec<(ImageId, Score)> },
    /// A picture is scored. Attachments: 0 a small JPEG to show, 1 its embedding (opaque, for [`Request::Restore`]).
    Scored { job: JobId, image: ImageId, score: Score, picture: PictureInfo, timings: Timings },
    /// A camera frame is scored.
    FrameScored { job: JobId, score: Score, timings: Timings },
    /// One picture (or frame: `None`) could not be scored: one line saying what, expected, got.
    Failed { job: JobId, image: Option<ImageId>, stage: Stage, message: String },
    /// The labels are taken; what each method can do with them.
    Labelled { job: JobId, counts: LabelCounts, methods: Vec<MethodState> },
    /// How far a fit, curve or search has come: `method` is the one at work.
    Learning { job: JobId, method: String, done: usize, total: usize },
    /// A method has learned (or not); see [`Fitted`].
    Fitted { job: JobId, fitted: Fitted },
    /// A fit, curve or search is over.
    LearningEnded { job: JobId, outcome: Outcome },
    /// How the methods compare, best AUROC first, those without one last.
    Evaluated { job: JobId, reports: Vec<Report> },
    /// The few-shot curve so far.
    Curve { job: JobId, points: Vec<CurvePoint>, done: usize, total: usize },
    /// The one-outlier search so far: AUROC that the outlier taught as the only one, best first.
    Search { job: JobId, method: String, ranking: Vec<(ImageId, f64)>, done: usize, total: usize },
    /// A threshold, or why there is none.
    Advised { job: JobId, method: String, advice: Result<Advice, String> },
    /// Attachment 0: the file's bytes.
    HeadSaved { job: JobId, method: String, file_name: String },
    /// The head is in use for its method. Where `same_texts` is false, it was trained for another setup: take that (with
    /// [`Request::Setup`]) before the method can be used.
    HeadLoaded {
        job: JobId,
        method: String,
        setup: Setup,
        same_texts: bool,
        normal_examples: usize,
        outlier_examples: usize,
    },
    /// One line saying what, expected, got.
    HeadFailed { job: JobId, message: String },
}

/// Kept pictures by label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelCounts {
    pub normal_examples: usize,
    pub outlier_examples: usize,
    pub normal_judged: usize,
    pub outlier_judged: usize,
}

/// Whether a method can score.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MethodState {
    /// Its `id`.
    pub method: String,
    pub readiness: Readiness,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Readiness {
    /// It scores.
    Ready,
    /// It has what it needs, and must be trained ([`Request::Fit`]).
    Untrained,
    /// It scores by what it learned from other examples or for other texts; train it again.
    Stale,
    /// One line: what it needs, expected and got.
    Lacking(String),
}

/// What became of a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fitted {
    pub method: String,
    /// Why it learned nothing; `None`: it did.
    pub problem: Option<String>,
    pub normal_examples: usize,
    pub outlier_examples: usize,
    /// Mean loss of the last batch.
    pub loss: Option<f64>,
    /// AUROC on examples in cross-validation, and zero-shot's on the same pictures; `None` where there are too few examples.
    pub auroc: Option<f64>,
    pub zero_shot_auroc: Option<f64>,
    pub verdict: Verdict,
}

/// A trained method against zero-shot, on pictures that neither had seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// As high or higher.
    NotWorse,
    /// Lower: people must be told.
    Worse,
    /// Too few examples to tell.
    Unknown,
}

/// How learning ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Finished,
    Cancelled,
    /// One line saying what, expected, got.
    Failed(String),
}

/// One method on the labelled pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub method: String,
    /// Every picture that it can score, labelled or not; none where no detail was asked for.
    pub pictures: Vec<Judged>,
    /// Measures on labelled pictures that it did not learn from, or one line saying why there are none.
    pub measures: Result<Measures, String>,
}

/// A picture's score by a method.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    pub image: ImageId,
    pub value: f32,
    pub margin: f32,
    pub basis: Basis,
}

/// How a score came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Basis {
    /// The method did not learn from the picture.
    Unseen,
    /// It did, but this score is by one that did not: cross-validation.
    CrossValidated,
    /// It learned from the picture, which could not be left out. Such scores are in no measure.
    Learned,
}

/// Measures of a method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    pub normal: usize,
    pub outliers: usize,
    /// Of these pictures, how many were scored by cross-validation.
    pub cross_validated: usize,
    pub auroc: f64,
    /// 95 % confidence interval of the AUROC (DeLong; see `metrics::interval`).
    pub auroc_low: f64,
    pub auroc_high: f64,
    pub average_precision: f64,
    /// False-alarm rate where 95 % of the outliers are found.
    pub false_alarm_rate_at_95: f64,
    /// From (0, 0) to (1, 1); empty where no detail was asked for.
    pub roc: Vec<RocPoint>,
    /// By rising recall; empty where no detail was asked for.
    pub precision_recall: Vec<PrPoint>,
}

/// What is called anomalous when values from `threshold` up are; `None` at the first point, where nothing is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RocPoint {
    pub threshold: Option<f32>,
    pub false_alarm_rate: f64,
    pub hit_rate: f64,
}

/// A point of the precision-recall curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrPoint {
    pub threshold: f32,
    pub precision: f64,
    pub recall: f64,
}

/// AUROC at a number of outlier examples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    pub method: String,
    pub outliers: usize,
    pub mean: f64,
    /// Standard deviation over the draws.
    pub deviation: f64,
    pub draws: usize,
}

/// A threshold and what it promises.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// Values above it are called anomalous.
    pub threshold: f32,
    /// Of normal pictures like those, at most this fraction is called anomalous on average.
    pub false_alarm_rate: f64,
    /// Normal pictures that the promise rests on.
    pub normal: usize,
}

/// Where a picture failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// No image format is recognised, or it is one that our decoders do not read (the browser's may).
    Format,
    /// Recognised, but broken or too large.
    Decode,
    /// The model refused.
    Encode,
    /// Nothing to score with: no model or no setup.
    Score,
    /// The worker died on it, or did not answer.
    Worker,
}

/// Milliseconds spent on each stage; `None` where it did not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    pub decode_millis: Option<f64>,
    pub preprocess_millis: Option<f64>,
    pub encode_millis: Option<f64>,
    pub score_millis: Option<f64>,
}

/// What is known of a decoded picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PictureInfo {
    /// Pixels, after turning it upright.
    pub width: u32,
    pub height: u32,
    /// "JPEG", "PNG", ...; "RGBA" where pixels came in.
    pub format: String,
    pub decoder: Decoder,
}

/// One text that pictures are compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The full prompt (the first, where several templates are averaged).
    pub text: String,
    /// The normal class's name, or the anomaly text, as the person wrote it.
    pub label: String,
    pub kind: EntryKind,
}

/// What a text stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    Normal,
    Anomaly,
}

/// The verdict on one picture, by the setup in force. `cosines` and `probabilities` run along [`Event::SetupDone`]'s entries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// 0 (normal) to 1 (anomalous); compared with the threshold.
    pub value: f32,
    /// The same order without saturation: a logit; ranks are made by it.
    pub margin: f32,
    /// Index (among the entries) of the normal class with the largest cosine.
    pub nearest: usize,
    /// Cosine of picture and text, -1 to 1.
    pub cosines: Vec<f32>,
    /// Softmax of 100 x cosine over all entries that the method uses; 0 for the others.
    pub probabilities: Vec<f32>,
}

impl Score {
    /// The verdict: is the picture more anomalous than the threshold allows?
    pub fn is_anomalous(&self, threshold: f32) -> bool {
        self.value > threshold
    }
}

/// Something a person should know about one of their texts; the text is used all the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// The name or text, as the person wrote it.
    pub label: String,
    pub kind: NoteKind,
    /// One clear sentence, ready to show.
    pub message: String,
    /// Names the model does know that are near the label, best first (may be empty).
    pub suggestions: Vec<String>,
}

/// What is doubtful about a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoteKind {
    /// The model has a closed vocabulary, and this name is not in it.
    UnknownName,
    /// The prompt has more tokens than the model reads; its end was cut off.
    Truncated,
}

/// Why a model was not loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotLoaded {
    /// It cannot be.
    Failed,
    /// The person wanted it so; what has come is kept.
    Paused,
    /// It lies on another host, and nobody has said that it shall be fetched.
    NotAsked,
    /// It answers as if by chance. [`Request::UseDoubtful`] loads it all the same.
    Doubtful,
}

/// A model that the page offers: one entry of `weights/manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelEntry {
    /// Stable short name, used in links and on the command line.
    pub id: String,
    /// For people.
    pub name: String,
    /// File name beside the manifest, or in this browser's store.
    pub file: String,
    /// Where the file is fetched from, `https:`, if it does not lie beside the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The pieces beside the manifest that make up the file one after the other; none where it lies there whole. Static hosts
    /// limit the size of a file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<ModelPart>,
    /// Its beginning, where that is enough to see with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub front: Option<Box<ModelFront>>,
    /// Size of the file; 0 where only its host knows.
    pub bytes: u64,
    /// SHA-256 of the file, lower-case hex; empty where nobody knew it beforehand.
    pub sha256: String,
    /// The default threshold on [`Score::value`].
    pub threshold: f32,
    /// How the threshold was found, one sentence.
    pub threshold_source: String,
    /// What it can do, one sentence.
    pub can: String,
    /// What it cannot do, one sentence.
    pub cannot: String,
    /// What it takes in memory, about, bytes; 0 where nobody said.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub memory_bytes: u64,
    /// It lies in this browser's own store.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
    /// Bytes that lie there of a download that was broken off.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub partial: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl ModelEntry {
    /// Is it fetched into this browser's store, in as many goes as it takes?
    pub fn is_download(&self) -> bool {
        !self.kept && (self.address.is_some() || !self.parts.is_empty())
    }
}

/// A piece of a model file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelPart {
    /// File name beside the manifest.
    pub file: String,
    pub bytes: u64,
    /// SHA-256 of the piece, lower-case hex.
    pub sha256: String,
}

/// The beginning of a model's file, up to its text tower: whoever has it can see pictures, and understands the texts that the model
/// knows by heart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFront {
    pub bytes: u64,
    /// SHA-256 of the beginning, lower-case hex.
    pub sha256: String,
}

/// The model in use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    pub entry: ModelEntry,
    /// Side of the square that the image tower sees, pixels.
    pub image_size: u32,
    /// Length of an embedding.
    pub embed_dim: u32,
    /// Weights and tables held in memory, bytes.
    pub memory_bytes: u64,
    /// The integer kernel in use, for example `simd128-i16i8`.
    pub kernel: String,
    /// Names that a model with a closed vocabulary knows, sorted; `None`: free text.
    pub vocabulary: Option<Vec<String>>,
    /// The scoring methods that can be chosen, in the order to show.
    pub methods: Vec<MethodInfo>,
    /// Milliseconds from the first byte to readiness.
    pub load_millis: f64,
}

/// A scoring method, as shown to people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodInfo {
    pub id: String,
    pub name: String,
    /// One paragraph with its source.
    pub explanation: String,
    pub needs: Needs,
    /// The value at which the two kinds are equally likely by the method's own lights; `None` where it has no such point, and a
    /// threshold must come from the model, from normal examples or by hand.
    pub threshold: Option<f32>,
}

impl ModelInfo {
    /// The methods that words alone are enough for; the others need examples.
    pub fn methods_by_words(&self) -> impl Iterator<Item = &MethodInfo> {
        self.methods.iter().filter(|m| m.needs.words_only())
    }
}

/// What a method must be given before it can score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Fewest normal names whose texts it compares with; 0: it uses no texts.
    pub normal_names: usize,
    /// Fewest example pictures that are known to be normal.
    pub normal_examples: usize,
    /// Fewest example pictures that are known to be outliers.
    pub outlier_examples: usize,
    /// It must be trained on the examples before it scores.
    pub training: bool,
}

impl Needs {
    /// Whether words alone are enough.
    pub fn words_only(&self) -> bool {
        self.met_by(0, 0) && !self.training
    }

    /// Whether so many examples are enough.
    pub fn met_by(&self, normal_examples: usize, outlier_examples: usize) -> bool {
        normal_examples >= self.normal_examples && outlier_examples >= self.outlier_examples
    }
}

impl Event {
    /// The request that this answers.
    pub fn job(&self) -> JobId {
        match self {
            Event::Manifest { job, .. }
            | Event::NotDeleted { job, .. }
            | Event::Loading { job, .. }
            | Event::TextTower { job, .. }
            | Event::Ready { job, .. }
            | Event::Threads { job, .. }
            | Event::LoadFailed { job, .. }
            | Event::SetupDone { job, .. }
            | Event::SetupFailed { job, .. }
            | Event::Rescored { job, .. }
            | Event::Scored { job, .. }
            | Event::FrameScored { job, .. }
            | Event::Failed { job, .. }
            | Event::Labelled { job, .. }
            | Event::Learning { job, .. }
            | Event::Fitted { job, .. }
            | Event::LearningEnded { job, .. }
            | Event::Evaluated { job, .. }
            | Event::Curve { job, .. }
            | Event::Search { job, .. }
            | Event::Advised { job, .. }
            | Event::HeadSaved { job, .. }
            | Event::HeadLoaded { job, .. }
            | Event::HeadFailed { job, .. } => *job,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wire's text form gives every number back to the bit.
    #[test]
    fn messages_survive_the_wire() {
        let score = Score {
            value: 0.1 + 0.2,
            margin: -2.109_123_4,
            nearest: 1,
            cosines: vec![f32::MIN_POSITIVE, 0.999_999_94],
            probabilities: vec![1.0 / 3.0, 0.0],
        };
        let picture = PictureInfo { width: 1, height: u32::MAX, format: "JPEG".into(), decoder: Decoder::Browser };
        let timings = Timings { decode_millis: Some(0.1), ..Timings::default() };
        let (job, image) = (JobId(u32::MAX), ImageId(7));
        let events = [
            Event::Scored { job, image, score: score.clone(), picture, timings },
            Event::Rescored { job, scores: vec![(image, score.clone())] },
            Event::FrameScored { job, score, timings },
            Event::Failed { job, image: None, stage: Stage::Format, message: "\"quoted\"\u{2028}ß".into() },
            Event::Loading { job, received: u64::MAX, total: None },
            Event::TextTower { job, received: 1, total: 2, trouble: Some("the connection broke".into()) },
        ];
        for event in events {
            let text = serde_json::to_string(&event).expect("plain data");
            assert_eq!(serde_json::from_str::<Event>(&text).expect("its own text"), event);
            assert_eq!(event.job(), job);
        }
        let judged = Judged { image, value: 0.3, margin: -690.8, basis: Basis::CrossValidated };
        let measures = Measures {
            normal: 2,
            outliers: 1,
            cross_validated: 3,
            auroc: 0.75,
            auroc_low: 0.5,
            auroc_high: 1.0,
            average_precision: 0.5,
            false_alarm_rate_at_95: 1.0,
            roc: vec![RocPoint { threshold: None, false_alarm_rate: 0.0, hit_rate: 0.0 }],
            precision_recall: vec![PrPoint { threshold: 0.1, precision: 1.0, recall: 0.5 }],
        };
        let reports = vec![
            Report { method: "bce".into(), pictures: vec![judged], measures: Ok(measures) },
            Report { method: "hsc".into(), pictures: vec![], measures: Err("none".into()) },
        ];
        for event in [
            Event::Evaluated { job, reports },
            Event::Advised { job, method: "bce".into(), advice: Err("too few".into()) },
            Event::LearningEnded { job, outcome: Outcome::Failed("no".into()) },
        ] {
            let text = serde_json::to_string(&event).expect("plain data");
            assert_eq!(serde_json::from_str::<Event>(&text).expect("its own text"), event);
        }
        let pixels = Pixels::Rgba { width: 3, height: 4, by: Decoder::Camera };
        let label = Label { kind: Kind::Outlier, role: Role::Example };
        for request in [
            Request::Setup { job, setup: Setup::default() },
            Request::Score { job, image, pixels },
            Request::Label { job, labels: vec![(image, Some(label)), (ImageId(8), None)] },
            Request::Fit { job, methods: vec!["hsc".into()], seed: u64::MAX },
        ] {
            let text = serde_json::to_string(&request).expect("plain data");
            assert_eq!(serde_json::from_str::<Request>(&text).expect("its own text"), request);
        }
        assert!(serde_json::from_str::<Event>(r#"{"Scored":{"job":1}}"#).is_err());
    }

    #[test]
    fn a_score_on_the_threshold_is_normal() {
        let score = Score { value: 0.5, margin: 0.0, nearest: 0, cosines: vec![], probabilities: vec![] };
        assert!(!score.is_anomalous(0.5) && score.is_anomalous(0.499));
    }
}
