//! The worker's loop: requests in order of arrival, one at a time; between them, what there is to learn, in slices.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use js_sys::{ArrayBuffer, Uint8Array};
use oddlens::bench;
use oddlens::clip::lexicon::MERGES_KEY;
use oddlens::clip::{self, Sidecars};
use oddlens::engine::Engine;
use oddlens::kernels::crew;
use oddlens::link::worker_side::{listen, post};
use oddlens::link::{FromWorker, Received, ToWorker};
use oddlens::protocol::{Decoder, Event, JobId, ModelEntry, Parcel, Pixels, Request, Stage};
use oddlens::quant;
use oddlens::weights::{Checkpoint, Naming, Source, manifest};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::spawn_local;
use web_sys::{AbortController, AbortSignal, File, WorkerGlobalScope};

use crate::blob::BlobSource;
use crate::download::{self, Ended, Held};
use crate::own_file::{self, OwnFile, Place};
use crate::{browser_decoder, fetch, store, threads};

struct Worker {
    engine: RefCell<Engine>,
    waiting: RefCell<VecDeque<Received<ToWorker>>>,
    busy: Cell<bool>,
    loading: RefCell<Option<AbortController>>,
    noise_told: Cell<bool>,
}

/// Milliseconds on the worker's clock.
pub fn now() -> f64 {
    js_sys::global().unchecked_into::<WorkerGlobalScope>().performance().map_or_else(js_sys::Date::now, |p| p.now())
}

/// One turn of the event loop.
pub async fn turn() {
    pause(0).await;
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
    let worker = Rc::new(Worker {
        engine: RefCell::new(Engine::new(now)),
        waiting: RefCell::default(),
        busy: Cell::new(false),
        loading: RefCell::new(None),
        noise_told: Cell::new(false),
    });
    listen(move |received| {
        // whoever asks for another model, or for none, does not want the present one's bytes
        let ends_loading = matches!(
            received.message,
            ToWorker::CancelLoad
                | ToWorker::Ask(Request::Load { .. } | Request::LoadFile { .. } | Request::LoadAddress { .. })
        );
        if ends_loading && let Some(controller) = worker.loading.borrow_mut().take() {
            controller.abort();
        }
        if received.message == ToWorker::CancelLoad {
            return;
        }
        worker.waiting.borrow_mut().push_back(received);
        if !worker.busy.replace(true) {
            spawn_local(worker.clone().work());
        }
    });
}

fn tell(parcel: Parcel<Event>) {
    post(&FromWorker::Event(parcel.message), parcel.attachments);
}

fn failed(job: JobId, stage: Stage, message: String) {
    tell(Event::Failed { job, image: None, stage, message }.into());
}

async fn time_yourself(spec: bench::Spec) {
    threads::gather().await;
    let told = bench::run(spec, quant::fastest(now), now, &mut |what| post(&FromWorker::Timing(what.into()), vec![]));
    post(&told.map_or_else(FromWorker::Trouble, |report| FromWorker::Timed(Box::new(report))), vec![]);
}

/// Where a file comes from, and what is said of it.
struct Origin {
    name: String,
    /// As it was offered, for what came from afar.
    listed: Option<ModelEntry>,
    /// Names and texts of files that complete it.
    beside: Vec<(String, String)>,
}

/// What completes a file of others, by name, beside it.
const CONFIGURATIONS: [&str; 2] = ["config.json", "open_clip_config.json"];

impl Worker {
    async fn work(self: Rc<Self>) {
        loop {
            let next = self.waiting.borrow_mut().pop_front();
            let Some(received) = next else {
                if !self.engine.borrow().has_work() {
                    break;
                }
                self.engine.borrow_mut().work(&mut tell);
                // messages arrive meanwhile
                turn().await;
                continue;
            };
            match received.message {
                ToWorker::Ask(Request::Load { job, model }) => self.load(job, model).await,
                ToWorker::Ask(Request::LoadFile { job, name, beside }) => {
                    let beside = beside.into_iter().zip(&received.buffers).collect();
                    self.load_file(job, name, received.file, beside).await;
                }
                ToWorker::Ask(Request::LoadAddress { job, address }) => self.load_address(job, address).await,
                ToWorker::Ask(Request::DeleteModel { job, model }) => {
                    store::give_up(&model).await;
                    if let Err(why) = store::delete(&model).await {
                        web_sys::console::warn_1(&format!("the model could not be deleted: {why}").into());
                    }
                    let _ = fetch::offer(job, None, None, &mut |event| tell(event.into())).await;
                }
                ToWorker::Ask(request) => self.ask(request, received.buffers).await,
                ToWorker::Frame { job } => self.frame(job, received.bitmap),
                ToWorker::Bench(spec) => time_yourself(spec).await,
                ToWorker::CancelLoad => {}
            }
        }
        self.busy.set(false);
    }

