//! Small doors to the browser: clock, timers, focus, address, downloads.

use std::cell::RefCell;
use std::rc::Rc;

use gloo::events::{EventListener, EventListenerOptions};
use gloo::timers::callback::Timeout;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Blob, BlobPropertyBag, Document, EventTarget, HtmlAnchorElement, HtmlElement, Url, Window};

/// # Panics
/// Never in a page: only workers have no window.
pub fn window() -> Window {
    web_sys::window().expect("the page's code runs in a window")
}

pub fn document() -> Document {
    window().document().expect("a window has a document")
}

/// Milliseconds on the page's clock.
pub fn now() -> f64 {
    window().performance().map_or_else(js_sys::Date::now, |p| p.now())
}

/// Calls `then` before the next picture is painted; in a hidden tab, where none is painted, soon all the same.
pub fn next_frame(then: impl FnOnce() + 'static) {
    type Once = Rc<RefCell<Option<Box<dyn FnOnce()>>>>;
    let then: Once = Rc::new(RefCell::new(Some(Box::new(then))));
    let once = move |then: Once| {
        Closure::once_into_js(move || {
            let then = then.borrow_mut().take();
            if let Some(then) = then {
                then();
            }
        })
    };
    let (frame, timeout) = (once(then.clone()), then);
    let _ = window().request_animation_frame(frame.unchecked_ref());
    later(200, move || {
        let then = timeout.borrow_mut().take();
        if let Some(then) = then {
            then();
        }
    });
}

/// Calls `then` after some milliseconds.
pub fn later(millis: u32, then: impl FnOnce() + 'static) {
    Timeout::new(millis, then).forget();
}

/// Gives the focus to what tests and scripts know by `hook`.
pub fn focus(hook: &str) {
    let found = document().query_selector(&format!("[data-testid={hook}]")).ok().flatten();
    if let Some(element) = found.and_then(|e| e.dyn_into::<HtmlElement>().ok()) {
        let _ = element.focus();
    }
}

/// Hears an event until the listener is dropped; `heard` may prevent the browser's own way.
pub fn listen(
    target: &EventTarget,
    event: &'static str,
    mut heard: impl FnMut(web_sys::Event) + 'static,
) -> EventListener {
    let options = EventListenerOptions::enable_prevent_default();
    EventListener::new_with_options(target, event, options, move |e| heard(e.clone()))
}

/// Work of this many milliseconds is felt as instant; longer work pauses between slices of it, so that the page can draw and
/// hear in between.
const SLICE_MILLIS: f64 = 8.0;

/// Time for a slice of long work.
pub struct Slice(f64);

impl Slice {
    pub fn begin() -> Self {
        Self(now())
    }

    /// Goes on at once while the slice lasts; else lets the page breathe, and begins the next.
    pub async fn breathe(&mut self) {
        if now() - self.0 > SLICE_MILLIS {
            let pause = js_sys::Promise::new(&mut |done, _| {
                later(0, move || {
                    let _ = done.call0(&JsValue::NULL);
                });
            });
            let _ = JsFuture::from(pause).await;
            self.0 = now();
        }
    }
}

/// Offers a text, made of `parts`, as a file to save.
pub fn download(name: &'static str, mime: &'static str, parts: impl Iterator<Item = String> + 'static) {
    spawn_local(async move {
        let text = js_sys::Array::new();
        let mut slice = Slice::begin();
        for part in parts {
            text.push(&part.into());
            slice.breathe().await;
        }
        if let Err(e) = offer(name, mime, &text) {
            web_sys::console::warn_2(&"the file could not be offered".into(), &e);
        }
    });
}

/// Offers bytes as a file to save.
pub fn download_buffer(name: &str, mime: &str, bytes: &js_sys::ArrayBuffer) {
    if let Err(e) = offer(name, mime, &js_sys::Array::of1(&js_sys::Uint8Array::new(bytes))) {
        web_sys::console::warn_2(&"the file could not be offered".into(), &e);
    }
}

fn offer(name: &str, mime: &str, text: &js_sys::Array) -> Result<(), JsValue> {
    let options = BlobPropertyBag::new();
    options.set_type(mime);
    let blob = Blob::new_with_str_sequence_and_options(text, &options)?;
    let address = Url::create_object_url_with_blob(&blob)?;
    let anchor: HtmlAnchorElement = document().create_element("a")?.unchecked_into();
    anchor.set_href(&address);
    anchor.set_download(name);
    anchor.click();
    later(10_000, move || {
        let _ = Url::revoke_object_url(&address);
    });
    Ok(())
}

/// The version mark (`?v=…`) of the page's own script: whatever belongs to it is asked for with the same mark.
pub fn version() -> String {
    let script = document().query_selector("script[src^=\"boot.js\"]").ok().flatten();
    let address = script.and_then(|s| s.get_attribute("src")).unwrap_or_default();
    address.find('?').map(|i| address[i..].to_owned()).unwrap_or_default()
}

/// The device's memory, about, as far as the browser says so (W3C Device Memory: rounded, and never more than some GB).
pub fn device_memory_bytes() -> Option<u64> {
    let gib = js_sys::Reflect::get(&window().navigator(), &"deviceMemory".into()).ok()?.as_f64()?;
    Some((gib * f64::from(1 << 30)) as u64)
}
