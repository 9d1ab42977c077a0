//! [`WorkerLink`]: one worker, from its start to its end, as the page sees it.

use std::cell::Cell;
use std::rc::Rc;

use js_sys::ArrayBuffer;
use wasm_bindgen::prelude::*;
use web_sys::{ErrorEvent, File, ImageBitmap, MessageEvent, Worker, WorkerOptions, WorkerType};

use super::{FromWorker, ToWorker, error_text, hold_lock, lock_manager, pack, unpack};
use crate::protocol::Event;

/// What comes from a worker.
#[allow(clippy::large_enum_variant, reason = "a message lives for one call; a box would cost each an allocation")]
pub enum Heard {
    Alive,
    Event(Event, Vec<ArrayBuffer>),
    CanvasNoise,
    /// It is dead, and why. Nothing comes after this.
    Died(String),
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
    /// Starts the module worker at `address`.
    ///
    /// # Errors
    /// When the browser refuses (no module workers, content policy).
    pub fn spawn(address: &str, hear: impl Fn(Heard) + 'static) -> Result<Self, String> {
        let name = format!("oddlens-{}-{}", js_sys::Date::now(), js_sys::Math::random());
        let options = WorkerOptions::new();
        options.set_type(WorkerType::Module);
        options.set_name(&name);
        let worker = Worker::new_with_options(address, &options).map_err(|e| error_text(&e))?;
        let open = Rc::new(Cell::new(true));
        let hear: Rc<dyn Fn(Heard)> = Rc::new(hear);

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
                match unpack::<FromWorker>(&event.data()) {
                    Ok(received) => match received.message {
                        FromWorker::Alive => {
                            watch_lock(&name, die.clone());
                            hear(Heard::Alive);
                        }
                        FromWorker::Event(event) => hear(Heard::Event(event, received.buffers)),
                        FromWorker::CanvasNoise => hear(Heard::CanvasNoise),
                        FromWorker::Trouble(why) => die(why),
                        // asked for by the bench alone, which has a worker of its own
                        FromWorker::Timing(_) | FromWorker::Timed(_) => {}
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
                let why = js_sys::Reflect::get(&event, &"message".into()).ok().and_then(|m| m.as_string());
                die(why.filter(|w| !w.is_empty()).unwrap_or_else(|| "its program could not be loaded".into()));
            })
        };
        let message_error =
            Closure::<dyn FnMut(MessageEvent)>::new(move |_| die("its message could not be read".into()));
        worker.set_onmessage(Some(message.as_ref().unchecked_ref()));
        worker.set_onerror(Some(error.as_ref().unchecked_ref()));
        worker.set_onmessageerror(Some(message_error.as_ref().unchecked_ref()));
        Ok(Self { worker, open, _message: message, _error: error, _message_error: message_error })
    }

    /// Sends a message; `buffers` and `bitmap` are the worker's from then on, `file` it reads by itself.
    ///
    /// # Errors
    /// When the browser refuses, for example for a buffer that was transferred before.
    pub fn send(
        &self,
        message: &ToWorker,
        buffers: &[ArrayBuffer],
        bitmap: Option<&ImageBitmap>,
        file: Option<&File>,
    ) -> Result<(), String> {
        let (data, transfer) = pack(message, buffers, bitmap, file)?;
        self.worker.post_message_with_transfer(&data, &transfer).map_err(|e| error_text(&e))
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
