//! The manifest, the weights beside it and the page's other files, from where the page came from, with progress; and what is offered, with
//! what this browser's store keeps. It does not know what weights are.

use std::cell::Cell;
use std::rc::Rc;

use gloo::events::EventListener;
use gloo::timers::callback::Timeout;
use js_sys::{Map, Promise, Reflect, Uint8Array};
use oddlens::link::error_text;
use oddlens::protocol::{Event, JobId, ModelEntry};
use oddlens::weights::{Source, manifest};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortController, AbortSignal, Headers, ReadableStreamDefaultReader, RequestCache, RequestInit, Response,
    WorkerGlobalScope,
};

use crate::store;

/// Milliseconds between two words on progress.
pub const PROGRESS_MILLIS: f64 = 40.0;

/// Silence after which a connection counts as broken.
const STALL_MILLIS: u32 = 20_000;
/// The same where nothing depends on the answer.
const SHORT_STALL_MILLIS: u32 = 5_000;
/// Configurations and pointers are a few kilobytes.
const MAX_TEXT_BYTES: u64 = 1 << 20;

fn scope() -> WorkerGlobalScope {
    js_sys::global().unchecked_into()
}

/// What is offered: the manifest's models, then those kept in this browser's store; and the manifest's default.
///
/// # Errors
/// One line: what could not be had, and why; not where a kept model is wanted, which needs no manifest.
pub async fn offer(
    job: JobId,
    wanted: Option<&str>,
    signal: Option<&AbortSignal>,
    tell: &mut dyn FnMut(Event),
) -> Result<(Vec<ModelEntry>, String), String> {
    let (kept, begun) = (store::list().await, store::begun().await);
    let (mut models, default) = match manifest(signal).await {
        Ok(manifest) => (manifest.models, manifest.default),
        Err(_) if kept.iter().any(|m| Some(m.id.as_str()) == wanted) => (vec![], String::new()),
        Err(e) => return Err(e),
    };
    for model in models.iter_mut().filter(|m| m.is_download()) {
        if let Some(kept) = kept.iter().find(|kept| store::is_kept_of(kept, model)) {
            *model = kept.clone();
        } else if let Some(begun) = begun.iter().find(|b| b.entry.id == model.id) {
            model.partial = begun.entry.partial;
        }
    }
    for own in kept.into_iter().chain(begun.into_iter().map(|b| b.entry)) {
        if models.iter().all(|m| m.id != own.id) {
            models.push(own);
        }
    }
    tell(Event::Manifest { job, models: models.clone() });
    Ok((models, default))
}

async fn manifest(signal: Option<&AbortSignal>) -> Result<manifest::Manifest, String> {
    let response = get("weights/manifest.json", signal).await?;
    let text = response.text().map_err(|e| error_text(&e))?;
    let text = JsFuture::from(text).await.map_err(|e| error_text(&e))?.as_string().unwrap_or_default();
    manifest::parse(&text).map_err(|e| format!("weights/manifest.json: {e}"))
}

/// The model that is meant (`None`: the default), and all of them to the page.
///
/// # Errors
/// One line: there is none of that name.
pub async fn entry(
    job: JobId,
    model: Option<&str>,
    signal: Option<&AbortSignal>,
    tell: &mut dyn FnMut(Event),
) -> Result<ModelEntry, String> {
    let (models, default) = offer(job, model, signal, tell).await?;
    let wanted = model.unwrap_or(&default);
    models.iter().find(|m| m.id == wanted).cloned().ok_or_else(|| {
        let known: Vec<_> = models.iter().map(|m| m.id.as_str()).collect();
        format!("there is no model “{wanted}” here, only {}", known.join(", "))
    })
}

/// What ends a request: a person's wish, or silence.
pub struct Watch {
    controller: AbortController,
    /// The longest silence.
    millis: u32,
    stalled: Rc<Cell<bool>>,
    timer: Option<Timeout>,
    _wish: Option<EventListener>,
}

impl Watch {
    /// # Errors
    /// When the browser cannot end requests.
    pub fn begin(wish: Option<&AbortSignal>) -> Result<Self, String> {
        Self::with(wish, STALL_MILLIS)
    }

