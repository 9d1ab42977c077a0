//! The worker's loop: requests in order of arrival, one at a time; between them, what there is to learn, in slices. Where it has hands
//! ([`crate::hands`]), pictures are theirs, too, and what else is asked does not wait behind pictures, but for another model.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use js_sys::{ArrayBuffer, Uint8Array};
use oddlens::app_state::presets;
use oddlens::bench;
use oddlens::clip::lexicon::MERGES_KEY;
use oddlens::clip::{self, Sidecars};
use oddlens::engine::self_test::SAMPLES;
use oddlens::engine::sharing::{Answer, Ticket};
use oddlens::engine::{Engine, ModelFile};
use oddlens::kernels::{Kernels, crew};
use oddlens::link::worker_side::{listen, post};
use oddlens::link::{FromWorker, Received, ToWorker};
use oddlens::protocol::{Decoder, Event, JobId, ModelEntry, NotLoaded, Parcel, Pixels, Request, Setup, Stage};
use oddlens::score::prompts::usual_texts;
use oddlens::weights::{Checkpoint, Naming, Source, manifest};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::spawn_local;
use web_sys::{AbortController, AbortSignal, File, MessageChannel, WorkerGlobalScope};

use crate::ahead::{AsItComes, MadeAhead};
use crate::arriving::Arriving;
use crate::blob::BlobSource;
use crate::download::{self, Ended, Held};
use crate::gate::Gate;
use crate::hands::{self, Hands, Own};
use crate::lock::{self, Lock};
use crate::look::look;
use crate::own_file::{self, OwnFile, Place};
use crate::{browser_decoder, fetch, store, threads};

struct Worker {
    engine: RefCell<Engine>,
    /// Who see pictures, and the pictures that wait for that.
    hands: Rc<Hands>,
    waiting: RefCell<VecDeque<Waiting>>,
    busy: Cell<bool>,
    /// Ends the loading that was asked for last, begun or not.
    loading: RefCell<Option<AbortController>>,
    noise_told: Cell<bool>,
    /// The store was looked through for what belongs to nothing.
    swept: Cell<bool>,
    /// The model in use, where it is kept.
    kept: RefCell<Option<(ModelEntry, BlobSource)>>,
    /// The model in use, where it came before its text tower did.
    coming: RefCell<Option<Rc<Coming>>>,
    /// A model that was refused because it answers as if by chance: ours already, and in no list.
    doubtful: RefCell<Option<(ModelEntry, OwnFile)>>,
    /// The model in use was told the texts that most people ask for.
    told_texts: Cell<bool>,
}

/// A model that is used before all of its file is there.
struct Coming {
    entry: ModelEntry,
    file: Arriving,
    /// Opens when the present attempt to fetch the rest ends, well or not.
    ended: RefCell<Gate>,
    is_fetched: Cell<bool>,
}

/// A model that is being fetched.
struct Fetched {
    entry: ModelEntry,
    /// Opens when it is in use, or when all is over.
    usable: Gate,
    /// The model, once it is in use.
    coming: RefCell<Option<Rc<Coming>>>,
}

/// Texts that a model knows by heart when it was told the usual ones.
const MANY_TEXTS: usize = 1000;
/// Texts that are learned by heart between two savings.
const SAVED_AT_ONCE: u32 = 128;

/// A message, and for those that load a model: what ends that.
struct Waiting {
    received: Received<ToWorker>,
    signal: Option<AbortSignal>,
    /// Pictures with smaller tickets came before it.
    after: Ticket,
}

impl Waiting {
    fn is_frame(&self) -> bool {
        matches!(self.received.message, ToWorker::Frame { .. })
    }
}

/// Whether a message may have another model used.
fn loads(message: &ToWorker) -> bool {
    matches!(
        message,
        ToWorker::Ask(
            Request::Load { .. } | Request::LoadFile { .. } | Request::LoadAddress { .. } | Request::UseDoubtful { .. }
        )
    )
}

/// Milliseconds on the worker's clock.
pub fn now() -> f64 {
    js_sys::global().unchecked_into::<WorkerGlobalScope>().performance().map_or_else(js_sys::Date::now, |p| p.now())
}

/// The device's memory, about, where the browser tells (W3C Device Memory).
pub fn device_gib() -> Option<f64> {
    let navigator = js_sys::global().unchecked_into::<WorkerGlobalScope>().navigator();
    js_sys::Reflect::get(&navigator, &"deviceMemory".into()).ok().and_then(|gib| gib.as_f64())
}

/// Whether the device says that it has little memory.
fn is_small_device() -> bool {
    const SMALL_GIB: f64 = 2.0;

    device_gib().is_some_and(|gib| gib <= SMALL_GIB)
}

/// One turn of the event loop.
pub async fn turn() {
    pause(0).await;
}

/// Lets messages be heard that have arrived. Browsers make timers that follow each other wait for 4 ms, but not messages.
async fn breathe() {
    let Ok(channel) = MessageChannel::new() else { return turn().await };
    let promise = js_sys::Promise::new(&mut |resolve, _| channel.port1().set_onmessage(Some(&resolve)));
    if channel.port2().post_message(&wasm_bindgen::JsValue::NULL).is_ok() {
        let _ = wasm_bindgen_futures::JsFuture::from(promise).await;
    }
    channel.port1().close();
}

