//! The worker's end of the wire.

use js_sys::{ArrayBuffer, Uint8Array};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::*;
use web_sys::{DedicatedWorkerGlobalScope, MessageEvent};

use super::{Received, Speech, hold_lock, lock_manager, pack, unpack};

fn scope() -> DedicatedWorkerGlobalScope {
    js_sys::global().unchecked_into()
}

/// Listens for good to messages `M`, takes the lock that whoever started this worker watches, and then says, as `T`, that it is alive.
pub fn listen<M: DeserializeOwned, T: Speech>(mut hear: impl FnMut(Received<M>) + 'static) {
    let listener = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| match unpack(&event.data()) {
        Ok(received) => hear(received),
        Err(why) => post(&T::trouble(format!("the message that it got was {why}")), vec![]),
    });
    scope().set_onmessage(Some(listener.as_ref().unchecked_ref()));
    listener.forget();
    let alive = || post(&T::alive(), vec![]);
    match lock_manager() {
        Some(locks) => {
            // without a lock errors and the page's watchdog remain
            if hold_lock(&locks, &scope().name(), alive, alive).is_err() {
                alive();
            }
        }
        None => alive(),
    }
}

/// Sends a message; the buffers are copied out of wasm's memory once and then transferred.
pub fn post<T: Serialize>(message: &T, buffers: Vec<Vec<u8>>) {
    let buffers: Vec<ArrayBuffer> = buffers.iter().map(|b| Uint8Array::from(&b[..]).buffer()).collect();
    let sent = pack(message, &buffers, None, None)
        .map(|(data, transfer)| scope().post_message_with_transfer(&data, &transfer));
    if !matches!(sent, Ok(Ok(()))) {
        // whoever started this worker hears of it as an error event, and replaces it
        wasm_bindgen::throw_str("the worker could not send a message");
    }
}
