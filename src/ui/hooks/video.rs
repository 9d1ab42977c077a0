//! The camera as a stream of bitmaps. Every way in which it can be refused has its own sentence.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use js_sys::Reflect;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{
    Blob, CanvasRenderingContext2d, DomException, File, FilePropertyBag, HtmlCanvasElement, HtmlVideoElement,
    MediaStream, MediaStreamConstraints, MediaStreamTrack,
};

use super::dom;
use super::session::{FrameSource, Session};
use crate::app_state::Action;

/// Which way the camera looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facing {
    Front,
    Back,
}

/// A running camera; dropping it turns the camera off.
pub struct Video {
    session: Session,
    stream: Rc<RefCell<Option<MediaStream>>>,
    running: Rc<Cell<bool>>,
}

impl Video {
    /// Asks for the camera, shows it in `element`, and tells the session of every new picture.
    pub fn start(session: &Session, element: HtmlVideoElement, facing: Facing) -> Self {
        let running = Rc::new(Cell::new(true));
        let stream = Rc::new(RefCell::new(None));
        let video = Self { session: session.clone(), stream: stream.clone(), running: running.clone() };
        let session = session.clone();
        spawn_local(async move {
            match open(&element, facing).await {
                Ok(opened) if running.get() => {
                    watch_end(&session, &opened, &running);
                    stream.replace(Some(opened));
                    session.set_frame_source(Some(frame_source(element.clone())));
                    session.act(Action::CameraLive);
                    every_frame(session, element, running);
                }
                // the person was quicker and has turned it off again
                Ok(opened) => stop(&opened),
                Err(error) if running.get() => session.act(Action::CameraFailed(explain(&error))),
                Err(_) => {}
            }
        });
        video
    }
}

impl Drop for Video {
    fn drop(&mut self) {
        self.running.set(false);
        self.session.set_frame_source(None);
        if let Some(stream) = self.stream.borrow_mut().take() {
            stop(&stream);
        }
    }
}

fn stop(stream: &MediaStream) {
    for track in stream.get_tracks().iter() {
        track.unchecked_into::<MediaStreamTrack>().stop();
    }
}

async fn open(element: &HtmlVideoElement, facing: Facing) -> Result<MediaStream, JsValue> {
    let devices = dom::window().navigator().media_devices()?;
    if devices.is_undefined() {
        return Err(JsValue::from_str("insecure"));
    }
    let video = js_sys::Object::new();
    let mode = if facing == Facing::Front { "user" } else { "environment" };
    Reflect::set(&video, &"facingMode".into(), &mode.into())?;
    let wide = js_sys::Object::new();
    Reflect::set(&wide, &"ideal".into(), &640.into())?;
    Reflect::set(&video, &"width".into(), &wide)?;
    let constraints = MediaStreamConstraints::new();
    constraints.set_video(&video);
    let stream: MediaStream =
        JsFuture::from(devices.get_user_media_with_constraints(&constraints)?).await?.unchecked_into();
    element.set_src_object(Some(&stream));
    element.set_muted(true);
    JsFuture::from(element.play()?).await.inspect_err(|_| stop(&stream))?;
    Ok(stream)
}

/// One sentence for each kind of refusal (names: W3C Media Capture and Streams, getUserMedia).
fn explain(error: &JsValue) -> String {
    let name = error.dyn_ref::<DomException>().map(DomException::name).unwrap_or_default();
    match name.as_str() {
        "NotAllowedError" | "SecurityError" => {
            "The camera was refused. Allow it for this page in the browser's settings, then try again.".into()
        }
        "NotFoundError" | "OverconstrainedError" => "No camera was found on this device.".into(),
        "NotReadableError" | "AbortError" => {
            "The camera is busy: another program or tab uses it. Close that, then try again.".into()
        }
        _ if dom::window().is_secure_context() => {
            format!("The camera could not be started ({}).", crate::link::error_text(error))
        }
        _ => "Browsers give the camera only to pages served over https or from this machine.".into(),
    }
}

/// A camera that is unplugged ends its track.
fn watch_end(session: &Session, stream: &MediaStream, running: &Rc<Cell<bool>>) {
    for track in stream.get_tracks().iter() {
        let (session, running) = (session.clone(), running.clone());
        let ended = Closure::once_into_js(move || {
            if running.get() {
                session.act(Action::CameraFailed("The camera was disconnected.".into()));
            }
        });
        track.unchecked_into::<MediaStreamTrack>().set_onended(Some(ended.unchecked_ref()));
    }
}

/// Tells of each new picture, as long as it runs; by the video's own clock where there is one.
fn every_frame(session: Session, element: HtmlVideoElement, running: Rc<Cell<bool>>) {
    if !running.get() {
        return;
    }
    let wanted = session.state().camera.as_ref().is_some_and(|c| c.wants_frame());
    if wanted && element.video_width() > 0 {
        session.act(Action::FrameDue);
    }
    let (again, video) = (
        Closure::once_into_js({
            let element = element.clone();
            move || every_frame(session, element, running)
        }),
        element,
    );
    let own_clock = Reflect::get(&video, &"requestVideoFrameCallback".into()).ok();
    match own_clock.and_then(|f| f.dyn_into::<js_sys::Function>().ok()) {
        Some(request) => {
            let _ = request.call1(&video, &again);
        }
        None => {
            let _ = dom::window().request_animation_frame(again.unchecked_ref());
        }
    }
}

fn frame_source(element: HtmlVideoElement) -> FrameSource {
    Rc::new(move |done| {
        let promise = dom::window().create_image_bitmap_with_html_video_element(&element);
        spawn_local(async move {
            let bitmap = match promise {
                Ok(promise) => JsFuture::from(promise).await.ok().map(JsCast::unchecked_into),
                Err(_) => None,
            };
            done(bitmap);
        });
    })
}

/// Adds what the camera shows now as a picture: a PNG, so nothing is lost.
pub fn keep(session: &Session, element: &HtmlVideoElement) {
    let kept = || -> Result<(), JsValue> {
        let canvas: HtmlCanvasElement = dom::document().create_element("canvas")?.unchecked_into();
        canvas.set_width(element.video_width());
        canvas.set_height(element.video_height());
        let context = canvas.get_context("2d")?.ok_or("no canvas")?.unchecked_into::<CanvasRenderingContext2d>();
        context.draw_image_with_html_video_element(element, 0.0, 0.0)?;
        let session = session.clone();
        let done = Closure::once_into_js(move |blob: Option<Blob>| {
            let Some(blob) = blob else {
                return session.act(Action::Notice("The frame could not be kept.".into()));
            };
            let time = js_sys::Date::new_0();
            let name =
                format!("camera {:02}-{:02}-{:02}.png", time.get_hours(), time.get_minutes(), time.get_seconds());
            let options = FilePropertyBag::new();
            options.set_type("image/png");
            let parts = js_sys::Array::of1(&blob);
            if let Ok(file) = File::new_with_blob_sequence_and_options(&parts, &name, &options) {
                session.add_files(vec![(name, file)]);
            }
        });
        canvas.to_blob(done.unchecked_ref())
    };
    if let Err(e) = kept() {
        session.act(Action::Notice(format!("The frame could not be kept ({}).", crate::link::error_text(&e))));
    }
}
