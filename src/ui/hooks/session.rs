//! [`Session`]: the page's state together with the browser objects behind it (worker, files, embeddings, thumbnails). It runs
//! the reducer, does what the reducer wants done, and asks for a repaint at most once per animation frame.

use std::cell::{Cell, Ref, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use js_sys::ArrayBuffer;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Blob, BlobPropertyBag, File, ImageBitmap, Url};
use yew::prelude::*;

use super::dom;
use crate::app_state::learning::Lesson;
use crate::app_state::picture::Phase;
use crate::app_state::{Action, Effect, State, Worker, permalink};
use crate::link::error_text;
use crate::link::owner_side::{Heard, WorkerLink};
use crate::link::{FromWorker, ToWorker};
use crate::protocol::{Event, ImageId, JobId, Kind, MAX_FILE_BYTES, MAX_HEAD_BYTES, Pixels, Request};

/// Between two looks of the watchdog.
const WATCH_MILLIS: u32 = 5_000;
/// Looks without any word from a busy worker after which it counts as hung: 60 s. Looks are counted, not time, because a
/// sleeping laptop's clock runs on.
const WATCH_LOOKS: u32 = 12;
/// Before a worker is started again, so that a broken one does not spin.
const RESPAWN_MILLIS: u32 = 250;
/// Files that are announced together when many arrive: the first shall be scored soon.
const ADDED_AT_ONCE: usize = 200;
/// From a change of the setup to the address that says it.
const ADDRESS_MILLIS: u32 = 350;
/// Largest file that may complete a model.
const MAX_BESIDE_BYTES: f64 = 16e6;

/// Where frames come from while a camera runs: called with what to do with the bitmap.
pub type FrameSource = Rc<dyn Fn(Box<dyn FnOnce(Option<ImageBitmap>)>)>;

/// A model's file, and the names and contents of files that complete it.
type PickedModel = (File, Vec<(String, ArrayBuffer)>);

/// A handle on the one session of the page; clones are the same session.
#[derive(Clone)]
pub struct Session(Rc<Inner>);

impl PartialEq for Session {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

struct Inner {
    state: RefCell<State>,
    files: RefCell<HashMap<ImageId, File>>,
    embeddings: RefCell<HashMap<ImageId, ArrayBuffer>>,
    link: RefCell<Option<WorkerLink>>,
    repaint: RefCell<Option<Rc<dyn Fn()>>>,
    repaint_asked: Cell<bool>,
    address_asked: Cell<bool>,
    silent_looks: Cell<u32>,
    frame_source: RefCell<Option<FrameSource>>,
    to_add: RefCell<VecDeque<(String, File, Option<Kind>)>>,
    /// The head file that was picked last.
    head: RefCell<Option<ArrayBuffer>>,
    /// That which was loaded last: a fresh worker needs it again.
    loaded_head: RefCell<Option<ArrayBuffer>>,
    /// The model file that was picked last, and what completes it.
    model: RefCell<Option<PickedModel>>,
    adding: Cell<bool>,
    to_read: RefCell<VecDeque<(JobId, ImageId)>>,
    reading: Cell<bool>,
    /// The fragment as we last wrote it, to tell our own changes from a person's.
    fragment: RefCell<String>,
}

/// The page's session, shown anew whenever it changed.
#[hook]
pub fn use_session() -> Session {
    let session = use_memo((), |()| Session::new());
    let update = use_force_update();
    {
        let session = session.clone();
        use_effect_with((), move |()| session.start(Rc::new(move || update.force_update())));
    }
    (*session).clone()
}

impl Session {
    fn new() -> Self {
        Self(Rc::new(Inner {
            state: RefCell::default(),
            files: RefCell::default(),
            embeddings: RefCell::default(),
            link: RefCell::new(None),
            repaint: RefCell::new(None),
            repaint_asked: Cell::new(false),
            address_asked: Cell::new(false),
            silent_looks: Cell::new(0),
            frame_source: RefCell::new(None),
            to_add: RefCell::default(),
            head: RefCell::default(),
            loaded_head: RefCell::default(),
            model: RefCell::default(),
            adding: Cell::new(false),
            to_read: RefCell::default(),
            reading: Cell::new(false),
            fragment: RefCell::default(),
        }))
    }

