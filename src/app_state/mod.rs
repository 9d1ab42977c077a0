//! The page's memory: what is normal, which model, which pictures, what was decided. One pure step
//! [`State::update`]`(action, now) -> effects` changes it; what the step wants done in the world comes back as [`Effect`]s.
//!
//! It does not know Yew, the DOM, workers, models or scorers: it compiles and is tested on any machine. The shape (model,
//! message, update, commands) is the Elm architecture (guide.elm-lang.org/architecture).

pub mod camera;
pub mod export;
pub mod learning;
pub mod permalink;
pub mod picture;
pub mod presets;
pub mod view;
pub mod window;

use std::collections::VecDeque;
use std::rc::Rc;

use crate::protocol::{
    Entry, EntryKind, Event, ImageId, JobId, Kind, ModelEntry, ModelInfo, NotLoaded, Note, Request, Role, Setup, Stage,
};
use camera::Camera;
use learning::{Lab, Lesson};
use picture::{Outcome, Phase, Picture};
use view::{Filter, Sort};

/// Pictures sent to the worker before the first of them is answered: one being scored, one waiting, so it never idles.
pub const AHEAD: usize = 2;
/// The same for each of several workers: answers come in order of arrival, and while one is long at a picture the others go on.
const AHEAD_EACH: usize = 4;
/// Bytes of files that several workers have at a time, at most, but for the [`AHEAD`] that one has, whatever their size.
const AHEAD_BYTES: u64 = 64 << 20;
/// So many pictures wait when further workers are thought of: they take a moment to start, and memory.
pub const MANY: usize = 32;
/// Kept embeddings given back to a fresh worker before the first of them is answered: a thousand at once would hold the page up.
const RESTORES_AHEAD: usize = 32;
/// Worker deaths in a row, without one score between them, after which the page stops trying by itself.
pub const MAX_DEATHS: u32 = 3;
/// The same where each death is the fault of another picture: those are marked, and the queue goes on.
pub const MAX_DEATHS_BY_PICTURES: u32 = 20;
/// Removals that can be taken back; older ones are forgotten for good, and their memory with them.
const UNDO_DEPTH: usize = 10;
/// Names in a setup; far more than anybody types, small enough that a hostile link cannot stall the model.
pub const MAX_NAMES: usize = 200;
/// Texts that a setup may come to: names times templates, and the anomaly texts. The worker encodes them in one go, a few
/// milliseconds each, and must answer long before the watchdog takes it for hung.
pub const MAX_PROMPTS: usize = 3000;
/// Characters in a name or a prompt (the model reads 77 tokens).
pub const MAX_TEXT: usize = 300;

/// Everything that the page shows.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// What the person asks for (the worker may not know it yet).
    pub setup: Setup,
    /// What the scores on show were computed with.
    pub in_force: Option<InForce>,
    /// Why the last setup was refused.
    pub setup_error: Option<String>,
    /// What is doubtful about the texts in force.
    pub notes: Rc<[Note]>,
    pub model: Model,
    /// Models that can be had.
    pub offered: Rc<[ModelEntry]>,
    /// The model asked for by link or by choice; `None`: the manifest's default.
    pub wanted_model: Option<String>,
    /// In order of arrival (and so of id); removed ones stay until they cannot be brought back.
    pub pictures: Vec<Rc<Picture>>,
    /// `None`: the method's own.
    threshold: Option<Chosen>,
    pub sort: Sort,
    pub filter: Filter,
    pub camera: Option<Camera>,
    pub worker: Worker,
    /// How the text tower of the model in use comes; `None`: it is there.
    pub text_tower: Option<TextTower>,
    /// Threads that compute.
    pub threads: u32,
    /// Workers that see pictures.
    pub workers: u32,
    /// What all of them but the first hold of the model together.
    pub further_bytes: u64,
    /// The browser falsifies canvas reads: pictures that it decodes are scored from falsified pixels.
    pub canvas_noise: bool,
    /// One line on what happened last, also read to those who do not see.
    pub status: Rc<str>,
    /// Things to be told once, until dismissed.
    pub notices: Vec<String>,
    /// How far the present queue is.
    pub batch: Batch,
    /// Labels and what is learned from them.
    pub lab: Lab,
    /// The name of the file that the model is loaded from; `None`: it is one of those offered.
    model_file: Option<String>,
    /// The address that the model is fetched from, where a person gave one.
    model_address: Option<String>,
    /// The wanted model was chosen by a person here, not by a link: it may be fetched from another host.
    from_afar: bool,
    /// The model that the worker has, while another is loaded.
    fallback: Option<Fallback>,
    /// The last model was refused because it answers as if by chance; the worker still has it.
    pub doubtful: bool,
    setup_job: JobId,
    scored_model: Option<String>,
    undo: Vec<Undo>,
    outstanding: VecDeque<Outstanding>,
    /// With several workers: the picture that the first of them is at, which is the only one that can kill it.
    begun: Option<JobId>,
    /// The worker knows that many pictures wait.
    told_many: bool,
    /// Scored pictures whose embeddings the worker does not have yet.
    to_restore: VecDeque<ImageId>,
    next_job: u32,
    next_image: u32,
    deaths: u32,
}

/// A threshold that a person chose. Scores of other methods lie elsewhere.
#[derive(Clone, Debug, PartialEq)]
struct Chosen {
    method: String,
    value: f32,
}

/// The model that the worker has while another is loaded.
#[derive(Clone, Debug, PartialEq)]
struct Fallback {
    model: Rc<ModelInfo>,
    /// It came when another was asked for already: nothing was scored by it.
    is_new: bool,
}

/// A setup that the engine has accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct InForce {
    pub job: JobId,
    pub entries: Rc<[Entry]>,
}

/// Where the model stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Model {
    Loading { job: JobId, received: u64, total: Option<u64>, pace: Pace, seconds_left: Option<f64> },
    Ready(Rc<ModelInfo>),
    Failed(String),
}

/// The text tower of a model that is in use without it: until it is there, the model understands the words that it knows by heart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextTower {
    /// Bytes of the model's file.
    pub received: u64,
    pub total: u64,
    /// Why no more comes, one line.
    pub trouble: Option<String>,
}

/// How fast bytes come of late: what was there already of an earlier visit, and how fast it once was, say nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    /// The page's clock, and the bytes that there were: at the beginning of this window and of the one before.
    marks: [(f64, u64); 2],
    /// Some number of bytes was heard of.
    begun: bool,
}