    async fn load(&self, job: JobId, model: Option<String>) {
        let started = now();
        let signal = self.begin_loading();
        let entry = fetch::entry(job, model.as_deref(), signal.as_ref(), &mut |event| tell(event.into())).await;
        let entry = match entry {
            Ok(entry) if entry.is_download() => return self.download(job, entry, started, signal).await,
            other => other,
        };
        let fetched = match entry {
            Ok(entry) => {
                let total = Some(entry.bytes);
                let mut progress = |received| tell(Event::Loading { job, received, total }.into());
                fetch::weights(&entry, signal.as_ref(), now, &mut progress).await.map(|bytes| (entry, bytes))
            }
            Err(message) => Err(message),
        };
        self.loading.replace(None);
        let mut model_bytes = 0;
        match fetched {
            Ok((entry, file)) => self.engine.borrow_mut().load(job, entry, file, started, &mut |parcel| {
                if let Event::Ready { model, .. } = &parcel.message {
                    model_bytes = model.memory_bytes;
                }
                tell(parcel);
            }),
            Err(message) => tell(Event::LoadFailed { job, message, paused: false }.into()),
        }
        self.gather(job, model_bytes).await;
    }

    /// Has helpers started where a model of that size gains from them, and says how many work then.
    async fn gather(&self, job: JobId, model_bytes: u64) {
        if threads::are_worth_it(model_bytes) {
            threads::gather().await;
        }
        tell(Event::Threads { job, count: crew::hands() as u32 }.into());
    }

    /// Whoever cancels from now on means this loading.
    fn begin_loading(&self) -> Option<AbortSignal> {
        let controller = AbortController::new().ok();
        self.loading.replace(controller.clone());
        controller.map(|c| c.signal())
    }

    /// Fetches a model from afar, and goes on as with a person's own file.
    async fn download(&self, job: JobId, entry: ModelEntry, started: f64, signal: Option<AbortSignal>) {
        let mut progress = |received, total| tell(Event::Loading { job, received, total }.into());
        let held = download::file(&entry, signal.as_ref(), now, &mut progress).await;
        let (message, paused) = match held {
            Ok(Held::Elsewhere) => return Box::pin(self.load(job, Some(entry.id))).await,
            Ok(held) => {
                let mut beside = Vec::new();
                if let Some(address) = &entry.address {
                    for name in CONFIGURATIONS {
                        if let Some(text) = fetch::beside(address, name).await {
                            beside.push((name.to_owned(), text));
                        }
                    }
                }
                let origin = Origin { name: entry.name.clone(), listed: Some(entry.clone()), beside };
                self.take(job, started, held, origin).await;
                // what was converted, or is of no use, goes; what was kept as it came is in the list of models now
                match store::list().await.iter().any(|kept| kept.file == store::partial_name(&entry)) {
                    true => drop(store::forget(&entry.id).await),
                    false => store::give_up(&entry.id).await,
                }
                let _ = fetch::offer(job, Some(&entry.id), None, &mut |event| tell(event.into())).await;
                return;
            }
            Err(Ended::Paused(message)) => (message, true),
            Err(Ended::Failed(message)) => (format!("{}: {message}", entry.name), false),
        };
        self.loading.replace(None);
        tell(Event::LoadFailed { job, message, paused }.into());
        let _ = fetch::offer(job, None, None, &mut |event| tell(event.into())).await;
    }

    async fn load_address(&self, job: JobId, address: String) {
        let started = now();
        let signal = self.begin_loading();
        match manifest::model_address(&address) {
            Ok(address) => self.download(job, own_file::at_address(&address), started, signal).await,
            Err(e) => tell(Event::LoadFailed { job, message: e.to_string(), paused: false }.into()),
        }
    }

    /// Loads a person's own file.
    async fn load_file(&self, job: JobId, name: String, file: Option<File>, beside: Vec<(String, &ArrayBuffer)>) {
        let started = now();
        self.begin_loading();
        let Some(file) = file else {
            let message = format!("{name}: the file did not arrive");
            return tell(Event::LoadFailed { job, message, paused: false }.into());
        };
        let text = |buffer| String::from_utf8_lossy(&Uint8Array::new(buffer).to_vec()).into_owned();
        let beside = beside.into_iter().map(|(name, buffer)| (name, text(buffer))).collect();
        self.take(job, started, Held::Stored(file, None), Origin { name, listed: None, beside }).await;
    }