/// Waits while messages are heard.
pub async fn pause(millis: i32) {
    let scope = js_sys::global().unchecked_into::<WorkerGlobalScope>();
    let promise = js_sys::Promise::new(&mut |resolve, _| {
        // a worker that cannot wait goes on at once
        if scope.set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, millis).is_err() {
            let _ = resolve.call0(&wasm_bindgen::JsValue::NULL);
        }
    });
    let _ = wasm_bindgen_futures::JsFuture::from(promise).await;
}

pub fn start() {
    console_error_panic_hook::set_once();
    let worker = Rc::new_cyclic(|worker: &Weak<Worker>| {
        let worker = worker.clone();
        Worker {
            engine: RefCell::new(Engine::new(now)),
            hands: Hands::new(move || {
                if let Some(worker) = worker.upgrade() {
                    worker.answer();
                    worker.wake();
                }
            }),
            waiting: RefCell::default(),
            busy: Cell::new(false),
            loading: RefCell::new(None),
            noise_told: Cell::new(false),
            swept: Cell::new(false),
            kept: RefCell::default(),
            coming: RefCell::default(),
            doubtful: RefCell::default(),
            told_texts: Cell::new(false),
        }
    });
    let early = worker.clone();
    listen::<ToWorker, FromWorker>(move |received| {
        let loads = loads(&received.message);
        let cancels = received.message == ToWorker::CancelLoad;
        let controller = if loads { AbortController::new().ok() } else { None };
        let signal = controller.as_ref().map(AbortController::signal);
        // whoever asks for another model, or for none, does not want the present one's bytes
        if (loads || cancels)
            && let Some(present) = worker.loading.replace(controller)
        {
            present.abort();
        }
        match &received.message {
            ToWorker::CancelLoad => return,
            ToWorker::ManyWait => return worker.hands.gather(),
            ToWorker::Ask(Request::Score { job, image, pixels: Pixels::Encoded }) => {
                let file = received.buffers.first().cloned().unwrap_or_else(|| ArrayBuffer::new(0));
                worker.hands.add(*job, *image, file);
            }
            message => {
                if let ToWorker::Frame { .. } = message {
                    worker.hands.frame();
                }
                let after = worker.hands.next_ticket();
                worker.waiting.borrow_mut().push_back(Waiting { received, signal, after });
            }
        }
        worker.wake();
    });
    // before a model is asked for, most often
    spawn_local(async move {
        turn().await;
        early.engine.borrow().fastest_kernels();
    });
}

fn tell(parcel: Parcel<Event>) {
    post(&FromWorker::Event(parcel.message), parcel.attachments);
}

fn failed(job: JobId, stage: Stage, message: String) {
    tell(Event::Failed { job, image: None, stage, message }.into());
}

async fn time_yourself(spec: bench::Spec, kernels: Kernels) {
    threads::gather().await;
    let told = bench::run(spec, kernels, now, &mut |what| post(&FromWorker::Timing(what.into()), vec![]));
    post(&told.map_or_else(FromWorker::Trouble, |report| FromWorker::Timed(Box::new(report))), vec![]);
}

/// A loading that was asked for.
#[derive(Clone)]
struct Loading {
    job: JobId,
    /// The clock's time when it began.
    started: f64,
    signal: Option<AbortSignal>,
}

impl Loading {
    /// Whether it is not wanted any more.
    fn is_over(&self) -> bool {
        self.signal.as_ref().is_some_and(AbortSignal::aborted)
    }

    fn failed(&self, message: String, why: NotLoaded) {
        tell(Event::LoadFailed { job: self.job, message, why }.into());
    }
}

/// Between two looks whether another tab has finished the same download.
const OTHER_TAB_MILLIS: i32 = 500;

/// The lock of whoever fetches that model.
fn lock_of(id: &str) -> String {
    format!("oddlens-model-{id}")
}

