//! The wire between page and worker, and between that worker and further ones ("hands") that help it to see pictures: messages with
//! transferred buffers, and the certain knowledge whether the other side still lives. It does not know what requests and events mean.
//!
//! A message is a JavaScript array `[JSON text, [ArrayBuffer…], ImageBitmap or null, File or null]`; buffers and bitmap are
//! transferred, a file is named and not copied.
//! A worker holds an exclusive Web Lock (W3C Web Locks) all its life; whoever started it waits for the same lock, and so is told of
//! every kind of death, also of one that raises no event.

pub mod owner_side;
pub mod worker_side;

use js_sys::{Array, ArrayBuffer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{File, ImageBitmap};

use crate::bench;
use crate::protocol::{Event, JobId, PictureInfo, Request, Stage, Timings};

/// What the page sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToWorker {
    Ask(Request),
    /// The bitmap beside this is a camera's picture: score it.
    Frame {
        job: JobId,
    },
    /// Stop fetching the model.
    CancelLoad,
    /// Many pictures wait: further workers may be of use.
    ManyWait,
    /// Time yourself.
    Bench(bench::Spec),
}

/// What the worker sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "a message lives for one call; a box would cost each an allocation")]
pub enum FromWorker {
    /// It runs, and it holds its lock.
    Alive,
    Event(Event),
    /// The browser falsifies what is read from a canvas.
    CanvasNoise,
    /// So many workers see pictures from now on; those beside this one hold so many bytes of model together.
    Workers {
        count: u32,
        further_bytes: u64,
    },
    /// While there are others: the picture that this worker begins to see itself.
    Begun {
        job: JobId,
    },
    /// What is being timed.
    Timing(String),
    /// What came out of that.
    Timed(Box<bench::Report>),
    /// It cannot go on.
    Trouble(String),
}

/// What a worker tells its hands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToHand {
    /// The file beside this is the model to see with, of that name in the browser's store, where it lies there.
    Open { stored: Option<String> },
    /// See the picture whose file's bytes go with this.
    See { ticket: u32 },
}

/// What a hand tells its worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromHand {
    /// It runs, and it holds its lock.
    Alive,
    /// It can see, with so many bytes of model.
    Open { memory_bytes: u64 },
    /// It has seen a picture. Beside this: a small JPEG of it, and its embedding (little-endian f32).
    Seen { ticket: u32, info: PictureInfo, timings: Timings },
    /// It cannot be seen: one line.
    NotSeen { ticket: u32, stage: Stage, message: String },
    /// It cannot go on.
    Trouble(String),
}

/// What a worker says, of whatever kind, to whoever started it.
pub trait Speech: Serialize + DeserializeOwned + 'static {
    /// That it runs, and holds its lock.
    fn alive() -> Self;

    /// That it cannot go on: one line.
    fn trouble(why: String) -> Self;

    /// What this says of the worker's life.
    fn sign(self) -> Sign<Self>;
}

/// What a message says of a worker's life.
pub enum Sign<T> {
    Alive,
    Trouble(String),
    /// Nothing but that it speaks.
    Word(T),
}

macro_rules! speech {
    ($($of:ty),*) => {$(
        impl Speech for $of {
            fn alive() -> Self {
                Self::Alive
            }

            fn trouble(why: String) -> Self {
                Self::Trouble(why)
            }

            fn sign(self) -> Sign<Self> {
                match self {
                    Self::Alive => Sign::Alive,
                    Self::Trouble(why) => Sign::Trouble(why),
                    word => Sign::Word(word),
                }
            }
        }
    )*};
}

speech!(FromWorker, FromHand);

/// A message with what was transferred beside it.
pub struct Received<T> {
    pub message: T,
    pub buffers: Vec<ArrayBuffer>,
    pub bitmap: Option<ImageBitmap>,
    pub file: Option<File>,
}

/// The array that crosses, and the list of what is transferred.
fn pack<T: Serialize>(
    message: &T,
    buffers: &[ArrayBuffer],
    bitmap: Option<&ImageBitmap>,
    file: Option<&File>,
) -> Result<(Array, Array), String> {
    let text = serde_json::to_string(message).map_err(|e| format!("a message could not be written: {e}"))?;
    let list: Array = buffers.iter().collect();
    let transfer = list.slice(0, list.length());
    let bitmap = bitmap.map_or(JsValue::NULL, |b| b.into());
    if !bitmap.is_null() {
        transfer.push(&bitmap);
    }
    let file = file.map_or(JsValue::NULL, |f| f.into());
    Ok((Array::of4(&JsValue::from_str(&text), &list, &bitmap, &file), transfer))
}

/// # Errors
/// When the data is not such an array, or its text does not say a `T`; the message says what came.
fn unpack<T: DeserializeOwned>(data: &JsValue) -> Result<Received<T>, String> {
    let parts = data.dyn_ref::<Array>().ok_or("expected an array, got something else")?;
    let text = parts.get(0).as_string().ok_or("expected text in front, got something else")?;
    let message = serde_json::from_str(&text).map_err(|e| {
        let start: String = text.chars().take(80).collect();
        format!("not understood ({e}): {start}")
    })?;
    let buffers = parts.get(1).dyn_into::<Array>().map(|list| list.iter().filter_map(|b| b.dyn_into().ok()).collect());
    Ok(Received {
        message,
        buffers: buffers.unwrap_or_default(),
        bitmap: parts.get(2).dyn_into().ok(),
        file: parts.get(3).dyn_into().ok(),
    })
}

/// The message of a JavaScript error, or whatever text it has.
pub fn error_text(error: &JsValue) -> String {
    error
        .dyn_ref::<js_sys::Error>()
        .map(|e| String::from(e.message()))
        .or_else(|| error.dyn_ref::<web_sys::DomException>().map(|e| e.message()))
        .or_else(|| error.as_string())
        .unwrap_or_else(|| format!("{error:?}"))
}

/// `navigator.locks` of a window or a worker; `None` in old browsers and insecure contexts.
pub fn lock_manager() -> Option<JsValue> {
    let navigator = js_sys::Reflect::get(&js_sys::global(), &"navigator".into()).ok()?;
    let locks = js_sys::Reflect::get(&navigator, &"locks".into()).ok()?;
    locks.is_object().then_some(locks)
}

/// Calls `granted` when the lock is ours, and keeps it for good; or `refused`, where the browser gives this page no locks (its
/// storage is blocked, or it stands in a sandbox).
fn hold_lock(
    locks: &JsValue,
    name: &str,
    granted: impl FnOnce() + 'static,
    refused: impl FnOnce() + 'static,
) -> Result<(), JsValue> {
    let request: js_sys::Function = js_sys::Reflect::get(locks, &"request".into())?.dyn_into()?;
    let keep = wasm_bindgen::closure::Closure::once_into_js(move |_lock: JsValue| {
        granted();
        // a promise that is never kept keeps the lock
        js_sys::Promise::new(&mut |_, _| {})
    });
    let promise: js_sys::Promise = request.call2(locks, &name.into(), &keep)?.dyn_into()?;
    // unhandled, it would count as the worker's death
    let catch: js_sys::Function = js_sys::Reflect::get(&promise, &"catch".into())?.dyn_into()?;
    let refused = wasm_bindgen::closure::Closure::once_into_js(move |_why: JsValue| refused());
    catch.call1(&promise, &refused)?;
    Ok(())
}