    /// Reads the address, starts worker and watchdog.
    fn start(&self, repaint: Rc<dyn Fn()>) {
        self.0.repaint.replace(Some(repaint));
        let fragment = dom::window().location().hash().unwrap_or_default();
        self.0.fragment.replace(fragment.trim_start_matches('#').to_owned());
        self.act(Action::OpenLink(fragment));
        self.spawn();
        self.watch();
        let session = self.clone();
        let listener = dom::listen(&dom::window(), "hashchange", move |_| {
            let fragment = dom::window().location().hash().unwrap_or_default();
            if fragment.trim_start_matches('#') != *session.0.fragment.borrow() {
                session.act(Action::OpenLink(fragment));
            }
        });
        // the page's only session lives as long as the page
        std::mem::forget(listener);
    }

    pub fn state(&self) -> Ref<'_, State> {
        self.0.state.borrow()
    }

    /// One step of the reducer, and what follows from it. What a person did shows at once; what comes in showers (the engine's
    /// words, a threshold that is dragged) shows with the next frame.
    pub fn act(&self, action: Action) {
        let can_wait = matches!(
            action,
            Action::Engine { .. }
                | Action::Workers { .. }
                | Action::WorkerBegins(_)
                | Action::FrameDue
                | Action::SetThreshold(_)
        );
        let effects = self.0.state.borrow_mut().update(action, dom::now());
        for effect in effects {
            self.perform(effect);
        }
        if can_wait {
            self.ask_repaint();
        } else {
            self.repaint();
        }
    }

    fn repaint(&self) {
        self.ask_address();
        let repaint = self.0.repaint.borrow().clone();
        if let Some(repaint) = repaint {
            repaint();
        }
    }

    fn ask_repaint(&self) {
        if !self.0.repaint_asked.replace(true) {
            let session = self.clone();
            dom::next_frame(move || {
                session.0.repaint_asked.set(false);
                session.repaint();
            });
        }
    }

    /// Adds files under these names, in this order and behind those that were given before.
    pub fn add_files(&self, files: Vec<(String, File)>) {
        self.add_labelled(files, None);
    }

    /// The same for files that somebody says are all of one kind. Little by little: a browser asks the disk for each file's size
    /// and waits for the answer.
    pub fn add_labelled(&self, files: Vec<(String, File)>, kind: Option<Kind>) {
        self.0.to_add.borrow_mut().extend(files.into_iter().map(|(name, file)| (name, file, kind)));
        if !self.0.adding.replace(true) {
            let session = self.clone();
            spawn_local(async move {
                let mut slice = dom::Slice::begin();
                loop {
                    let mut portion = Vec::new();
                    let kind = session.0.to_add.borrow().front().and_then(|(.., kind)| *kind);
                    while portion.len() < ADDED_AT_ONCE {
                        let next = session.0.to_add.borrow_mut().pop_front_if(|(.., k)| *k == kind);
                        let Some((name, file, _)) = next else { break };
                        portion.push((name, file.size() as u64, file));
                        slice.breathe().await;
                    }
                    if portion.is_empty() {
                        break;
                    }
                    session.add_portion(portion, kind);
                }
                session.0.adding.set(false);
            });
        }
    }

    fn add_portion(&self, files: Vec<(String, u64, File)>, kind: Option<Kind>) {
        let mut described = Vec::with_capacity(files.len());
        let first = self.state().next_image().0;
        for (id, (name, bytes, file)) in (first..).map(ImageId).zip(files) {
            described.push((name, bytes));
            self.0.files.borrow_mut().insert(id, file);
        }
        self.act(Action::AddPictures(described, kind));
    }