/// The lock of a model, as soon as no other tab has it, and whether one had; `progress` hears meanwhile what has come there.
///
/// # Errors
/// The model is not wanted any more.
async fn lock_to_fetch(
    loading: &Loading,
    entry: &ModelEntry,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<(Lock, bool), (String, NotLoaded)> {
    let mut waited = false;
    loop {
        if let Some(lock) = lock::try_hold(&lock_of(&entry.id)).await {
            return Ok((lock, waited));
        }
        waited = true;
        let begun = store::begun().await.into_iter().find(|b| b.entry.id == entry.id);
        progress(begun.map_or(0, |b| b.entry.partial), (entry.bytes > 0).then_some(entry.bytes));
        pause(OTHER_TAB_MILLIS).await;
        if loading.is_over() {
            return Err(("left to another tab".into(), NotLoaded::Paused));
        }
    }
}

/// A model's file.
enum Weights {
    Here(Box<dyn Source>),
    /// In this browser's store.
    Stored(BlobSource),
}

/// The file of a model that lies beside the page, or in this browser's store.
///
/// # Errors
/// One line: what could not be had, and why.
async fn weights(
    entry: &ModelEntry,
    signal: Option<&AbortSignal>,
    progress: &mut dyn FnMut(u64),
) -> Result<Weights, String> {
    if !entry.kept {
        return Ok(Weights::Here(fetch::weights(entry, signal, now, progress).await?));
    }
    let file = store::open(entry).await?;
    progress(entry.bytes);
    Ok(Weights::Stored(file))
}

/// What came of a model's file.
enum Used {
    /// It is in use, and takes so many bytes.
    Yes(u64),
    No,
    /// It answers as if by chance.
    Doubtful,
}

/// Where a file comes from, and what is said of it.
struct Origin {
    name: String,
    /// As it was offered, for what came from afar.
    listed: Option<ModelEntry>,
    /// Names and texts of files that complete it.
    beside: Vec<(String, String)>,
    /// What was made of it while it came.
    ahead: Option<MadeAhead>,
}

fn not_kept(why: &str) {
    web_sys::console::warn_1(&format!("the model is not kept for later: {why}").into());
}

/// What completes a file of others, by name, beside it.
const CONFIGURATIONS: [&str; 2] = ["config.json", "open_clip_config.json"];

impl Worker {
    /// Sees to it that what waits is worked off.
    fn wake(self: &Rc<Self>) {
        let waits = !self.waiting.borrow().is_empty() || self.hands.has_own(None);
        if waits && !self.busy.replace(true) {
            spawn_local(self.clone().work());
        }
    }

    /// What is to be done before the next picture.
    fn next_waiting(&self) -> Option<Waiting> {
        let mut waiting = self.waiting.borrow_mut();
        if self.hands.any()
            && let Some(frame) = waiting.iter().position(Waiting::is_frame)
        {
            return waiting.remove(frame);
        }
        let first = waiting.front()?;
        let pictures_first = loads(&first.received.message) || !self.hands.any();
        if pictures_first && self.hands.has_own(Some(first.after)) { None } else { waiting.pop_front() }
    }

    /// Sees a picture itself.
    async fn see(&self, own: Own) {
        let eyes = self.engine.borrow().eyes();
        let seen = match eyes {
            Ok(eyes) => look(&*eyes, &own.file).await,
            Err(failure) => Err(failure),
        };
        self.hands.done(own.ticket, seen);
        self.answer();
    }

    /// Scores the pictures whose turn it is, and tells the page.
    fn answer(&self) {
        while let Some(Answer { job, image, seen, forgotten }) = self.hands.answer() {
            if seen.as_ref().is_ok_and(|sight| sight.info.decoder == Decoder::Browser) {
                self.look_for_noise();
            }
            self.engine.borrow_mut().judge(job, image, seen, &mut tell);
            if forgotten {
                self.engine.borrow_mut().handle(Request::Forget { images: vec![image] }.into(), &mut tell);
            }
        }
    }

    async fn work(self: Rc<Self>) {
        let mut rounds = 0u32;
        loop {
            let next = self.next_waiting();
            if next.is_none()
                && let Some(own) = self.hands.take()
            {
                self.see(own).await;
                if self.hands.any() || self.hands.has_own(None) {
                    breathe().await;
                }
                continue;
            }
            let Some(Waiting { received, signal, .. }) = next else {
                // when there is nothing else to do: a first score does not wait for it
                if !self.swept.replace(true) {
                    store::sweep().await;
                    continue;
                }
                if is_small_device() {
                    self.engine.borrow().drop_text_tower();
                } else if self.tell_usual_texts().await {
                    continue;
                }
                if !self.engine.borrow().has_work() {
                    if self.keep_texts().await {
                        continue;
                    }
                    break;
                }
                self.engine.borrow_mut().work(&mut tell);
                rounds += 1;
                if rounds.is_multiple_of(SAVED_AT_ONCE) {
                    self.keep_texts().await;
                }
                // messages arrive meanwhile
                turn().await;
                continue;
            };
            match received.message {
                ToWorker::Ask(Request::Load { job, model, from_afar }) => {
                    self.load(Loading { job, started: now(), signal }, model, from_afar).await;
                }
                ToWorker::Ask(Request::LoadFile { job, name, beside }) => {
                    let beside = beside.into_iter().zip(&received.buffers).collect();
                    self.load_file(Loading { job, started: now(), signal }, name, received.file, beside).await;
                }
                ToWorker::Ask(Request::LoadAddress { job, address }) => {
                    self.load_address(Loading { job, started: now(), signal }, address).await;
                }
                ToWorker::Ask(Request::UseDoubtful { job }) => {
                    self.use_doubtful(Loading { job, started: now(), signal }).await;
                }
                ToWorker::Ask(Request::DeleteModel { job, model }) => self.delete(job, &model).await,
                ToWorker::Ask(request) => self.ask(request, received.buffers).await,
                ToWorker::Frame { job } => self.frame(job, received.bitmap),
                ToWorker::Bench(spec) => {
                    let kernels = self.engine.borrow().fastest_kernels();
                    time_yourself(spec, kernels).await;
                }
                // heard already
                ToWorker::CancelLoad | ToWorker::ManyWait => {}
            }
        }
        self.busy.set(false);
    }

    async fn load(self: &Rc<Self>, loading: Loading, model: Option<String>, from_afar: bool) {
        let (job, signal) = (loading.job, loading.signal.as_ref());
        let entry = match fetch::entry(job, model.as_deref(), signal, &mut |event| tell(event.into())).await {
            Ok(entry) => entry,
            Err(message) => return loading.failed(message, NotLoaded::Failed),
        };
        if entry.is_download() && entry.address.is_some() && !from_afar {
            return loading.failed(String::new(), NotLoaded::NotAsked);
        }
        if entry.is_download() {
            return self.download(loading, entry).await;
        }
        let total = Some(entry.bytes);
        let mut progress = |received| tell(Event::Loading { job, received, total }.into());
        let weights = match weights(&entry, signal, &mut progress).await {
            Ok(_) if loading.is_over() => return loading.failed("cancelled".into(), NotLoaded::Failed),
            Ok(weights) => weights,
            Err(message) => return loading.failed(message, NotLoaded::Failed),
        };
        let model_bytes = match self.use_file(&loading, entry, weights, None).await {
            Used::Yes(bytes) => bytes,
            Used::No | Used::Doubtful => 0,
        };
        self.gather(job, model_bytes).await;
    }

    /// Has the engine use a model, and says so; with `samples`, only if it is one by what it says of them.
    async fn use_file(
        &self,
        loading: &Loading,
        entry: ModelEntry,
        weights: Weights,
        samples: Option<&[Vec<u8>]>,
    ) -> Used {
        // what hands would open, where there may be any
        let (shared, stored) = match &weights {
            Weights::Here(file) => (hands::file_of(file), None),
            Weights::Stored(file) => (file.file(), Some(entry.file.clone())),
        };
        let (file, kept): (Box<dyn Source>, _) = match weights {
            Weights::Here(file) => (file, None),
            Weights::Stored(file) => (Box::new(file.clone()), entry.kept.then(|| (entry.clone(), file))),
        };
        let texts = if entry.kept { store::texts(&entry).await } else { None };
        let mut used = Used::No;
        let file = ModelFile { file, texts: texts.as_deref(), samples };
        self.engine.borrow_mut().load(loading.job, entry, file, loading.started, &mut |parcel| {
            match &parcel.message {
                Event::Ready { model, .. } => used = Used::Yes(model.memory_bytes),
                Event::LoadFailed { why: NotLoaded::Doubtful, .. } => used = Used::Doubtful,
                _ => {}
            }
            tell(parcel);
        });
        if let Used::Yes(memory_bytes) = used {
            let image_tower_bytes = self.engine.borrow().image_tower_bytes();
            let model = shared.map(|file| hands::Model { file, stored, memory_bytes, image_tower_bytes });
            self.turn_to(kept, None, model);
        }
        used
    }

    /// Another model is in use: what belonged to the last one is let go, and hands open this one as `model`, where there may be any.
    fn turn_to(&self, kept: Option<(ModelEntry, BlobSource)>, coming: Option<Rc<Coming>>, model: Option<hands::Model>) {
        self.told_texts.set(false);
        *self.kept.borrow_mut() = kept;
        *self.coming.borrow_mut() = coming;
        // the page offers it no longer
        *self.doubtful.borrow_mut() = None;
        for (job, image) in self.hands.use_model(model) {
            let (image, message) = (Some(image), "another model was loaded meanwhile".into());
            tell(Event::Failed { job, image, stage: Stage::Score, message }.into());
        }
    }

    /// Once a model that is kept: has it learn the texts that most people ask for, so that it answers them without its text tower the
    /// next time. Whether there is something to learn now.
    async fn tell_usual_texts(&self) -> bool {
        if self.kept.borrow().is_none() || self.told_texts.get() || !self.engine.borrow().could_know(MANY_TEXTS) {
            return false;
        }
        self.told_texts.set(true);
        let Some(file) = self.own_model().await else { return false };
        let names = presets::names().chain(clip::names_of(file));
        self.engine.borrow_mut().know(usual_texts(names));
        self.engine.borrow().has_work()
    }

    /// Keeps what the model has newly learned by heart, beside it; whether there was anything.
    async fn keep_texts(&self) -> bool {
        let kept = self.kept.borrow().clone();
        let Some((entry, _)) = kept else { return false };
        let Some(bytes) = self.engine.borrow_mut().new_texts() else { return false };
        // another tab may be doing the same
        let _ = store::keep_texts(&entry, &bytes).await;
        true
    }

    /// Has helpers started where a model of that size gains from them, and says how many work then.
    async fn gather(&self, job: JobId, model_bytes: u64) {
        if threads::are_worth_it(model_bytes) {
            threads::gather().await;
        }
        tell(Event::Threads { job, count: crew::hands() as u32 }.into());
    }

    async fn delete(&self, job: JobId, model: &str) {
        let refused = |message: String| tell(Event::NotDeleted { job, message }.into());
        let coming = self.coming.borrow().clone();
        if let Some(coming) = coming.filter(|coming| coming.entry.id == model && coming.is_fetched.get()) {
            // else it is ended already, and the controller is another load's
            if !self.another_is_wanted()
                && let Some(controller) = &*self.loading.borrow()
            {
                controller.abort();
            }
            let ended = coming.ended.borrow().clone();
            ended.passed().await;
        }
        if let Some(_lock) = lock::try_hold(&lock_of(model)).await {
            store::give_up(model).await;
            match store::delete(model).await {
                Ok(()) => self.forget_kept(model),
                Err(why) => refused(format!("the browser refuses: {why}")),
            }
        } else {
            refused("another tab is fetching it".into());
        }
        let _ = fetch::offer(job, None, None, &mut |event| tell(event.into())).await;
    }

    /// The file of a model is gone: if that is in use, nothing is kept beside it any more, nor does a hand open it.
    fn forget_kept(&self, model: &str) {
        if self.kept.borrow_mut().take_if(|(entry, _)| entry.id == model).is_some() {
            self.hands.start_no_more();
        }
    }

    /// Whether another model waits to be loaded.
    fn another_is_wanted(&self) -> bool {
        self.waiting.borrow().iter().any(|waiting| loads(&waiting.received.message))
    }

    /// Whether a model that came before its text tower is the one in use.
    fn is_in_use(&self, coming: &Rc<Coming>) -> bool {
        self.coming.borrow().as_ref().is_some_and(|present| Rc::ptr_eq(present, coming))
    }

    /// Says how the text tower of a model comes, as long as that is in use.
    fn tell_text_tower(&self, job: JobId, coming: &Rc<Coming>, received: u64, trouble: Option<String>) {
        if self.is_in_use(coming) {
            tell(Event::TextTower { job, received, total: coming.entry.bytes, trouble }.into());
        }
    }

    /// Fetches a model, until it is in use or will not be. Where its front has come it is in use, and the rest follows while other
    /// requests are answered.
    async fn download(self: &Rc<Self>, loading: Loading, entry: ModelEntry) {
        let (job, bytes, usable) = (loading.job, entry.bytes, Gate::new());
        let fetched = Fetched { entry, usable: usable.clone(), coming: RefCell::new(None) };
        spawn_local(self.clone().fetch_whole(loading, fetched));
        usable.passed().await;
        if self.coming.borrow().as_ref().is_some_and(|coming| !coming.file.is_whole()) {
            self.gather(job, bytes).await;
        }
    }

    /// [`Worker::download`] to its end.
    async fn fetch_whole(self: Rc<Self>, loading: Loading, fetched: Fetched) {
        let (job, entry) = (loading.job, &fetched.entry);
        let ended = self.fetch_model(&loading, &fetched).await;
        let coming = fetched.coming.borrow().clone();
        match (ended, &coming) {
            (Ok(()), _) => {}
            (Err((message, _)), Some(coming)) => {
                let begun = store::begun().await.into_iter().find(|b| b.entry.id == entry.id);
                self.tell_text_tower(job, coming, begun.map_or(0, |b| b.entry.partial), Some(message));
            }
            (Err((message, why)), None) => loading.failed(message, why),
        }
        if let Some(coming) = coming {
            coming.is_fetched.set(false);
            coming.ended.borrow().open();
        }
        let _ = fetch::offer(job, Some(&entry.id), None, &mut |event| tell(event.into())).await;
        fetched.usable.open();
    }

    /// # Errors
    /// One line, and why the model is not used, or not whole.
    async fn fetch_model(self: &Rc<Self>, loading: &Loading, fetched: &Fetched) -> Result<(), (String, NotLoaded)> {
        let Fetched { entry, usable, coming } = fetched;
        let (job, signal) = (loading.job, loading.signal.as_ref());
        let mut progress = |received, total| match &*coming.borrow() {
            Some(coming) => self.tell_text_tower(job, coming, received, None),
            None => tell(Event::Loading { job, received, total }.into()),
        };
        let failed = |message| (message, NotLoaded::Failed);
        // one tab at a time, until the model is kept
        let (_lock, waited) = lock_to_fetch(loading, entry, &mut progress).await?;
        if waited && self.take_from_other_tab(loading, fetched).await.map_err(failed)? {
            return Ok(());
        }
        let is_first = coming.borrow().is_none();
        let mut at_front = |file: Arriving| {
            let used = self.use_front(loading, entry, file);
            usable.open();
            used.map(|used| *coming.borrow_mut() = used)
        };
        let at_front: Option<download::AtFront<'_>> = if is_first { Some(&mut at_front) } else { None };
        let mut ahead = AsItComes::new(store::ahead_name(entry), entry.address.clone(), signal.cloned());
        let fetched = download::file(entry, signal, now, &mut progress, at_front, &mut ahead).await;
        let here = coming.borrow().clone();
        if fetched.is_err() || here.is_some() {
            ahead.give_up().await;
        }
        let held = match fetched {
            Ok(held) => held,
            Err(Ended::Paused(message)) => return Err((message, NotLoaded::Paused)),
            Err(Ended::Failed(message)) => return Err(failed(format!("{}: {message}", entry.name))),
        };
        match here {
            Some(coming) => self.keep_whole(job, &coming, held).await.map_err(failed),
            None => self.take_download(loading, entry, held, ahead).await,
        }
    }

    /// Uses a model that another tab has fetched and kept; whether there is one.
    ///
    /// # Errors
    /// One line: its file is not there any more.
    async fn take_from_other_tab(self: &Rc<Self>, loading: &Loading, fetched: &Fetched) -> Result<bool, String> {
        let is_it = |kept: &ModelEntry| store::is_kept_of(kept, &fetched.entry);
        let Some(kept) = store::list().await.into_iter().find(is_it) else { return Ok(false) };
        let coming = fetched.coming.borrow().clone();
        match coming {
            Some(coming) => {
                let file = store::open(&kept).await?;
                self.complete(loading.job, &coming, kept, file);
            }
            None => Box::pin(self.load(loading.clone(), Some(kept.id), true)).await,
        }
        Ok(true)
    }

    /// Goes on with a file that has come as with a person's own.
    async fn take_download(
        &self,
        loading: &Loading,
        entry: &ModelEntry,
        held: Held,
        mut ahead: AsItComes,
    ) -> Result<(), (String, NotLoaded)> {
        let stopped = match &held {
            Held::Memory(_) => download::NOTHING_KEPT,
            Held::Stored(..) | Held::Picked(_) => "paused: all of it is kept",
        };
        let paused = || (stopped.to_owned(), NotLoaded::Paused);
        let beside = match self.completed(entry, loading.signal.as_ref()).await {
            Ok(beside) => beside,
            Err(message) => {
                ahead.give_up().await;
                let failed = || (format!("{}: {message}", entry.name), NotLoaded::Failed);
                return Err(if loading.is_over() { paused() } else { failed() });
            }
        };
        let ahead = ahead.made().await;
        let origin = Origin { name: entry.name.clone(), listed: Some(entry.clone()), beside, ahead };
        match self.take(loading, held, origin).await {
            Ok(()) => Ok(()),
            // all of it is there, and can be converted another time
            Err(_) if loading.is_over() => Err(paused()),
            Err(message) => {
                store::give_up(&entry.id).await;
                Err((message, NotLoaded::Failed))
            }
        }
    }

    /// Has the engine use a model of which the front has come; none where it is not wanted any more.
    ///
    /// # Errors
    /// One line: it is no model.
    fn use_front(&self, loading: &Loading, entry: &ModelEntry, file: Arriving) -> Result<Option<Rc<Coming>>, String> {
        if loading.is_over() {
            // which whoever fetches will notice, too
            return Ok(None);
        }
        let mut refused = None;
        let model = ModelFile::alone(file.clone());
        self.engine.borrow_mut().load(loading.job, entry.clone(), model, loading.started, &mut |parcel| match parcel
            .message
        {
            Event::LoadFailed { message, .. } => refused = Some(message),
            _ => tell(parcel),
        });
        if let Some(message) = refused {
            let said = format!("{}: ", entry.name);
            return Err(message.strip_prefix(&said).unwrap_or(&message).to_owned());
        }
        let coming =
            Coming { entry: entry.clone(), file, ended: RefCell::new(Gate::new()), is_fetched: Cell::new(true) };
        let coming = Some(Rc::new(coming));
        self.turn_to(None, coming.clone(), None);
        Ok(coming)
    }

    /// All of a model in use has come: it is kept for later visits.
    ///
    /// # Errors
    /// One line: what has come cannot be read.
    async fn keep_whole(&self, job: JobId, coming: &Rc<Coming>, held: Held) -> Result<(), String> {
        let (name, sha256) = match held {
            Held::Stored(name, sha256) => (name, sha256),
            Held::Memory(bytes) => {
                self.read_rest_from(job, coming, Box::new(bytes));
                return Ok(());
            }
            Held::Picked(_) => return Err("expected a file that was fetched, got one that was picked".into()),
        };
        let file = store::source(&name).await?;
        let entry = ModelEntry { file: name, sha256, kept: true, partial: 0, ..coming.entry.clone() };
        match store::keep(&entry).await {
            Ok(()) => store::give_up(&entry.id).await,
            Err(why) => not_kept(&why),
        }
        self.complete(job, coming, entry, file);
        Ok(())
    }

    /// From now on the engine reads the rest of a model from `file`.
    fn read_rest_from(&self, job: JobId, coming: &Rc<Coming>, file: Box<dyn Source>) {
        coming.file.complete(file);
        self.tell_text_tower(job, coming, coming.entry.bytes, None);
    }

    /// The same from a file of the store, which hands can open, too.
    fn complete(&self, job: JobId, coming: &Rc<Coming>, entry: ModelEntry, file: BlobSource) {
        file.rest();
        self.read_rest_from(job, coming, Box::new(file.clone()));
        if !self.is_in_use(coming) {
            return;
        }
        if let Some(blob) = file.file() {
            let image_tower_bytes = self.engine.borrow().image_tower_bytes();
            let stored = Some(entry.file.clone());
            self.hands.open_from(hands::Model { file: blob, stored, memory_bytes: entry.bytes, image_tower_bytes });
        }
        *self.kept.borrow_mut() = Some((entry, file));
    }

    /// Waits for the rest of the model in use, which is fetched again where that had ended.
    async fn wait_for_rest(self: &Rc<Self>, job: JobId) {
        let Some(coming) = self.coming.borrow().clone().filter(|coming| !coming.file.is_whole()) else { return };
        if self.another_is_wanted() {
            // whoever wants that does not want these bytes, and what ends that load is not to be replaced
            return;
        }
        if !coming.is_fetched.replace(true) {
            *coming.ended.borrow_mut() = Gate::new();
            let controller = AbortController::new().ok();
            let signal = controller.as_ref().map(AbortController::signal);
            // whoever asks for another model ends it
            *self.loading.borrow_mut() = controller;
            let loading = Loading { job, started: now(), signal };
            let (entry, usable) = (coming.entry.clone(), Gate::new());
            let fetched = Fetched { entry, usable, coming: RefCell::new(Some(coming.clone())) };
            spawn_local(self.clone().fetch_whole(loading, fetched));
        }
        let ended = coming.ended.borrow().clone();
        ended.passed().await;
    }

    /// What completes a file from afar, from beside it.
    async fn completed(
        &self,
        entry: &ModelEntry,
        signal: Option<&AbortSignal>,
    ) -> Result<Vec<(String, String)>, String> {
        let mut beside = Vec::new();
        let Some(address) = &entry.address else { return Ok(beside) };
        for name in CONFIGURATIONS {
            if let Some(text) = fetch::beside(address, name, signal).await? {
                beside.push((name.to_owned(), text));
            }
        }
        Ok(beside)
    }

    async fn load_address(self: &Rc<Self>, loading: Loading, address: String) {
        match manifest::model_address(&address) {
            Ok(address) => {
                let entry = own_file::at_address(&address);
                // it may be here already
                match store::list().await.into_iter().find(|kept| kept.id == entry.id) {
                    Some(kept) => self.load(loading, Some(kept.id), true).await,
                    None => self.download(loading, entry).await,
                }
            }
            Err(message) => loading.failed(message, NotLoaded::Failed),
        }
    }

    /// Loads a person's own file.
    async fn load_file(&self, loading: Loading, name: String, file: Option<File>, beside: Vec<(String, &ArrayBuffer)>) {
        let Some(file) = file else {
            return loading.failed(format!("{name}: the file did not arrive"), NotLoaded::Failed);
        };
        let text = |buffer| String::from_utf8_lossy(&Uint8Array::new(buffer).to_vec()).into_owned();
        let beside = beside.into_iter().map(|(name, buffer)| (name, text(buffer))).collect();
        let origin = Origin { name, listed: None, beside, ahead: None };
        if let Err(message) = self.take(&loading, Held::Picked(file), origin).await {
            loading.failed(message, NotLoaded::Failed);
        }
    }

    /// Converts a file where it is not ours, keeps it for later visits, and loads it.
    ///
    /// # Errors
    /// One line; the page has not been told yet. Nothing is kept of it then.
    async fn take(&self, loading: &Loading, held: Held, origin: Origin) -> Result<(), String> {
        let job = loading.job;
        let Origin { name, listed, beside, mut ahead } = origin;
        let prepared = async {
            let (source, downloaded): (Box<dyn Source>, _) = match held {
                Held::Memory(bytes) => (Box::new(bytes), None),
                Held::Picked(file) => (Box::new(BlobSource::new(file.into())?), None),
                Held::Stored(name, sha256) => (Box::new(store::source(&name).await?), Some(sha256)),
            };
            let total = source.size();
            let mut progress = |share: f64| {
                let received = (share * total as f64) as u64;
                tell(Event::Loading { job, received, total: Some(total) }.into());
                !loading.is_over()
            };
            progress(0.0);
            let checkpoint = Checkpoint::open(source).map_err(|e| e.to_string())?;
            let mut sidecars = Sidecars::default();
            for (name, text) in beside {
                match name.as_str() {
                    // of another model, in a folder with both
                    "config.json" if checkpoint.naming() != Naming::OpenAi => sidecars.config = Some(text),
                    "open_clip_config.json" if checkpoint.naming() == Naming::OpenAi => sidecars.config = Some(text),
                    "merges.txt" => sidecars.merges = Some(clip::tokenizer::parse_merges(&text)),
                    _ => {}
                }
            }
            if sidecars.merges.is_none() && !checkpoint.metadata.contains_key(MERGES_KEY) {
                sidecars.merges = self.merges().await;
            }
            if let (true, Some(sha256), Some(entry)) = (clip::is_own(&checkpoint), downloaded, &listed) {
                // it lies in the store as it shall stay
                let begun = store::begun().await.into_iter().find(|b| b.entry.id == entry.id);
                let name = begun.ok_or("what was fetched is not in the store any more")?.file;
                let file = store::source(&name).await?;
                return Ok(OwnFile { place: Place::Store(name, file), bytes: total, sha256 });
            }
            own_file::make(&checkpoint, &sidecars, &mut ahead, &mut progress).await
        };
        let prepared: Result<OwnFile, String> = prepared.await;
        if let Some(ahead) = ahead {
            ahead.discard().await;
        }
        let own = prepared.map_err(|why| format!("{name}: {why}"))?;
        let entry = listed.unwrap_or_else(|| own_file::unknown(&own.sha256, &name));
        let samples = samples().await;
        self.use_own(loading, entry, own, Some(&samples)).await
    }

    /// Loads the model that was refused last.
    async fn use_doubtful(&self, loading: Loading) {
        let doubtful = self.doubtful.borrow_mut().take();
        let used = match doubtful {
            Some((entry, own)) => self.use_own(&loading, entry, own, None).await,
            None => Err("the model is not here any more: load it again".into()),
        };
        if let Err(message) = used {
            loading.failed(message, NotLoaded::Failed);
        }
    }

    /// Loads a model that is ours by now, and keeps it for later visits. One that says of `samples` what chance would say is put aside instead.
    ///
    /// # Errors
    /// As [`Worker::take`].
    async fn use_own(
        &self,
        loading: &Loading,
        entry: ModelEntry,
        own: OwnFile,
        samples: Option<&[Vec<u8>]>,
    ) -> Result<(), String> {
        let job = loading.job;
        let put_aside = (entry.clone(), own.clone());
        let (file, weights, why) = match own.place {
            Place::Store(file, source) => (file, Weights::Stored(source), None),
            Place::Memory(bytes, why) => (String::new(), Weights::Here(Box::new(bytes)), Some(why)),
        };
        let entry = ModelEntry { file, bytes: own.bytes, sha256: own.sha256, kept: why.is_none(), partial: 0, ..entry };
        self.gather(job, entry.bytes).await;
        if loading.is_over() {
            // the page has turned to another model
            return Err("cancelled".into());
        }
        match self.use_file(loading, entry.clone(), weights, samples).await {
            // one of the same name that was kept before goes only now
            Used::Yes(_) => match why.map_or(Ok(()), Err).and(store::keep(&entry).await) {
                // what was converted is not needed any more
                Ok(()) => store::give_up(&entry.id).await,
                Err(why) => {
                    // a file that is in no list goes with a later sweep
                    not_kept(&why);
                    *self.kept.borrow_mut() = None;
                }
            },
            // its file stays for as long as a person may want it; the next sweep finds it in no list
            Used::Doubtful => *self.doubtful.borrow_mut() = Some(put_aside),
            Used::No => {
                // nobody can remove a file that is open
                drop(put_aside);
                store::remove(&entry.file).await;
                store::give_up(&entry.id).await;
            }
        }
        let _ = fetch::offer(job, Some(&entry.id), None, &mut |event| tell(event.into())).await;
        Ok(())
    }

    /// The tokenizer's merge rules, which files of others often lack: those of the site's own model.
    async fn merges(&self) -> Option<Vec<String>> {
        clip::merges_of(self.own_model().await?)
    }

    /// The file of the site's own model.
    async fn own_model(&self) -> Option<Box<dyn Source>> {
        let (models, default) = fetch::offer(JobId(0), None, None, &mut |_| {}).await.ok()?;
        let at_hand = || models.iter().filter(|m| !m.is_download());
        let own = at_hand().find(|m| m.id == default).or(at_hand().next())?;
        Some(match weights(own, None, &mut |_| {}).await.ok()? {
            Weights::Here(file) => file,
            Weights::Stored(file) => Box::new(file),
        })
    }

    /// Sees to it that the text tower of the model in use can be read where a setup asks for that: the engine cannot wait.
    async fn open_for_texts(self: &Rc<Self>, job: JobId, setup: &Setup) {
        if !self.engine.borrow().must_read(setup) {
            return;
        }
        self.wait_for_rest(job).await;
        let kept = self.kept.borrow().clone();
        if let Some((entry, file)) = kept
            && let Ok(access) = store::reading(&entry.file).await
        {
            file.lend(access);
        }
    }

    async fn ask(self: &Rc<Self>, request: Request, buffers: Vec<ArrayBuffer>) {
        if let Request::Setup { job, setup } = &request {
            self.open_for_texts(*job, setup).await;
        }
        if let Request::Forget { images } = &request {
            self.hands.forget(images);
        }
        let attachments = buffers.iter().map(|b| Uint8Array::new(b).to_vec()).collect();
        self.engine.borrow_mut().handle(Parcel::new(request, attachments), &mut tell);
    }

    fn frame(&self, job: JobId, bitmap: Option<web_sys::ImageBitmap>) {
        let Some(bitmap) = bitmap else {
            return failed(job, Stage::Decode, "the camera's picture did not arrive".into());
        };
        let read = browser_decoder::read(&bitmap);
        bitmap.close();
        match read {
            Ok((rgba, width, height)) => {
                self.look_for_noise();
                let pixels = Pixels::Rgba { width, height, by: Decoder::Camera };
                let frame = Parcel::new(Request::Frame { job, pixels }, vec![rgba]);
                self.engine.borrow_mut().handle(frame, &mut tell);
            }
            Err(why) => failed(job, Stage::Decode, why),
        }
    }

    /// Once: are canvas reads true in this browser?
    fn look_for_noise(&self) {
        if !self.noise_told.replace(true) && browser_decoder::canvas_is_noisy() {
            post(&FromWorker::CanvasNoise, vec![]);
        }
    }
}

/// The pictures by which a model proves that it is one; none where they cannot be had, as without a network on a first visit.
async fn samples() -> Vec<Vec<u8>> {
    let scope = js_sys::global().unchecked_into::<WorkerGlobalScope>();
    // by the same mark as the page asks for them, without what else its address may ask: so they are there without a network, too
    let search = scope.location().search();
    let version = search.trim_start_matches('?').split('&').find(|pair| pair.starts_with("v="));
    let version = version.map(|mark| format!("?{mark}")).unwrap_or_default();
    let mut samples = Vec::new();
    for (_, file) in SAMPLES {
        match fetch::small_file(&format!("samples/{file}{version}")).await {
            Ok(bytes) => samples.push(bytes),
            Err(_) => return Vec::new(),
        }
    }
    samples
}
