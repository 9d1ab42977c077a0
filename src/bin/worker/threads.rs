//! Helpers for [`crew`]: workers of this worker, each with an instance of this program over the same memory. Only the program
//! that is built for threads has any.
//!
//! The script that started this worker (www/worker-boot.js) starts them, since addresses and version marks are its business; it
//! gives us the function `startHelpers`, and the flag `helpersAsked` where the page's address names a number of threads.

#[cfg(target_feature = "atomics")]
pub use shared::{are_worth_it, gather, is_helper};

/// No threads in this program.
#[cfg(not(target_feature = "atomics"))]
pub async fn gather() {}

/// No threads in this program.
#[cfg(not(target_feature = "atomics"))]
pub fn are_worth_it(_model_bytes: u64) -> bool {
    false
}

/// No threads in this program.
#[cfg(not(target_feature = "atomics"))]
pub fn is_helper() -> bool {
    false
}

#[cfg(target_feature = "atomics")]
mod shared {
    use oddlens::kernels::crew;
    use wasm_bindgen::JsCast;
    use wasm_bindgen::prelude::*;
    use wasm_bindgen_futures::JsFuture;
    use web_sys::DedicatedWorkerGlobalScope;

    use crate::work::turn;

    /// Models of at least so many bytes gain from helpers, each of which costs some time to start and some memory.
    const LARGE_BYTES: u64 = 32_000_000;

    /// Turns of the event loop until a helper that says it is ready has lent itself: microseconds, if all is well.
    const PATIENCE: usize = 1000;

    /// Whether this instance is a helper's (www/helper.js names it so), which has no page to listen to.
    pub fn is_helper() -> bool {
        js_sys::global().unchecked_into::<DedicatedWorkerGlobalScope>().name() == "oddlens-helper"
    }

    fn global(name: &str) -> JsValue {
        js_sys::Reflect::get(&js_sys::global(), &name.into()).unwrap_or_default()
    }

    /// Whether a model that takes so many bytes should have helpers; any, where a number of threads was asked for.
    pub fn are_worth_it(model_bytes: u64) -> bool {
        model_bytes >= LARGE_BYTES || (model_bytes > 0 && global("helpersAsked").is_truthy())
    }

    /// Has the helpers started, where it was not done before, and waits for them. Without them the work is done all the same.
    pub async fn gather() {
        let Ok(start) = global("startHelpers").dyn_into::<js_sys::Function>() else { return };
        let promise = start.call2(&JsValue::NULL, &wasm_bindgen::module(), &wasm_bindgen::memory());
        let Ok(promise) = promise.and_then(JsCast::dyn_into::<js_sys::Promise>) else { return };
        let ready = JsFuture::from(promise).await.ok().and_then(|count| count.as_f64()).unwrap_or(0.0) as usize;
        for _ in 0..PATIENCE {
            if crew::hands() > ready {
                break;
            }
            turn().await;
        }
    }

    /// What a helper's script calls in the end. It does not come back: the helper ends with the worker that started it.
    #[wasm_bindgen]
    pub fn lend() {
        crew::lend()
    }
}
