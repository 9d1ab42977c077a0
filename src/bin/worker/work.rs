//! The worker's loop: requests in order of arrival, one at a time; between them, what there is to learn, in slices.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use js_sys::{ArrayBuffer, Uint8Array};
use oddlens::bench;
use oddlens::engine::Engine;
use oddlens::link::worker_side::{listen, post};
use oddlens::link::{FromWorker, Received, ToWorker};
use oddlens::protocol::{Decoder, Event, JobId, Parcel, Pixels, Request, Stage};
use oddlens::quant;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::spawn_local;
use web_sys::{AbortController, WorkerGlobalScope};

use crate::{browser_decoder, fetch};

struct Worker {
    engine: RefCell<Engine>,
    waiting: RefCell<VecDeque<Received<ToWorker>>>,
    busy: Cell<bool>,
    loading: RefCell<Option<AbortController>>,
    noise_told: Cell<bool>,
}

/// Milliseconds on the worker's clock.
fn now() -> f64 {
    js_sys::global().unchecked_into::<WorkerGlobalScope>().performance().map_or_else(js_sys::Date::now, |p| p.now())
}

/// One turn of the event loop.
async fn turn() {
    let scope = js_sys::global().unchecked_into::<WorkerGlobalScope>();
    let promise = js_sys::Promise::new(&mut |resolve, _| {
        // a worker that cannot wait goes on at once
        if scope.set_timeout_with_callback(&resolve).is_err() {
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
        let ends_loading = matches!(received.message, ToWorker::CancelLoad | ToWorker::Ask(Request::Load { .. }));
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

fn time_yourself(spec: bench::Spec) {
    let told = bench::run(spec, quant::fastest(now), now, &mut |what| post(&FromWorker::Timing(what.into()), vec![]));
    post(&told.map_or_else(FromWorker::Trouble, |report| FromWorker::Timed(Box::new(report))), vec![]);
}

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
                ToWorker::Ask(request) => self.ask(request, received.buffers).await,
                ToWorker::Frame { job } => self.frame(job, received.bitmap),
                ToWorker::Bench(spec) => time_yourself(spec),
                ToWorker::CancelLoad => {}
            }
        }
        self.busy.set(false);
    }

    async fn load(&self, job: JobId, model: Option<String>) {
        let started = now();
        let controller = AbortController::new().ok();
        self.loading.replace(controller.clone());
        let signal = controller.map(|c| c.signal());
        let fetched = fetch::model(job, model.as_deref(), signal.as_ref(), now, &mut |event| tell(event.into())).await;
        self.loading.replace(None);
        match fetched {
            Ok((entry, bytes)) => self.engine.borrow_mut().load(job, entry, bytes, started, &mut tell),
            Err(message) => tell(Event::LoadFailed { job, message }.into()),
        }
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
