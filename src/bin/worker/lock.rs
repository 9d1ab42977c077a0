//! Locks between the tabs of a browser (W3C Web Locks): one tab at a time fetches a model, or changes a list of the store. Where the
//! browser gives no locks, everybody has them.

use js_sys::{Function, Object, Promise, Reflect};
use oddlens::link::lock_manager;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use crate::gate::promise;
use crate::work::pause;

/// Milliseconds between two tries.
const TRY_MILLIS: i32 = 50;

/// A lock that is ours until it is dropped, or the worker ends.
pub struct Lock(Option<Function>);

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(release) = &self.0 {
            let _ = release.call0(&JsValue::NULL);
        }
    }
}

/// The lock of that name; `None` where another tab has it.
pub async fn try_hold(name: &str) -> Option<Lock> {
    let Some(locks) = lock_manager() else { return Some(Lock(None)) };
    let (kept, release) = promise();
    let (answered, answer) = promise();
    let granted = {
        let answer = answer.clone();
        Closure::once_into_js(move |lock: JsValue| {
            let ours = !lock.is_null();
            let _ = answer.call1(&JsValue::NULL, &ours.into());
            // a lock is held as long as this promise is not kept
            if ours { JsValue::from(kept) } else { JsValue::UNDEFINED }
        })
    };
    let asked = || -> Result<(), JsValue> {
        let options = Object::new();
        Reflect::set(&options, &"ifAvailable".into(), &true.into())?;
        let request: Function = Reflect::get(&locks, &"request".into())?.dyn_into()?;
        let promise: Promise = request.call3(&locks, &name.into(), &options, &granted)?.dyn_into()?;
        let catch: Function = Reflect::get(&promise, &"catch".into())?.dyn_into()?;
        // refused for good: storage is blocked
        let refused = Closure::once_into_js(move |_why: JsValue| answer.call1(&JsValue::NULL, &JsValue::NULL));
        catch.call1(&promise, &refused).map(drop)
    };
    if asked().is_err() {
        return Some(Lock(None));
    }
    match JsFuture::from(answered).await.ok()?.as_bool() {
        Some(true) => Some(Lock(Some(release))),
        Some(false) => None,
        None => Some(Lock(None)),
    }
}

/// The lock of that name, when it is free: for what takes others a moment only.
pub async fn hold(name: &str) -> Lock {
    loop {
        if let Some(lock) = try_hold(name).await {
            return lock;
        }
        pause(TRY_MILLIS).await;
    }
}