    fn with(wish: Option<&AbortSignal>, millis: u32) -> Result<Self, String> {
        let controller = AbortController::new().map_err(|e| error_text(&e))?;
        let _wish = wish.map(|wish| {
            let controller = controller.clone();
            EventListener::once(wish, "abort", move |_| controller.abort())
        });
        let mut watch = Self { controller, millis, stalled: Rc::default(), timer: None, _wish };
        watch.heard();
        Ok(watch)
    }

    /// For the request.
    pub fn signal(&self) -> AbortSignal {
        self.controller.signal()
    }

    /// Something came: silence begins anew.
    pub fn heard(&mut self) {
        let (controller, stalled) = (self.controller.clone(), self.stalled.clone());
        self.timer = Some(Timeout::new(self.millis, move || {
            stalled.set(true);
            controller.abort();
        }));
    }

    /// Ends the request.
    pub fn end(&self) {
        self.controller.abort();
    }

    /// Why a request failed: silence, or the browser's `error`.
    pub fn why(&self, error: &wasm_bindgen::JsValue) -> String {
        if self.stalled.get() {
            format!("nothing came for {} s", self.millis / 1000)
        } else {
            format!("the connection broke ({})", error_text(error))
        }
    }
}

/// What lies beside a file at an address: its configuration, where there is one.
///
/// # Errors
/// One line: nobody can tell whether there is one, or it is too long.
pub async fn beside(address: &str, name: &str, signal: Option<&AbortSignal>) -> Result<Option<String>, String> {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    text(&format!("{folder}/{name}"), signal).await
}

/// A small text; `None` where the host has none of that name.
///
/// # Errors
/// One line.
pub async fn text(address: &str, signal: Option<&AbortSignal>) -> Result<Option<String>, String> {
    let watch = Watch::begin(signal)?;
    let wrong = |e: wasm_bindgen::JsValue| format!("{address}: {}", watch.why(&e));
    let init = RequestInit::new();
    init.set_signal(Some(&watch.signal()));
    let response = JsFuture::from(scope().fetch_with_str_and_init(address, &init)).await.map_err(wrong)?;
    let response: Response = response.unchecked_into();
    match response.status() {
        200 => {}
        404 | 410 => return Ok(None),
        status => return Err(format!("{address}: the server answered {status}")),
    }
    let length = response.headers().get("content-length").ok().flatten().and_then(|n| n.parse::<u64>().ok());
    if length.is_some_and(|n| n > MAX_TEXT_BYTES) {
        return Err(format!("{address}: expected at most {MAX_TEXT_BYTES} bytes, the server has more"));
    }
    let text = JsFuture::from(response.text().map_err(wrong)?).await.map_err(wrong)?;
    Ok(text.as_string())
}

/// The last bytes of a file of `size` bytes, from byte `start` on.
///
/// # Errors
/// One line: the host gives no parts of files, or others, or is silent for some seconds.
pub async fn end(address: &str, start: u64, size: u64, signal: Option<&AbortSignal>) -> Result<Vec<u8>, String> {
    let watch = Watch::with(signal, SHORT_STALL_MILLIS)?;
    let wrong = |e: wasm_bindgen::JsValue| format!("{address}: {}", watch.why(&e));
    let init = RequestInit::new();
    init.set_signal(Some(&watch.signal()));
    init.set_cache(RequestCache::NoStore);
    let headers = Headers::new().map_err(wrong)?;
    headers.set("range", &format!("bytes={start}-")).map_err(wrong)?;
    init.set_headers(&headers);
    let response = JsFuture::from(scope().fetch_with_str_and_init(address, &init)).await.map_err(wrong)?;
    let response: Response = response.unchecked_into();
    let says = response.headers().get("content-length").ok().flatten().and_then(|n| n.parse().ok());
    if response.status() != 206 || says.is_some_and(|n: u64| n != size - start) {
        // all of it comes instead, perhaps
        watch.end();
        return Err(format!("{address}: expected a part of the file, the server answered {}", response.status()));
    }
    let buffer = JsFuture::from(response.array_buffer().map_err(wrong)?).await.map_err(wrong)?;
    let bytes = Uint8Array::new(&buffer);
    if u64::from(bytes.length()) == size - start {
        Ok(bytes.to_vec())
    } else {
        Err(format!("{address}: expected {} bytes, got {}", size - start, bytes.length()))
    }
}

/// A file of the page's own.
///
/// # Errors
/// One line: what could not be had, and why.
pub async fn small_file(path: &str) -> Result<Vec<u8>, String> {
    let response = get(path, None).await?;
    let buffer = JsFuture::from(response.array_buffer().map_err(|e| error_text(&e))?).await;
    Ok(Uint8Array::new(&buffer.map_err(|e| error_text(&e))?).to_vec())
}