    /// Has a model file loaded; `beside` are files that may complete it.
    pub fn load_model(&self, file: File, beside: Vec<File>) {
        let session = self.clone();
        spawn_local(async move {
            let mut completing = Vec::new();
            for file in beside.into_iter().filter(|f| f.size() <= MAX_BESIDE_BYTES) {
                if let Ok(buffer) = JsFuture::from(file.array_buffer()).await {
                    completing.push((file.name(), buffer.unchecked_into()));
                }
            }
            let name = file.name();
            session.0.model.replace(Some((file, completing)));
            session.act(Action::PickModel(name));
        });
    }

    /// Reads a head file and has it used.
    pub fn load_head(&self, file: File) {
        let session = self.clone();
        spawn_local(async move {
            let name = file.name();
            let refuse = |why: String| session.act(Action::Learning(Lesson::HeadUnreadable(format!("{name}: {why}"))));
            if file.size() > MAX_HEAD_BYTES as f64 {
                return refuse(format!(
                    "expected a head file of at most {} MiB, got a larger one",
                    MAX_HEAD_BYTES >> 20
                ));
            }
            match JsFuture::from(file.array_buffer()).await {
                Ok(buffer) => {
                    session.0.head.replace(Some(buffer.unchecked_into()));
                    session.act(Action::Learning(Lesson::LoadHead(name)));
                }
                Err(e) => refuse(format!("it could not be read ({})", error_text(&e))),
            }
        });
    }

    /// Where frames come from while a camera runs: called with what to do with the bitmap.
    pub fn set_frame_source(&self, source: Option<FrameSource>) {
        self.0.frame_source.replace(source);
    }

    /// Browsers refuse an address that changes too often (Safari after 100 times in 30 s), as it would while a threshold is dragged.
    fn ask_address(&self) {
        if !self.0.address_asked.replace(true) {
            let session = self.clone();
            dom::later(ADDRESS_MILLIS, move || {
                session.0.address_asked.set(false);
                session.write_address();
            });
        }
    }

    /// Keeps the address's fragment in step with the setup, without new entries in the history.
    fn write_address(&self) {
        let fragment = permalink::encode(&self.state());
        if *self.0.fragment.borrow() == fragment {
            return;
        }
        let location = dom::window().location();
        let base = format!("{}{}", location.pathname().unwrap_or_default(), location.search().unwrap_or_default());
        let address = if fragment.is_empty() { base } else { format!("{base}#{fragment}") };
        if let Ok(history) = dom::window().history() {
            let _ = history.replace_state_with_url(&wasm_bindgen::JsValue::NULL, "", Some(&address));
        }
        self.0.fragment.replace(fragment);
    }

    fn spawn(&self) {
        let session = self.clone();
        let link = WorkerLink::start(move |heard| {
            session.0.silent_looks.set(0);
            session.hear(heard);
        });
        match link {
            Ok(link) => {
                self.0.link.replace(Some(link));
            }
            Err(why) => self.die(format!("it could not be started: {why}")),
        }
    }

    fn die(&self, why: String) {
        // the link is dropped outside its own callback, which is still running
        let link = self.0.link.borrow_mut().take();
        dom::later(0, move || drop(link));
        self.0.silent_looks.set(0);
        self.act(Action::WorkerDied(why));
    }

