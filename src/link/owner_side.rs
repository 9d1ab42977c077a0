//! [`WorkerLink`]: one worker, from its start to its end, as whoever started it sees it: the page, or a worker that has hands.

use std::cell::Cell;
use std::rc::Rc;

use js_sys::{Array, ArrayBuffer, Function, Reflect};
use serde::Serialize;
use wasm_bindgen::prelude::*;
use web_sys::{ErrorEvent, File, ImageBitmap, MessageEvent, Worker};

use super::{Sign, Speech, error_text, hold_lock, lock_manager, pack, unpack};

/// What comes from a worker that says `T`.
#[allow(clippy::large_enum_variant, reason = "a message lives for one call; a box would cost each an allocation")]
pub enum Heard<T> {
    Alive,
    /// What it said, and the buffers that came with it.
    Said(T, Vec<ArrayBuffer>),
    /// It is dead, and why. Nothing comes after this.
    Died(String),
}

/// A name that no other worker has, and its lock neither.
pub fn new_name(kind: &str) -> String {
    format!("{kind}-{}-{}", js_sys::Date::now(), js_sys::Math::random())
}

/// A running worker. Dropping this ends it, and nothing is heard of it any more.
pub struct WorkerLink {
    worker: Worker,
    open: Rc<Cell<bool>>,
    _message: Closure<dyn FnMut(MessageEvent)>,
    _error: Closure<dyn FnMut(ErrorEvent)>,
    _message_error: Closure<dyn FnMut(MessageEvent)>,
}

impl WorkerLink {
    /// Has a worker started by the page's script (www/boot.js), which gives us the function `startWorker` for that, or takes the one that it
    /// has started already.
    ///
    /// # Errors
    /// When the browser refuses (no module workers, content policy).
    pub fn start<T: Speech>(hear: impl Fn(Heard<T>) + 'static) -> Result<Self, String> {
        let field = |object: &JsValue, name: &str| Reflect::get(object, &name.into()).unwrap_or_default();
        let start = field(&js_sys::global(), "startWorker").dyn_into::<Function>();
        let start = start.map_err(|_| "the page's script starts none")?;
        let started = start.call0(&JsValue::NULL).map_err(|e| error_text(&e))?;
        let worker: Worker = field(&started, "worker").unchecked_into();
        let link = Self::over(worker.clone(), field(&started, "name").as_string().unwrap_or_default(), hear);
        let heard: Array = field(&started, "heard").unchecked_into();
        // what was heard before is heard again, when the caller has the link and before anything else is
        wasm_bindgen_futures::spawn_local(async move {
            for event in heard.iter() {
                let _ = worker.dispatch_event(event.unchecked_ref());
            }
        });
        Ok(link)
    }

    /// A worker that was started just now under that name ([`new_name`]).
    pub fn over<T: Speech>(worker: Worker, name: String, hear: impl Fn(Heard<T>) + 'static) -> Self {
        let open = Rc::new(Cell::new(true));
        let hear: Rc<dyn Fn(Heard<T>)> = Rc::new(hear);

        // one death is told once, and a closed link tells nothing
        let die: Rc<dyn Fn(String)> = {
            let (open, hear) = (open.clone(), hear.clone());
            Rc::new(move |why| {
                if open.replace(false) {
                    hear(Heard::Died(why));
                }
            })
        };
        let message = {
            let (open, hear, die) = (open.clone(), hear.clone(), die.clone());
            Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
                if !open.get() {
                    return;
                }
                match unpack::<T>(&event.data()) {
                    Ok(received) => match received.message.sign() {
                        Sign::Alive => {
                            watch_lock(&name, die.clone());
                            hear(Heard::Alive);
                        }
                        Sign::Trouble(why) => die(why),
                        Sign::Word(word) => hear(Heard::Said(word, received.buffers)),
                    },
                    Err(why) => die(format!("its message was {why}")),
                }
            })
        };
        let error = {
            let die = die.clone();
            Closure::<dyn FnMut(ErrorEvent)>::new(move |event: ErrorEvent| {
                event.prevent_default();
                // a script that cannot be fetched raises a plain event without a message
                let why = Reflect::get(&event, &"message".into()).ok().and_then(|m| m.as_string());
                die(why.filter(|w| !w.is_empty()).unwrap_or_else(|| "its program could not be loaded".into()));
            })
        };
        let message_error =
            Closure::<dyn FnMut(MessageEvent)>::new(move |_| die("its message could not be read".into()));
        worker.set_onmessage(Some(message.as_ref().unchecked_ref()));
        worker.set_onerror(Some(error.as_ref().unchecked_ref()));
        worker.set_onmessageerror(Some(message_error.as_ref().unchecked_ref()));
        Self { worker, open, _message: message, _error: error, _message_error: message_error }
    }

    /// Sends a message; `buffers` and `bitmap` are the worker's from then on, `file` it reads by itself.
    ///
    /// # Errors
    /// When the browser refuses, for example for a buffer that was transferred before.
    pub fn send<M: Serialize>(
        &self,
        message: &M,
        buffers: &[ArrayBuffer],
        bitmap: Option<&ImageBitmap>,
        file: Option<&File>,
    ) -> Result<(), String> {
        let (data, transfer) = pack(message, buffers, bitmap, file)?;
        self.worker.post_message_with_transfer(&data, &transfer).map_err(|e| error_text(&e))
    }

    /// Sends a message with a copy of `buffer`, which stays whole here.
    ///
    /// # Errors
    /// When the browser refuses, for example for want of memory.
    pub fn send_copy<M: Serialize>(&self, message: &M, buffer: &ArrayBuffer) -> Result<(), String> {
        let (data, _) = pack(message, std::slice::from_ref(buffer), None, None)?;
        self.worker.post_message_with_transfer(&data, &Array::new()).map_err(|e| error_text(&e))
    }
}

impl Drop for WorkerLink {
    fn drop(&mut self) {
        self.open.set(false);
        self.worker.set_onmessage(None);
        self.worker.set_onerror(None);
        self.worker.set_onmessageerror(None);
        self.worker.terminate();
    }
}

/// The worker holds the lock while it lives: being granted it means that the worker is dead.
fn watch_lock(name: &str, die: Rc<dyn Fn(String)>) {
    if let Some(locks) = lock_manager() {
        // where the lock cannot be asked for, errors and the watchdog remain
        let _ = hold_lock(&locks, name, move || die("it ended without a word".into()), || {});
    }
}