/// The file of a model that lies whole beside the manifest. One that is in this browser's store is had from there ([`store::open`]).
///
/// # Errors
/// One line: what could not be had, and why.
pub async fn weights(
    entry: &ModelEntry,
    signal: Option<&AbortSignal>,
    now: fn() -> f64,
    progress: &mut dyn FnMut(u64),
) -> Result<Box<dyn Source>, String> {
    // the hash in the address makes a changed file another resource, so that no cache mixes old and new
    let version = entry.sha256.get(..16).unwrap_or_default();
    let path = format!("weights/{}", entry.file);
    let response = get(&format!("{path}?v={version}"), signal).await?;
    let bytes = body(&response, entry.bytes, now, progress).await.map_err(|why| format!("{path}: {why}"))?;
    Ok(Box::new(bytes))
}

async fn get(path: &str, signal: Option<&AbortSignal>) -> Result<Response, String> {
    let explain = |e| {
        let cancelled = signal.is_some_and(AbortSignal::aborted);
        if cancelled { "cancelled".to_owned() } else { format!("{path} could not be fetched ({})", error_text(&e)) }
    };
    let response = match early(path, signal).await {
        Some(response) => response,
        None => {
            let init = RequestInit::new();
            init.set_signal(signal);
            // relative to the worker's own address, so that any sub-path works
            let response = JsFuture::from(scope().fetch_with_str_and_init(path, &init)).await.map_err(explain)?;
            response.unchecked_into()
        }
    };
    if response.ok() { Ok(response) } else { Err(format!("{path}: the server answered {}", response.status())) }
}

/// What the script that started this worker has asked for already (www/worker-boot.js): once, and where it came well.
async fn early(path: &str, signal: Option<&AbortSignal>) -> Option<Response> {
    if signal.is_some_and(AbortSignal::aborted) {
        return None;
    }
    let map: Map = Reflect::get(&js_sys::global(), &"fetchedEarly".into()).ok()?.dyn_into().ok()?;
    let request = map.get(&path.into());
    map.delete(&path.into());
    let field = |name: &str| Reflect::get(&request, &name.into()).ok();
    let controller: AbortController = field("controller")?.dyn_into().ok()?;
    if let Some(signal) = signal {
        EventListener::once(signal, "abort", move |_| controller.abort()).forget();
    }
    let response = JsFuture::from(field("response")?.dyn_into::<Promise>().ok()?).await;
    response.ok().map(JsCast::unchecked_into::<Response>).filter(Response::ok)
}

/// Reads exactly `expected` bytes.
async fn body(
    response: &Response,
    expected: u64,
    now: fn() -> f64,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<u8>, String> {
    let stream = response.body().ok_or("the answer is empty")?;
    let reader: ReadableStreamDefaultReader = stream.get_reader().unchecked_into();
    let mut bytes = Vec::new();
    let size =
        usize::try_from(expected).map_err(|_| format!("{expected} bytes are more than this browser can hold"))?;
    bytes.try_reserve_exact(size).map_err(|_| format!("{expected} bytes do not fit into memory"))?;
    let mut told = now();
    progress(0);
    loop {
        let step = JsFuture::from(reader.read()).await.map_err(|e| match e.dyn_ref::<web_sys::DomException>() {
            Some(e) if e.name() == "AbortError" => "cancelled".to_owned(),
            _ => format!("the connection broke after {} of {expected} bytes ({})", bytes.len(), error_text(&e)),
        })?;
        if Reflect::get(&step, &"done".into()).is_ok_and(|done| done.is_truthy()) {
            break;
        }
        let chunk: Uint8Array = Reflect::get(&step, &"value".into()).map_err(|e| error_text(&e))?.unchecked_into();
        let start = bytes.len();
        let end = start + chunk.length() as usize;
        if end > size {
            return Err(format!("expected {expected} bytes, got more"));
        }
        bytes.resize(end, 0);
        chunk.copy_to(&mut bytes[start..]);
        if now() - told > PROGRESS_MILLIS {
            told = now();
            progress(end as u64);
        }
    }
    progress(bytes.len() as u64);
    if bytes.len() == size { Ok(bytes) } else { Err(format!("expected {expected} bytes, got {}", bytes.len())) }
}