    fn hear(&self, heard: Heard<FromWorker>) {
        let (said, buffers) = match heard {
            Heard::Alive => return self.act(Action::WorkerAlive),
            Heard::Died(why) => return self.die(why),
            Heard::Said(said, buffers) => (said, buffers),
        };
        match said {
            FromWorker::CanvasNoise => self.act(Action::CanvasNoise),
            FromWorker::Workers { count, further_bytes } => self.act(Action::Workers { count, further_bytes }),
            FromWorker::Begun { job } => self.act(Action::WorkerBegins(job)),
            // the link keeps the first two to itself; the others are asked for by the bench alone, which has a worker of its own
            FromWorker::Alive | FromWorker::Trouble(_) | FromWorker::Timing(_) | FromWorker::Timed(_) => {}
            FromWorker::Event(event) => {
                let mut thumbnail = None;
                if let Event::Scored { image, .. } = &event {
                    thumbnail = buffers.first().and_then(object_url);
                    if let Some(embedding) = buffers.get(1) {
                        self.0.embeddings.borrow_mut().insert(*image, embedding.clone());
                    }
                }
                if let (Event::HeadSaved { file_name, .. }, Some(head)) = (&event, buffers.first()) {
                    dom::download_buffer(file_name, "application/json", head);
                }
                self.act(Action::Engine { event, thumbnail });
            }
        }
    }

    /// Looks every few seconds whether a busy worker still speaks.
    fn watch(&self) {
        let session = self.clone();
        dom::later(WATCH_MILLIS, move || {
            let busy = session.state().worker == Worker::Alive && session.state().awaits_answer();
            let looks = if busy { session.0.silent_looks.get() + 1 } else { 0 };
            session.0.silent_looks.set(looks);
            if looks >= WATCH_LOOKS {
                session.die(format!("no answer for {} s", WATCH_LOOKS * WATCH_MILLIS / 1000));
            }
            session.watch();
        });
    }

    fn send(&self, message: &ToWorker, buffers: &[ArrayBuffer], bitmap: Option<&ImageBitmap>) {
        self.send_with(message, buffers, bitmap, None);
    }

    fn send_with(
        &self,
        message: &ToWorker,
        buffers: &[ArrayBuffer],
        bitmap: Option<&ImageBitmap>,
        file: Option<&File>,
    ) {
        let sent = self.0.link.borrow().as_ref().map(|link| link.send(message, buffers, bitmap, file));
        // without a link there is nothing to do: a fresh worker gets what matters
        if let Some(Err(why)) = sent {
            let session = self.clone();
            // not from within a step of the reducer
            dom::later(0, move || session.die(format!("it could not be spoken to: {why}")));
        }
    }

    fn perform(&self, effect: Effect) {
        match effect {
            Effect::Ask(request) => self.send(&ToWorker::Ask(request), &[], None),
            Effect::CancelLoad => self.send(&ToWorker::CancelLoad, &[], None),
            Effect::TellManyWait => self.send(&ToWorker::ManyWait, &[], None),
            Effect::Respawn => {
                let session = self.clone();
                dom::later(RESPAWN_MILLIS, move || session.spawn());
            }
            Effect::Discard { images, addresses } => {
                for id in images {
                    self.0.files.borrow_mut().remove(&id);
                    self.0.embeddings.borrow_mut().remove(&id);
                }
                self.revoke(addresses);
            }
            Effect::Restore { job, image } => match self.0.embeddings.borrow().get(&image) {
                // a copy: what is transferred is gone here, and the next worker may need it again
                Some(kept) => self.send(&ToWorker::Ask(Request::Restore { job, image }), &[kept.slice(0)], None),
                None => {
                    let session = self.clone();
                    let event = Event::Failed {
                        job,
                        image: Some(image),
                        stage: crate::protocol::Stage::Score,
                        message: String::new(),
                    };
                    dom::later(0, move || session.act(Action::Engine { event, thumbnail: None }));
                }
            },
            Effect::LoadFile { job, name } => {
                let picked = self.0.model.borrow().clone();
                let (file, beside) = picked.map_or((None, vec![]), |(file, beside)| (Some(file), beside));
                let (names, buffers): (Vec<_>, Vec<_>) = beside.into_iter().map(|(n, b)| (n, b.slice(0))).unzip();
                let message = ToWorker::Ask(Request::LoadFile { job, name, beside: names });
                self.send_with(&message, &buffers, None, file.as_ref());
            }
            Effect::KeepHead => self.0.loaded_head.borrow_mut().clone_from(&self.0.head.borrow()),
            Effect::LoadHead { job, again } => {
                let head = if again { &self.0.loaded_head } else { &self.0.head };
                let head = head.borrow().as_ref().map(|head| head.slice(0));
                match head {
                    Some(head) => self.send(&ToWorker::Ask(Request::LoadHead { job }), &[head], None),
                    None => {
                        let session = self.clone();
                        let event = Event::HeadFailed { job, message: "there is no head file to load".into() };
                        dom::later(0, move || session.act(Action::Engine { event, thumbnail: None }));
                    }
                }
            }
            Effect::ScoreFile { job, image } => self.score_file(job, image),
            Effect::SendFrame { job } => self.send_frame(job),
        }
    }