impl Pace {
    /// Milliseconds of a window.
    const WINDOW: f64 = 3000.0;

    fn bytes_per_second(&mut self, now: f64, received: u64) -> Option<f64> {
        // begun, with what was there already, or begun anew
        if !self.begun || received < self.marks[1].1 {
            *self = Self { marks: [(now, received); 2], begun: true };
        }
        let [(then, had), _] = self.marks;
        if now - self.marks[1].0 > Self::WINDOW {
            self.marks = [self.marks[1], (now, received)];
        }
        let (seconds, bytes) = ((now - then) / 1000.0, received.saturating_sub(had));
        (seconds > 0.5 && bytes > 0).then(|| bytes as f64 / seconds)
    }
}

/// Where the worker stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Worker {
    Starting,
    Alive,
    /// It died too often; says how. Waits for a person.
    Stopped(String),
}

/// Pictures since the queue was last empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub total: usize,
    pub done: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Undo {
    Pictures(Vec<ImageId>),
    Setup(Setup, String),
    /// What was said by hand, and roles, before.
    Labels(Vec<(ImageId, Option<Option<Kind>>, Role)>, String),
}

/// A request that the worker has not answered; the oldest is the one it is busy with.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Outstanding {
    job: JobId,
    what: Asked,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Asked {
    Load,
    Setup,
    Score(ImageId),
    Restore(ImageId),
    Frame,
    /// The rate, as bits.
    Advice(u64),
    Head,
    /// The head that a dead worker had from a file.
    HeadAgain,
    SavedHead,
}

/// What happens to the page.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "an action lives for one call; a box would cost each event an allocation")]
pub enum Action {
    /// A link's fragment was read (without `#`).
    OpenLink(String),
    /// One or several names, separated by commas or line ends.
    AddClasses(String),
    RemoveClass(usize),
    ReplaceClass {
        from: String,
        to: String,
    },
    SetNormal(Vec<String>),
    /// One template a line.
    SetTemplates(String),
    /// One text a line.
    SetAnomaly(String),
    SetMethod(String),
    ResetPrompts,
    /// `None`: back to the method's own.
    SetThreshold(Option<f32>),
    SetSort(Sort),
    SetFilter(Filter),
    /// Files arrived: name (path) and bytes of each, and what they are if somebody said so. They get the ids from
    /// [`State::next_image`] on.
    AddPictures(Vec<(String, u64)>, Option<Kind>),
    Learning(Lesson),
    Remove(Vec<ImageId>),
    /// Drop what is not scored yet.
    CancelQueue,
    ClearPictures,
    Retry(ImageId),
    Undo,
    LoadModel(Option<String>),
    /// A model file of that name was picked; the session keeps it.
    PickModel(String),
    /// A person gave a model's address, or its name on the hub.
    FetchModel(String),
    /// The model that was refused last, all the same.
    UseDoubtful,
    DeleteModel(String),
    CancelLoad,
    /// The engine spoke. `thumbnail`: address of attachment 0 of a scored picture.
    Engine {
        event: Event,
        thumbnail: Option<Rc<str>>,
    },
    /// A file could not be read any more.
    Unreadable {
        job: JobId,
        image: ImageId,
        message: String,
    },
    WorkerAlive,
    WorkerDied(String),
    /// So many workers see pictures from now on.
    Workers {
        count: u32,
        further_bytes: u64,
    },
    /// With several workers: the first begins to see the picture of that job itself.
    WorkerBegins(JobId),
    RetryWorker,
    CanvasNoise,
    StartCamera,
    CameraLive,
    CameraFailed(String),
    StopCamera,
    FreezeCamera(bool),
    /// The camera has a new picture.
    FrameDue,
    /// The picture asked for by [`Effect::SendFrame`] could not be had.
    FrameLost(JobId),
    Notice(String),
    DismissNotices,
    Say(String),
}

/// What the page is to do in the world.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send a request that has no attachment.
    Ask(Request),
    /// Read the file of `image` and ask for its score.
    ScoreFile { job: JobId, image: ImageId },
    /// Give the kept embedding of `image` back to the worker.
    Restore { job: JobId, image: ImageId },
    /// Send the camera's present picture.
    SendFrame { job: JobId },
    /// Send the head file that was picked last; `again`: that which was loaded last.
    LoadHead { job: JobId, again: bool },
    /// The head file that was picked last is in use: a fresh worker will need it.
    KeepHead,
    /// Have the model file loaded that was picked last.
    LoadFile { job: JobId, name: String },
    /// Stop fetching the model.
    CancelLoad,
    /// Say that many pictures wait.
    TellManyWait,
    /// Files, thumbnails' addresses and embeddings of these are not needed any more.
    Discard { images: Vec<ImageId>, addresses: Vec<Rc<str>> },
    /// Start a worker in place of the dead one.
    Respawn,
}

impl Default for State {
    fn default() -> Self {
        Self {
            setup: Setup::default(),
            in_force: None,
            setup_error: None,
            notes: Rc::new([]),
            model: Model::Loading {
                job: JobId(0),
                received: 0,
                total: None,
                pace: Pace::default(),
                seconds_left: None,
            },
            offered: Rc::new([]),
            wanted_model: None,
            pictures: Vec::new(),
            threshold: None,
            sort: Sort::default(),
            filter: Filter::default(),
            camera: None,
            worker: Worker::Starting,
            text_tower: None,
            threads: 1,
            workers: 1,
            further_bytes: 0,
            canvas_noise: false,
            status: "".into(),
            notices: Vec::new(),
            batch: Batch::default(),
            lab: Lab::default(),
            model_file: None,
            model_address: None,
            from_afar: false,
            fallback: None,
            doubtful: false,
            setup_job: JobId(0),
            scored_model: None,
            undo: Vec::new(),
            outstanding: VecDeque::new(),
            begun: None,
            told_many: false,
            to_restore: VecDeque::new(),
            next_job: 1,
            next_image: 1,
            deaths: 0,
        }
    }
}

impl State {
    /// The id that the next picture gets.
    pub fn next_image(&self) -> ImageId {
        ImageId(self.next_image)
    }

    /// The loaded model.
    pub fn ready(&self) -> Option<&Rc<ModelInfo>> {
        match &self.model {
            Model::Ready(info) => Some(info),
            _ => None,
        }
    }

    /// Is what is being loaded put into this browser's store, in as many goes as it takes?
    pub fn is_downloading(&self) -> bool {
        let listed = || self.loading_entry().is_some_and(ModelEntry::is_download);
        matches!(self.model, Model::Loading { .. })
            && self.model_file.is_none()
            && (self.model_address.is_some() || listed())
    }

