//! Something that any number wait for, and that happens once.

use js_sys::{Function, Promise};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;

/// Closed at first; open for good after [`Gate::open`]. Clones are the same gate.
#[derive(Clone)]
pub struct Gate {
    opened: Promise,
    open: Function,
}

impl Gate {
    pub fn new() -> Self {
        let (opened, open) = promise();
        Self { opened, open }
    }

    pub fn open(&self) {
        // what fulfils a promise does not fail
        let _ = self.open.call0(&JsValue::NULL);
    }

    /// Waits until it is open.
    pub async fn passed(&self) {
        let _ = JsFuture::from(self.opened.clone()).await;
    }
}

/// A promise, and what keeps it.
pub fn promise() -> (Promise, Function) {
    let mut keep = None;
    let promise = Promise::new(&mut |resolve, _| keep = Some(resolve));
    (promise, keep.expect("a promise calls its maker at once"))
}