    /// Gives thumbnails back to the browser, some at a time: each is a word with another process.
    fn revoke(&self, addresses: Vec<Rc<str>>) {
        spawn_local(async move {
            let mut slice = dom::Slice::begin();
            for address in addresses {
                let _ = Url::revoke_object_url(&address);
                slice.breathe().await;
            }
        });
    }

    /// Reads files one after the other, so that they leave in order of arrival.
    fn score_file(&self, job: JobId, image: ImageId) {
        self.0.to_read.borrow_mut().push_back((job, image));
        if !self.0.reading.replace(true) {
            let session = self.clone();
            spawn_local(async move {
                loop {
                    let next = session.0.to_read.borrow_mut().pop_front();
                    let Some((job, image)) = next else { break };
                    session.read_and_send(job, image).await;
                }
                session.0.reading.set(false);
            });
        }
    }

    async fn read_and_send(&self, job: JobId, image: ImageId) {
        let file = self.0.files.borrow().get(&image).cloned();
        let session = self;
        {
            let read = match file {
                Some(file) if file.size() > MAX_FILE_BYTES as f64 => {
                    Err(format!("expected a picture of at most {} MiB, got a larger file", MAX_FILE_BYTES >> 20))
                }
                Some(file) => JsFuture::from(file.array_buffer()).await.map_err(|e| error_text(&e)),
                None => Err("it is not kept any more".into()),
            };
            // the worker may have died meanwhile, and the picture got another job
            let wanted = session
                .state()
                .picture(image)
                .is_some_and(|p| matches!(p.phase, Phase::Scoring { job: j } if j == job));
            if !wanted {
                // settles the job where it still waits (the picture was forgotten meanwhile)
                return session.act(Action::Unreadable { job, image, message: "it is not wanted any more".into() });
            }
            match read {
                Ok(buffer) => {
                    let request = Request::Score { job, image, pixels: Pixels::Encoded };
                    session.send(&ToWorker::Ask(request), &[buffer.unchecked_into()], None);
                }
                Err(why) => {
                    let message = format!("the file could not be read ({why})");
                    session.act(Action::Unreadable { job, image, message });
                }
            }
        }
    }

    fn send_frame(&self, job: JobId) {
        let source = self.0.frame_source.borrow().clone();
        let session = self.clone();
        let Some(source) = source else {
            return dom::later(0, move || session.act(Action::FrameLost(job)));
        };
        source(Box::new(move |bitmap| match bitmap {
            Some(bitmap) => session.send(&ToWorker::Frame { job }, &[], Some(&bitmap)),
            None => session.act(Action::FrameLost(job)),
        }));
    }
}

/// An address for a small JPEG.
fn object_url(bytes: &ArrayBuffer) -> Option<Rc<str>> {
    let options = BlobPropertyBag::new();
    options.set_type("image/jpeg");
    let parts = js_sys::Array::of1(bytes);
    let blob = Blob::new_with_buffer_source_sequence_and_options(&parts, &options).ok()?;
    Url::create_object_url_with_blob(&blob).ok().map(Rc::from)
}