    /// The wanted model in the list, where it is there.
    fn loading_entry(&self) -> Option<&ModelEntry> {
        match (&self.model_address, &self.wanted_model) {
            (Some(address), _) => self.offered.iter().find(|m| m.address.as_ref() == Some(address)),
            (None, Some(id)) => self.offered.iter().find(|m| m.id == *id),
            // the default; a page that was built to begin with a model in parts lists it first
            (None, None) => self.offered.first(),
        }
    }

    /// The threshold in use: the person's for this method, else that of [`State::default_threshold`].
    pub fn threshold_in_use(&self) -> f32 {
        self.chosen_threshold().unwrap_or_else(|| self.default_threshold().0)
    }

    /// The threshold that a person chose for the method in use.
    pub fn chosen_threshold(&self) -> Option<f32> {
        let in_use = self.method_in_use();
        self.threshold.as_ref().filter(|chosen| chosen.method == in_use).map(|chosen| chosen.value)
    }

    /// Cuts the scores of the method in use there.
    fn choose_threshold(&mut self, value: f32) {
        self.threshold = Some(Chosen { method: self.method_in_use(), value: value.clamp(0.0, 1.0) });
    }

    /// One picture, removed or not.
    pub fn picture(&self, id: ImageId) -> Option<&Rc<Picture>> {
        self.pictures.binary_search_by_key(&id, |p| p.id).ok().map(|i| &self.pictures[i])
    }

    fn picture_mut(&mut self, id: ImageId) -> Option<&mut Picture> {
        let i = self.pictures.binary_search_by_key(&id, |p| p.id).ok()?;
        Some(Rc::make_mut(&mut self.pictures[i]))
    }

    /// What [`Action::Undo`] would bring back, in words.
    pub fn undoable(&self) -> Option<String> {
        self.undo.last().map(|u| match u {
            Undo::Pictures(ids) if ids.len() == 1 => "1 picture removed".into(),
            Undo::Pictures(ids) => format!("{} pictures removed", ids.len()),
            Undo::Setup(_, what) | Undo::Labels(_, what) => what.clone(),
        })
    }

    /// Is a picture or frame in the worker's hands? Then silence means that something is wrong.
    pub fn awaits_answer(&self) -> bool {
        self.outstanding.iter().any(|o| !matches!(o.what, Asked::Load)) || self.awaits_learning()
    }