    /// Converts a file where it is not ours, keeps it for later visits, and loads it.
    async fn take(&self, job: JobId, started: f64, held: Held, origin: Origin) {
        let controller = self.loading.borrow().clone();
        let going = || !controller.as_ref().is_some_and(|c| c.signal().aborted());
        let Origin { name, listed, beside } = origin;
        let prepared = async {
            let (source, downloaded): (Box<dyn Source>, _) = match held {
                Held::Memory(bytes) => (Box::new(bytes), None),
                Held::Stored(file, sha256) => (Box::new(BlobSource::new(file.into())?), sha256),
                Held::Elsewhere => return Err("it is loaded by another tab".into()),
            };
            let total = source.size();
            let mut progress = |share: f64| {
                let received = (share * total as f64) as u64;
                tell(Event::Loading { job, received, total: Some(total) }.into());
                going()
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
                let name = store::partial_name(entry);
                let file = BlobSource::new(store::file(&name).await?.into())?;
                return Ok(OwnFile { place: Place::Store(name, file), bytes: total, sha256 });
            }
            own_file::make(&checkpoint, &sidecars, &mut progress).await
        };
        let prepared: Result<OwnFile, String> = prepared.await;
        self.loading.replace(None);
        let own = match prepared {
            Ok(own) => own,
            Err(why) => {
                let message = format!("{name}: {why}");
                return tell(Event::LoadFailed { job, message, paused: false }.into());
            }
        };
        let (file, source, kept): (_, Box<dyn Source>, _) = match own.place {
            Place::Store(file, source) => (file, Box::new(source), Ok(())),
            Place::Memory(bytes, why) => (String::new(), Box::new(bytes), Err(why)),
        };
        let entry = listed.unwrap_or_else(|| own_file::unknown(&own.sha256, &name));
        let entry = ModelEntry { file, bytes: own.bytes, sha256: own.sha256, kept: true, partial: 0, ..entry };
        let kept = match kept {
            Ok(()) => store::keep(&entry).await,
            Err(why) => Err(why),
        };
        let entry = ModelEntry { kept: kept.is_ok(), ..entry };
        self.gather(job, entry.bytes).await;
        let mut ready = false;
        self.engine.borrow_mut().load(job, entry.clone(), source, started, &mut |parcel| {
            ready |= matches!(parcel.message, Event::Ready { .. });
            tell(parcel);
        });
        if !ready {
            let _ = store::delete(&entry.id).await;
        } else if let Err(why) = &kept {
            web_sys::console::warn_1(&format!("the model is not kept for later: {why}").into());
        }
        if kept.is_err() && !entry.file.is_empty() {
            store::remove(&entry.file).await;
        }
        let _ = fetch::offer(job, Some(&entry.id), None, &mut |event| tell(event.into())).await;
    }

    /// The tokenizer's merge rules, which files of others often lack: those of the site's own model.
    async fn merges(&self) -> Option<Vec<String>> {
        let (models, default) = fetch::offer(JobId(0), None, None, &mut |_| {}).await.ok()?;
        let at_hand = || models.iter().filter(|m| !m.is_download());
        let own = at_hand().find(|m| m.id == default).or(at_hand().next())?;
        let file = fetch::weights(own, None, now, &mut |_| {}).await.ok()?;
        clip::merges_of(file)
    }

    async fn ask(&self, request: Request, buffers: Vec<ArrayBuffer>) {
        let attachments = buffers.iter().map(|b| Uint8Array::new(b).to_vec()).collect();
        let score = match &request {
            Request::Score { job, image, pixels: Pixels::Encoded } => Some((*job, *image)),
            _ => None,
        };
        let mut refused = None;
        self.engine.borrow_mut().handle(Parcel::new(request, attachments), &mut |parcel| {
            match &parcel.message {
                Event::Failed { stage: Stage::Format, image: Some(_), .. } if score.is_some() => refused = Some(parcel),
                _ => tell(parcel),
            };
        });
        let (Some(refused), Some((job, image)), Some(file)) = (refused, score, buffers.first()) else { return };
        match browser_decoder::decode(file).await {
            Ok((rgba, width, height)) => {
                self.look_for_noise();
                let pixels = Pixels::Rgba { width, height, by: Decoder::Browser };
                let again = Parcel::new(Request::Score { job, image, pixels }, vec![rgba]);
                self.engine.borrow_mut().handle(again, &mut tell);
            }
            // what our own decoders said is the better explanation
            Err(_) => tell(refused),
        }
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