    /// One step. `now`: milliseconds on the page's clock.
    pub fn update(&mut self, action: Action, now: f64) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.lab.now = now;
        self.step(action, now, &mut effects);
        self.pump(&mut effects);
        effects
    }

    fn step(&mut self, action: Action, now: f64, effects: &mut Vec<Effect>) {
        match action {
            Action::OpenLink(fragment) => self.open_link(&fragment, effects),
            Action::AddClasses(text) => self.add_classes(&text, effects),
            Action::RemoveClass(i) => {
                if i < self.setup.normal.len() {
                    let before = self.setup.clone();
                    let name = self.setup.normal.remove(i);
                    self.remember(Undo::Setup(before, format!("“{name}” removed")), effects);
                    self.say(format!("{name} is no longer among what is normal."));
                    self.ask_setup(effects);
                }
            }
            Action::ReplaceClass { from, to } => {
                let before = self.setup.clone();
                if let Some(i) = self.setup.normal.iter().position(|n| *n == from) {
                    if self.setup.normal.contains(&to) {
                        self.setup.normal.remove(i);
                    } else {
                        self.setup.normal[i] = to.clone();
                    }
                    self.remember(Undo::Setup(before, format!("“{from}” replaced by “{to}”")), effects);
                    self.say(format!("{to} takes the place of {from}."));
                    self.ask_setup(effects);
                }
            }
            Action::SetNormal(names) => {
                let names = clean_names(names);
                if names != self.setup.normal && !names.is_empty() {
                    let before = std::mem::replace(&mut self.setup.normal, names);
                    let count = self.setup.normal.len();
                    let before = Setup { normal: before, ..self.setup.clone() };
                    self.remember(Undo::Setup(before, "Classes replaced".into()), effects);
                    self.say(format!("{count} normal {}.", if count == 1 { "class" } else { "classes" }));
                    self.ask_setup(effects);
                }
            }
            Action::SetTemplates(text) => {
                self.setup.templates = self.prompts(&text, crate::protocol::DEFAULT_TEMPLATE);
                self.ask_setup(effects);
            }
            Action::SetAnomaly(text) => {
                self.setup.anomaly = self.prompts(&text, crate::protocol::DEFAULT_ANOMALY);
                self.ask_setup(effects);
            }
            Action::SetMethod(method) => {
                self.setup.method = method;
                self.lab.advice = None;
                self.learning_changed(true);
                self.ask_setup(effects);
            }
            Action::ResetPrompts => {
                let default = Setup::default();
                self.setup.templates = default.templates;
                self.setup.anomaly = default.anomaly;
                self.ask_setup(effects);
            }
            Action::SetThreshold(value) => match value {
                Some(t) if !t.is_finite() => {}
                Some(t) => self.choose_threshold(t),
                None => self.threshold = None,
            },
            Action::SetSort(sort) => self.sort = sort,
            Action::SetFilter(filter) => self.filter = filter,
            Action::AddPictures(files, kind) => self.add_pictures(files, kind),
            Action::Learning(lesson) => self.take_lesson(lesson, effects),
            Action::Remove(ids) => self.remove(ids, effects),
            Action::CancelQueue => {
                let ids = self.ids_where(|p| matches!(p.phase, Phase::Queued));
                let count = ids.len();
                self.remove(ids, effects);
                self.say(match count {
                    1 => "Cancelled: 1 picture was not scored.".to_owned(),
                    _ => format!("Cancelled: {count} pictures were not scored."),
                });
            }
            Action::ClearPictures => {
                let ids = self.ids_where(|_| true);
                self.remove(ids, effects);
            }
            Action::Retry(id) => {
                if let Some(p) = self.picture_mut(id)
                    && matches!(p.phase, Phase::Failed { .. })
                {
                    p.phase = Phase::Queued;
                    self.grow_batch(1);
                }
            }
            Action::Undo => self.take_back(effects),
            Action::LoadModel(id) => {
                self.wanted_model = id;
                (self.model_file, self.model_address, self.from_afar) = (None, None, true);
                self.ask_load(effects);
            }
            Action::PickModel(name) => {
                (self.model_file, self.model_address) = (Some(name), None);
                self.ask_load(effects);
            }
            Action::FetchModel(address) => {
                (self.model_file, self.model_address) = (None, Some(address));
                self.ask_load(effects);
            }
            Action::UseDoubtful => {
                if self.doubtful && self.worker == Worker::Alive {
                    let job = self.begin_load();
                    effects.push(Effect::Ask(Request::UseDoubtful { job }));
                }
            }
            Action::DeleteModel(id) => {
                if self.worker == Worker::Alive {
                    if self.is_downloading() && self.loading_entry().is_some_and(|m| m.id == id) {
                        effects.push(Effect::CancelLoad);
                    }
                    let job = self.job();
                    effects.push(Effect::Ask(Request::DeleteModel { job, model: id }));
                }
            }
            Action::CancelLoad => {
                if matches!(self.model, Model::Loading { .. }) || self.text_tower.is_some() {
                    effects.push(Effect::CancelLoad);
                }
            }
            Action::Engine { event, thumbnail } => self.hear(event, thumbnail, now, effects),
            Action::Unreadable { job, image, message } => {
                if self.settle(job).is_some() {
                    self.fail(image, Stage::Decode, message);
                }
            }
            Action::WorkerAlive => {
                self.worker = Worker::Alive;
                self.ask_load(effects);
            }
            Action::WorkerDied(how) => self.bury(&how, effects),
            Action::RetryWorker => {
                if matches!(self.worker, Worker::Stopped(_)) {
                    self.deaths = 0;
                    self.worker = Worker::Starting;
                    effects.push(Effect::Respawn);
                }
            }
            Action::Workers { count, further_bytes } => {
                (self.workers, self.further_bytes) = (count.max(1), further_bytes);
                if self.workers == 1 {
                    // they have gone; if many wait again, they may come again
                    self.told_many = false;
                }
            }
            Action::WorkerBegins(job) => self.begun = Some(job),
            Action::CanvasNoise => self.canvas_noise = true,
            Action::StartCamera => self.camera = Some(Camera::default()),
            Action::CameraLive => {
                if let Some(camera) = &mut self.camera {
                    camera.phase = camera::CameraPhase::Live;
                    self.say("The camera is on.");
                }
            }
            Action::CameraFailed(why) => {
                self.say(why.as_str());
                if let Some(camera) = &mut self.camera {
                    camera.phase = camera::CameraPhase::Failed(why);
                }
            }
            Action::StopCamera => {
                if self.camera.take().is_some() {
                    self.say("The camera is off.");
                }
            }
            Action::FreezeCamera(frozen) => {
                if let Some(camera) = &mut self.camera {
                    camera.freeze(frozen);
                }
            }
            Action::FrameDue => self.frame_due(now, effects),
            Action::FrameLost(job) => {
                if self.settle(job).is_some()
                    && let Some(camera) = &mut self.camera
                {
                    camera.forget(job);
                }
            }
            Action::Notice(text) => {
                self.say(text.as_str());
                self.notices.push(text);
            }
            Action::DismissNotices => self.notices.clear(),
            Action::Say(text) => self.say(text),
        }
    }

    fn say(&mut self, text: impl Into<String>) {
        self.status = text.into().into();
    }

    fn job(&mut self) -> JobId {
        let job = JobId(self.next_job);
        self.next_job += 1;
        job
    }

    /// Takes the request off the list of unanswered ones; `None`: it was not there, so the answer is stale.
    fn settle(&mut self, job: JobId) -> Option<Asked> {
        self.begun.take_if(|begun| *begun == job);
        let i = self.outstanding.iter().position(|o| o.job == job)?;
        self.outstanding.remove(i).map(|o| o.what)
    }

    fn expect_answer(&mut self, job: JobId, what: Asked) {
        self.outstanding.push_back(Outstanding { job, what });
    }

    fn ask_load(&mut self, effects: &mut Vec<Effect>) {
        if self.worker != Worker::Alive {
            return;
        }
        let job = self.begin_load();
        self.doubtful = false;
        effects.push(match (&self.model_file, &self.model_address) {
            (Some(name), _) => Effect::LoadFile { job, name: name.clone() },
            (None, Some(address)) => Effect::Ask(Request::LoadAddress { job, address: address.clone() }),
            (None, None) => {
                let (model, from_afar) = (self.wanted_model.clone(), self.from_afar);
                Effect::Ask(Request::Load { job, model, from_afar })
            }
        });
    }

    /// A loading is asked for: its number.
    fn begin_load(&mut self) -> JobId {
        let job = self.job();
        self.outstanding.retain(|o| o.what != Asked::Load);
        if let Model::Ready(info) = &self.model {
            self.fallback = Some(Fallback { model: info.clone(), is_new: false });
        }
        self.model = Model::Loading { job, received: 0, total: None, pace: Pace::default(), seconds_left: None };
        self.expect_answer(job, Asked::Load);
        job
    }

    fn ask_setup(&mut self, effects: &mut Vec<Effect>) {
        self.setup_error = None;
        if self.setup.normal.is_empty() {
            self.setup_error = Some(format!("Name at least one thing that is normal. {}", self.until_then()));
            return;
        }
        let Setup { normal, templates, anomaly, .. } = &self.setup;
        let asked = anomaly.iter().map(|a| if a.contains("{}") { normal.len() } else { 1 }).sum::<usize>();
        let prompts = normal.len() * templates.len() + asked;
        if prompts > MAX_PROMPTS {
            self.setup_error = Some(format!(
                "These names and prompts make {prompts} texts; at most {MAX_PROMPTS} are compared. Take out some prompts. {}",
                self.until_then()
            ));
            return;
        }
        if self.ready().is_none() || self.worker != Worker::Alive {
            return;
        }
        self.relabel();
        let job = self.job();
        self.setup_job = job;
        self.expect_answer(job, Asked::Setup);
        let setup = Setup { method: self.method_in_use(), ..self.setup.clone() };
        effects.push(Effect::Ask(Request::Setup { job, setup }));
        // the worker answers in order: what is asked from here on is about these texts
        self.learning_changed(true);
    }

    /// A line each, or the default where there is none.
    fn prompts(&mut self, text: &str, default: &str) -> Vec<String> {
        if text.lines().any(|line| line.trim().chars().count() > MAX_TEXT) {
            let cut = format!("A prompt was cut: expected at most {MAX_TEXT} characters.");
            self.say(cut.as_str());
            self.notices.push(cut);
        }
        let lines: Vec<String> = text.lines().map(clean_text).filter(|l| !l.is_empty()).take(MAX_NAMES).collect();
        if lines.is_empty() { vec![default.to_owned()] } else { lines }
    }

    /// What becomes of pictures while a setup cannot be used.
    fn until_then(&self) -> String {
        let Some(force) = &self.in_force else { return "Until then, pictures wait.".into() };
        let normal = force.entries.iter().filter(|e| e.kind == EntryKind::Normal);
        let mut names: Vec<&str> = normal.map(|e| e.label.as_str()).collect();
        names.dedup();
        format!("Until then, scores are those for: {}.", names.join(", "))
    }

    fn add_classes(&mut self, text: &str, effects: &mut Vec<Effect>) {
        let before = self.setup.normal.len();
        let mut names = self.setup.normal.clone();
        names.extend(text.split([',', '\n']).map(str::to_owned));
        let names = clean_names(names);
        if names.len() > before {
            self.setup.normal = names;
            self.say(format!("Normal is: {}.", self.setup.normal.join(", ")));
            self.ask_setup(effects);
        } else if text.split([',', '\n']).any(|name| !name.trim().is_empty()) {
            self.say("That name is already there.");
        }
    }

    fn open_link(&mut self, fragment: &str, effects: &mut Vec<Effect>) {
        let link = permalink::decode(fragment);
        let before = self.setup.clone();
        if let Some(normal) = link.normal {
            self.setup.normal = normal;
        }
        if let Some(templates) = link.templates {
            self.setup.templates = templates;
        }
        if let Some(anomaly) = link.anomaly {
            self.setup.anomaly = anomaly;
        }
        if let Some(method) = link.method {
            self.setup.method = method;
        }
        if let Some(value) = link.threshold {
            self.threshold = Some(Chosen { method: self.setup.method.clone(), value });
        }
        self.notices.extend(link.notes);
        if link.model.is_some() && link.model != self.wanted_model {
            self.wanted_model = link.model;
            (self.model_file, self.model_address, self.from_afar) = (None, None, false);
            // a shared link names the model even where it is the standard one, which is there already
            let is_there = self.ready().is_some_and(|m| Some(&m.entry.id) == self.wanted_model.as_ref());
            if !is_there && self.worker == Worker::Alive {
                self.ask_load(effects);
                return;
            }
        }
        if self.setup != before {
            self.ask_setup(effects);
        }
    }

    fn add_pictures(&mut self, files: Vec<(String, u64)>, kind: Option<Kind>) {
        self.grow_batch(files.len());
        match files.len() {
            0 => return,
            1 => self.say(format!("{} added.", files[0].0)),
            n => self.say(format!("{n} pictures added.")),
        }
        for (name, bytes) in files {
            let id = ImageId(self.next_image);
            self.next_image += 1;
            let mut picture = Picture::new(id, &name, bytes);
            picture.by_hand = kind.map(Some);
            self.pictures.push(Rc::new(picture));
        }
        self.relabel();
    }

    fn grow_batch(&mut self, by: usize) {
        if self.batch.done >= self.batch.total {
            self.batch = Batch::default();
        }
        self.batch.total += by;
    }

    fn ids_where(&self, wanted: impl Fn(&Picture) -> bool) -> Vec<ImageId> {
        self.pictures.iter().filter(|p| !p.removed && wanted(p)).map(|p| p.id).collect()
    }

    fn remove(&mut self, ids: Vec<ImageId>, effects: &mut Vec<Effect>) {
        let mut gone = Vec::with_capacity(ids.len());
        for id in ids {
            let mut waiting = false;
            if let Some(p) = self.picture_mut(id)
                && !p.removed
            {
                p.removed = true;
                waiting = matches!(p.phase, Phase::Queued);
                gone.push(id);
            }
            if waiting {
                self.batch.total = self.batch.total.saturating_sub(1);
            }
        }
        if !gone.is_empty() {
            self.relabel();
            self.say(match gone.len() {
                1 => "Picture removed.".to_owned(),
                n => format!("{n} pictures removed."),
            });
            self.remember(Undo::Pictures(gone), effects);
        }
    }

    fn remember(&mut self, undo: Undo, effects: &mut Vec<Effect>) {
        self.undo.push(undo);
        if self.undo.len() > UNDO_DEPTH
            && let Undo::Pictures(ids) = self.undo.remove(0)
        {
            self.discard(ids, effects);
        }
    }

    fn discard(&mut self, mut images: Vec<ImageId>, effects: &mut Vec<Effect>) {
        images.sort_unstable();
        let mut addresses = Vec::new();
        self.pictures.retain(|p| {
            let gone = images.binary_search(&p.id).is_ok();
            if gone {
                addresses.extend(p.thumbnail.clone());
            }
            !gone
        });
        if self.worker == Worker::Alive {
            effects.push(Effect::Ask(Request::Forget { images: images.clone() }));
        }
        effects.push(Effect::Discard { images, addresses });
    }

    fn take_back(&mut self, effects: &mut Vec<Effect>) {
        match self.undo.pop() {
            None => {}
            Some(Undo::Setup(setup, _)) => {
                self.setup = setup;
                self.say("Taken back.");
                self.ask_setup(effects);
            }
            Some(Undo::Pictures(ids)) => {
                let mut waiting = 0;
                for id in &ids {
                    if let Some(p) = self.picture_mut(*id) {
                        p.removed = false;
                        waiting += usize::from(matches!(p.phase, Phase::Queued));
                    }
                }
                self.grow_batch(waiting);
                self.relabel();
                self.say("Taken back.");
            }
            Some(Undo::Labels(before, _)) => {
                self.take_back_labels(before);
                self.say("Taken back.");
            }
        }
    }

    fn fail(&mut self, image: ImageId, stage: Stage, message: String) {
        if let Some(p) = self.picture_mut(image) {
            let line = format!("{}: {message}", p.name);
            p.phase = Phase::Failed { stage, message: message.into() };
            self.say(line);
            self.count_one();
        }
    }

    /// Back into the queue from the worker's hands: its place among the batch is still kept. A removed picture gives its
    /// place up, as others do when they are removed, and gets one when it is brought back.
    fn put_back(&mut self, image: ImageId) {
        let Some(p) = self.picture_mut(image) else { return };
        p.phase = Phase::Queued;
        if p.removed {
            self.batch.total = self.batch.total.saturating_sub(1);
        }
    }

    /// Into the queue again after it was done.
    fn queue_again(&mut self, image: ImageId) {
        let Some(p) = self.picture_mut(image) else { return };
        p.phase = Phase::Queued;
        if !p.removed {
            self.grow_batch(1);
        }
    }

    fn count_one(&mut self) {
        self.batch.done = (self.batch.done + 1).min(self.batch.total);
    }

    fn frame_due(&mut self, now: f64, effects: &mut Vec<Effect>) {
        let ready = self.ready().is_some() && self.in_force.is_some() && self.worker == Worker::Alive;
        let wanted = self.camera.as_ref().is_some_and(Camera::wants_frame);
        if !(ready && wanted) {
            return;
        }
        let job = self.job();
        if let Some(camera) = &mut self.camera {
            camera.asked(job, now);
        }
        self.expect_answer(job, Asked::Frame);
        effects.push(Effect::SendFrame { job });
    }

    /// Sends what waits while the worker has room: kept embeddings first, then pictures in order of arrival.
    fn pump(&mut self, effects: &mut Vec<Effect>) {
        if self.ready().is_none() || self.worker != Worker::Alive {
            return;
        }
        self.pump_restores(effects);
        if self.in_force.is_none() {
            return;
        }
        if self.camera.as_ref().is_some_and(Camera::is_due) {
            self.frame_due(self.lab.now, effects);
        }
        self.pump_learning(effects);
        let left = self.batch.total.saturating_sub(self.batch.done);
        let many = left >= MANY;
        if many && !self.told_many {
            effects.push(Effect::TellManyWait);
        }
        self.told_many = many;
        let ahead = if self.workers > 1 { self.workers as usize * AHEAD_EACH } else { AHEAD };
        let asked = |o: &Outstanding| if let Asked::Score(image) = o.what { Some(image) } else { None };
        let mut flying = self.outstanding.iter().filter_map(asked).count();
        if flying >= ahead {
            return;
        }
        let size = |image| self.picture(image).map_or(0, |p| p.bytes);
        let mut bytes: u64 = self.outstanding.iter().filter_map(asked).map(size).sum();
        let queued = self.pictures.iter().filter(|p| !p.removed && matches!(p.phase, Phase::Queued));
        let fits = |(i, p): &(usize, &Rc<Picture>)| {
            bytes += p.bytes;
            flying + i < AHEAD || bytes <= AHEAD_BYTES
        };
        let waiting: Vec<ImageId> =
            queued.take(ahead - flying).enumerate().take_while(fits).map(|(_, p)| p.id).collect();
        for image in waiting {
            let job = self.job();
            if let Some(p) = self.picture_mut(image) {
                p.phase = Phase::Scoring { job };
            }
            self.expect_answer(job, Asked::Score(image));
            effects.push(Effect::ScoreFile { job, image });
            flying += 1;
        }
        debug_assert!(flying <= ahead);
    }

    fn pump_restores(&mut self, effects: &mut Vec<Effect>) {
        if self.to_restore.is_empty() {
            return;
        }
        let flying = self.outstanding.iter().filter(|o| matches!(o.what, Asked::Restore(_))).count();
        for _ in flying..RESTORES_AHEAD {
            let Some(image) = self.to_restore.pop_front() else { break };
            // it may have been forgotten meanwhile
            if self.picture(image).is_some_and(|p| p.outcome().is_some()) {
                let job = self.job();
                self.expect_answer(job, Asked::Restore(image));
                effects.push(Effect::Restore { job, image });
            }
        }
    }

    fn hear(&mut self, event: Event, thumbnail: Option<Rc<str>>, now: f64, effects: &mut Vec<Effect>) {
        match event {
            Event::Manifest { models, .. } => {
                if let Model::Ready(info) = &mut self.model
                    && let Some(kept) =
                        models.iter().find(|m| m.kept && m.id == info.entry.id && m.sha256 == info.entry.sha256)
                {
                    // it came in the middle of its use
                    Rc::make_mut(info).entry = kept.clone();
                }
                self.offered = models.into();
            }
            Event::Loading { job, received, total } => {
                if let Model::Loading { job: mine, mut pace, .. } = self.model
                    && mine == job
                {
                    let rate = pace.bytes_per_second(now, received);
                    let seconds_left =
                        total.filter(|t| *t >= received).zip(rate).map(|(t, rate)| (t - received) as f64 / rate);
                    self.model = Model::Loading { job, received, total, pace, seconds_left };
                }
            }
            Event::Ready { job, model } => {
                if self.settle(job).is_none() {
                    return self.came_late(model);
                }
                let id = model.entry.id.clone();
                self.fallback = None;
                let was_doubtful = std::mem::take(&mut self.doubtful);
                if self.model_file.is_some() || self.model_address.is_some() || was_doubtful {
                    self.wanted_model = Some(id);
                }
                if model.entry.kept {
                    // from now on it is found in the store
                    (self.model_file, self.model_address) = (None, None);
                }
                self.text_tower = None;
                self.say(format!("The model {} is ready.", model.entry.name));
                self.take_up(Rc::new(model), effects);
            }
            Event::TextTower { received, total, trouble, .. } => self.hear_text_tower(received, total, trouble),
            Event::Threads { count, .. } => self.threads = count,
            Event::NotDeleted { message, .. } => {
                let notice = format!("The model could not be deleted: {message}.");
                self.say(notice.as_str());
                self.notices.push(notice);
            }
            Event::LoadFailed { job, message, why } => self.hear_not_loaded(job, &message, why, effects),
            Event::SetupDone { job, entries, notes, .. } => {
                self.settle(job);
                if self.in_force.as_ref().is_none_or(|f| f.job < job) {
                    self.in_force = Some(InForce { job, entries: entries.into() });
                    self.notes = notes.into();
                    if let Some(camera) = &mut self.camera {
                        camera.texts_changed();
                    }
                }
            }
            Event::SetupFailed { job, message } => {
                self.settle(job);
                if job == self.setup_job {
                    self.say(message.as_str());
                    self.setup_error = Some(format!("{}. {}", message.trim_end_matches('.'), self.until_then()));
                }
            }
            Event::Rescored { job, scores } => {
                if matches!(self.settle(job), Some(Asked::Restore(_))) {
                    self.learning_changed(false);
                }
                let Some(force) = self.in_force.as_ref().filter(|f| f.job <= job) else { return };
                let entries = force.entries.clone();
                for (id, score) in scores {
                    // what a fresh worker was given back has its score already
                    let known = |o: &Rc<Outcome>| o.score == score && o.entries == entries;
                    if self.picture(id).and_then(|p| p.outcome()).is_some_and(known) {
                        continue;
                    }
                    if let Some(p) = self.picture_mut(id)
                        && let Phase::Done(outcome) = &mut p.phase
                    {
                        let outcome = Rc::make_mut(outcome);
                        outcome.score = score;
                        outcome.entries = entries.clone();
                    }
                }
            }
            Event::Scored { job, image, score, picture, timings } => {
                let known = matches!(self.settle(job), Some(Asked::Score(i)) if i == image);
                let entries = self.in_force.as_ref().map(|f| f.entries.clone());
                self.deaths = 0;
                let waited_for =
                    self.picture(image).is_some_and(|p| matches!(p.phase, Phase::Scoring { job: j } if j == job));
                if let (true, true, Some(entries)) = (known, waited_for, entries) {
                    let outcome = Outcome { score, entries, picture, timings };
                    let mut old = None;
                    if let Some(p) = self.picture_mut(image) {
                        p.phase = Phase::Done(Rc::new(outcome));
                        old = std::mem::replace(&mut p.thumbnail, thumbnail);
                    }
                    if let Some(old) = old {
                        effects.push(Effect::Discard { images: vec![], addresses: vec![old] });
                    }
                    self.count_one();
                    if self.picture(image).is_some_and(|p| p.label.is_some()) {
                        self.learning_changed(false);
                    }
                    self.say_progress(image);
                } else if let Some(address) = thumbnail {
                    effects.push(Effect::Discard { images: vec![], addresses: vec![address] });
                }
            }
            Event::FrameScored { job, score, timings } => {
                self.deaths = 0;
                let known = self.settle(job).is_some();
                let entries = self.in_force.as_ref().map(|f| f.entries.clone());
                if let (true, Some(entries), Some(camera)) = (known, entries, &mut self.camera) {
                    camera.scored(job, score, entries, timings, now);
                }
            }
            Event::Failed { job, stage, message, .. } => match self.settle(job) {
                // it overtook a setup, or a model that was asked for meanwhile: no fault of the picture
                Some(Asked::Score(asked)) if stage == Stage::Score => self.put_back(asked),
                Some(Asked::Score(asked)) => self.fail(asked, stage, message),
                Some(Asked::Restore(asked)) => self.queue_again(asked),
                Some(Asked::Frame) => {
                    if let Some(camera) = &mut self.camera {
                        camera.refused(job, message);
                    }
                }
                _ => {}
            },
            learned @ (Event::Labelled { .. }
            | Event::Learning { .. }
            | Event::Fitted { .. }
            | Event::LearningEnded { .. }
            | Event::Evaluated { .. }
            | Event::Curve { .. }
            | Event::Search { .. }
            | Event::Advised { .. }
            | Event::HeadSaved { .. }
            | Event::HeadLoaded { .. }
            | Event::HeadFailed { .. }) => self.hear_learning(learned, effects),
        }
    }

    /// Another was asked for meanwhile; until that is there, the worker has this one.
    fn came_late(&mut self, model: ModelInfo) {
        if matches!(self.model, Model::Loading { .. }) {
            self.fallback = Some(Fallback { model: Rc::new(model), is_new: true });
            self.in_force = None;
            self.text_tower = None;
            self.to_restore.clear();
        }
    }

    /// The worker has that model, and knows nothing else yet.
    fn take_up(&mut self, model: Rc<ModelInfo>, effects: &mut Vec<Effect>) {
        let wanted = model.methods.iter().find(|m| m.id == self.setup.method);
        match (wanted, model.methods_by_words().next()) {
            (None, Some(first)) => {
                self.notices.push(format!(
                    "The method “{}” is not offered here; {} is used instead.",
                    self.setup.method, first.name
                ));
                self.setup.method = first.id.clone();
            }
            // a link's
            (Some(wanted), Some(first)) if !wanted.needs.words_only() && self.scored_model.is_none() => {
                self.notices.push(format!(
                    "{} has learned nothing here yet: {} is used until it has.",
                    wanted.name, first.name
                ));
            }
            _ => {}
        }
        let id = model.entry.id.clone();
        self.model = Model::Ready(model);
        let other = self.scored_model.as_ref().is_some_and(|scored| *scored != id);
        self.scored_model = Some(id);
        self.in_force = None;
        self.to_restore.clear();
        self.forget_told();
        self.told_many = false;
        if other {
            self.forget_learned();
        }
        self.ask_setup(effects);
        if other {
            self.score_all_anew();
        } else {
            self.give_back();
        }
    }

    fn hear_text_tower(&mut self, received: u64, total: u64, trouble: Option<String>) {
        // while another is loaded, it is the fallback's
        if let Model::Ready(info) = &self.model {
            let name = &info.entry.name;
            if let Some(why) = &trouble {
                self.say(format!("{name} understands the usual words; what it needs for others has not come: {why}"));
            } else if received == total {
                self.say(format!("{name} is whole: it reads any words."));
            }
        }
        let is_whole = received == total && trouble.is_none();
        self.text_tower = (!is_whole).then_some(TextTower { received, total, trouble });
    }

    fn hear_not_loaded(&mut self, job: JobId, message: &str, why: NotLoaded, effects: &mut Vec<Effect>) {
        let by_name = self.model_file.is_none() && self.model_address.is_none();
        let strange = self
            .wanted_model
            .clone()
            .filter(|w| by_name && !self.offered.is_empty() && self.offered.iter().all(|m| m.id != *w));
        if self.settle(job).is_none() {
            return;
        }
        let message = message.trim_end_matches('.');
        if let Some(strange) = strange {
            // a link may name a model that is not here
            self.notices.push(format!("There is no model “{strange}” here; the standard one is used."));
            self.wanted_model = None;
            return self.ask_load(effects);
        }
        self.doubtful = why == NotLoaded::Doubtful;
        if why == NotLoaded::NotAsked {
            let name = self.loading_entry().map_or("another model", |m| m.name.as_str());
            self.notices.push(format!(
                "This address asks for {name}, which lies on another host. It is fetched when you press Download among the models."
            ));
        }
        if let Some(Fallback { model: before, is_new }) = self.fallback.take() {
            // the worker has it
            let stays = format!("{} stays in use.", before.entry.name);
            match why {
                NotLoaded::Failed => {
                    let notice = format!("The model could not be loaded: {message}. {stays}");
                    self.say(notice.as_str());
                    self.notices.push(notice);
                }
                NotLoaded::Doubtful => {
                    let notice = format!(
                        "The model is not used: {message}. {stays} Among the models it can be used all the same."
                    );
                    self.say(notice.as_str());
                    self.notices.push(notice);
                }
                NotLoaded::Paused => self.say(format!("The download is {message}. {stays}")),
                NotLoaded::NotAsked => self.say(stays),
            }
            let is_named = is_new || self.wanted_model.is_some();
            self.wanted_model = is_named.then(|| before.entry.id.clone());
            (self.model_file, self.model_address) = (None, None);
            if is_new {
                self.take_up(before, effects);
            } else {
                self.model = Model::Ready(before);
                // what was changed while the other was loaded
                self.ask_setup(effects);
            }
            return;
        }
        // whoever does not want to wait has one that is at hand meanwhile
        let at_hand = self.offered.iter().find(|m| !m.is_download()).map(|m| m.id.clone());
        match why {
            NotLoaded::NotAsked if self.wanted_model.take().is_some() => self.ask_load(effects),
            NotLoaded::Paused if at_hand.is_some() && self.wanted_model != at_hand => {
                self.say(format!("The download is {message}."));
                (self.wanted_model, self.model_address) = (at_hand, None);
                self.ask_load(effects);
            }
            NotLoaded::Paused => {
                self.say(format!("The download is {message}."));
                self.model = Model::Failed(format!("The download is {message}."));
            }
            NotLoaded::Failed | NotLoaded::NotAsked | NotLoaded::Doubtful => {
                self.say(format!("The model could not be loaded: {message}"));
                self.model = Model::Failed(message.to_owned());
            }
        }
    }

    fn say_progress(&mut self, image: ImageId) {
        if self.batch.total > 1 {
            if self.batch.done == self.batch.total {
                self.say(format!("All {} pictures are done.", self.batch.total));
            } else if self.batch.done.is_multiple_of(25) {
                self.say(format!("{} of {} pictures done.", self.batch.done, self.batch.total));
            }
        } else if let Some(p) = self.picture(image)
            && let Phase::Done(outcome) = &p.phase
        {
            let verdict = if outcome.score.is_anomalous(self.threshold_in_use()) { "odd" } else { "normal" };
            self.say(format!("{}: {:.2}, {verdict}.", p.name, outcome.score.value));
        }
    }

    /// Another model: no old score counts.
    fn score_all_anew(&mut self) {
        let done: Vec<ImageId> =
            self.pictures.iter().filter(|p| matches!(p.phase, Phase::Done(_))).map(|p| p.id).collect();
        for image in done {
            self.queue_again(image);
        }
    }

    /// The same model in a fresh worker: it gets the kept embeddings, so that no picture is encoded twice.
    fn give_back(&mut self) {
        self.to_restore = self.pictures.iter().filter(|p| matches!(p.phase, Phase::Done(_))).map(|p| p.id).collect();
    }

    fn bury(&mut self, how: &str, effects: &mut Vec<Effect>) {
        self.deaths += 1;
        self.doubtful = false;
        let lost: Vec<Outstanding> = self.outstanding.drain(..).collect();
        // a worker alone takes them in order; one with others says which picture it is at, and else was at something else
        let began = |o: &Outstanding| Some(o.job) == self.begun;
        let other = |o: &Outstanding| !matches!(o.what, Asked::Score(_));
        let culprit = match self.workers {
            0 | 1 if self.begun.is_none() => Some(0),
            _ => lost.iter().position(began).or_else(|| lost.iter().position(other)),
        };
        let at = culprit.and_then(|i| lost.get(i)).map(|o| o.what);
        let while_loading = at == Some(Asked::Load);
        let by_picture = matches!(at, Some(Asked::Score(_)));
        for (i, Outstanding { what, job }) in lost.into_iter().enumerate() {
            match what {
                Asked::Score(image) if Some(i) == culprit => {
                    self.fail(image, Stage::Worker, format!("the worker stopped on this picture ({how})"));
                }
                Asked::Score(image) => self.put_back(image),
                // an embedding that kills is not given back again; its picture is read anew
                Asked::Restore(image) if Some(i) == culprit => self.queue_again(image),
                Asked::Frame => {
                    if let Some(camera) = &mut self.camera {
                        camera.forget(job);
                    }
                }
                Asked::Load | Asked::Setup | Asked::Restore(_) | Asked::Advice(_) => {}
                Asked::Head | Asked::HeadAgain | Asked::SavedHead => {}
            }
        }
        // a model that kills the worker, perhaps for lack of memory, is not tried again by itself
        let chosen = self.model_file.take_if(|_| while_loading).or(self.model_address.take_if(|_| while_loading));
        if while_loading && (chosen.is_some() || self.wanted_model.is_some()) {
            let name = chosen.or_else(|| self.wanted_model.clone()).unwrap_or_default();
            self.wanted_model = self.fallback.as_ref().map(|f| f.model.entry.id.clone()).filter(|id| *id != name);
            self.notices.push(format!(
                "The worker stopped while it loaded {name} ({how}). Perhaps there is not enough memory for it."
            ));
        }
        self.in_force = None;
        self.fallback = None;
        (self.threads, self.workers, self.further_bytes) = (1, 1, 0);
        (self.begun, self.told_many) = (None, false);
        self.to_restore.clear();
        self.bury_learning();
        if self.deaths >= if by_picture { MAX_DEATHS_BY_PICTURES } else { MAX_DEATHS } {
            let message = format!("The worker stopped {} times in a row ({how}).", self.deaths);
            self.say(message.as_str());
            self.model = Model::Failed(message.clone());
            self.worker = Worker::Stopped(message);
        } else {
            self.say(format!("The worker stopped ({how}) and is started again."));
            self.worker = Worker::Starting;
            self.model =
                Model::Loading { job: JobId(0), received: 0, total: None, pace: Pace::default(), seconds_left: None };
            effects.push(Effect::Respawn);
        }
    }
}

/// Trimmed, without empty ones and repetitions (case apart), and not absurdly many or long.
pub(crate) fn clean_names(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    let mut clean = Vec::new();
    for name in names {
        let name = clean_text(&name);
        if !name.is_empty() && seen.insert(name.to_lowercase()) {
            clean.push(name);
        }
        if clean.len() == MAX_NAMES {
            break;
        }
    }
    clean
}

/// One line: control characters become spaces, ends are trimmed, and it is cut at [`MAX_TEXT`] characters.
pub(crate) fn clean_text(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_TEXT).collect();
    line.trim().to_owned()
}

#[cfg(test)]
mod tests;
