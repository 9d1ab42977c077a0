//! The live card: what the camera sees, its score, a short history, and the ways to hold a moment.

use std::rc::Rc;

use web_sys::HtmlVideoElement;
use yew::prelude::*;

use super::card::meter;
use super::header::{last_action, session_action};
use super::shared::{millis, verdict};
use crate::app_state::Action;
use crate::app_state::camera::{Camera, CameraPhase, HISTORY};
use crate::app_state::export;
use crate::app_state::presets::readable;
use crate::ui::hooks::dom;
use crate::ui::hooks::session::Session;
use crate::ui::hooks::video::{self, Facing, Video};

#[derive(Properties, PartialEq)]
pub struct CameraCardProps {
    pub session: Session,
    pub camera: Camera,
    pub threshold: f32,
    pub canvas_noise: bool,
}

#[component]
pub fn CameraCard(props: &CameraCardProps) -> Html {
    let element = use_node_ref();
    let facing = use_state(|| Facing::Back);
    let attempt = use_state(|| 0_u32);
    {
        let (session, element) = (props.session.clone(), element.clone());
        use_effect_with((*facing, *attempt), move |(facing, _)| {
            let video: Option<Rc<Video>> =
                element.cast::<HtmlVideoElement>().map(|e| Rc::new(Video::start(&session, e, *facing)));
            // a camera nobody looks at is off
            let hidden = dom::listen(&dom::document(), "visibilitychange", move |_| {
                let is_on = |c: &Camera| !matches!(c.phase, CameraPhase::Failed(_));
                let was_on = session.state().camera.as_ref().is_some_and(is_on);
                if was_on && dom::document().hidden() {
                    session.act(Action::StopCamera);
                    session.act(Action::Notice("The camera was turned off while the page was out of sight.".into()));
                }
            });
            move || drop((video, hidden))
        });
    }
    let camera = &props.camera;
    let frozen = camera.phase == CameraPhase::Frozen;
    {
        let element = element.clone();
        use_effect_with(frozen, move |frozen| {
            if let Some(video) = element.cast::<HtmlVideoElement>() {
                if *frozen {
                    let _ = video.pause();
                } else if video.src_object().is_some() {
                    let _ = video.play();
                }
            }
        });
    }
    let keep = {
        let (session, element) = (props.session.clone(), element.clone());
        Callback::from(move |_: MouseEvent| {
            if let Some(e) = element.cast::<HtmlVideoElement>() {
                video::keep(&session, &e);
            }
        })
    };
    let flip = {
        let facing = facing.clone();
        Callback::from(move |_: MouseEvent| {
            facing.set(if *facing == Facing::Front { Facing::Back } else { Facing::Front });
        })
    };
    let retry = {
        let (session, attempt) = (props.session.clone(), attempt.clone());
        Callback::from(move |_: MouseEvent| {
            session.act(Action::StartCamera);
            attempt.set(*attempt + 1);
        })
    };
    // the toolbar's button, which starts it again
    let stop = last_action(&props.session, "stop-camera", || Action::StopCamera);
    let value = camera.latest.as_ref().map(|l| l.0.value);
    let odd = value.map(|v| v > props.threshold);
    let phase = match camera.phase {
        CameraPhase::Starting => "starting",
        CameraPhase::Live => "live",
        CameraPhase::Frozen => "frozen",
        CameraPhase::Failed(_) => "failed",
    };
    let class = match odd {
        Some(true) => "is-odd",
        Some(false) => "is-normal",
        None => "wait",
    };
    if let CameraPhase::Failed(why) = &camera.phase {
        return html! {
            <section class="live fail" aria-label="Camera" data-testid="camera-score" data-state="failed">
                <div class="foot">
                    <b>{"No camera"}</b>
                    <p role="alert">{why.clone()}</p>
                    <span class="steps">
                        <button type="button" onclick={retry}>{"Try again"}</button>
                        <button type="button" class="quiet" onclick={stop}>{"Close"}</button>
                    </span>
                </div>
                // the element stays, so that a new try has where to show
                <video ref={element} class="none" muted={true} playsinline={true} />
            </section>
        };
    }
    let tag = match &camera.phase {
        CameraPhase::Starting => "waiting for the camera…".to_owned(),
        CameraPhase::Frozen => "❚❚ frozen".to_owned(),
        _ => {
            let fps = camera.fps.map(|f| format!(", {f:.0} fps")).unwrap_or_default();
            let latency = camera.latency_millis.map(|l| format!(", {}", millis(l))).unwrap_or_default();
            format!("● live{fps}{latency}")
        }
    };
    html! {
        <section class={classes!("live", class)} aria-label="Camera" data-testid="camera-score" data-state={phase}
            data-score={value.map(|v| v.to_string())} data-verdict={odd.map(export::verdict)}>
            <video ref={element} class={classes!((*facing == Facing::Front).then_some("mirrored"))} muted={true}
                playsinline={true} aria-label="What the camera sees" />
            <span class="tag">{tag}</span>
            <div class="foot">
                <div class="row">
                    <span class="score">{value.map_or("–".to_owned(), |v| format!("{v:.2}"))}</span>
                    if let Some(odd) = odd { <span class="verdict">{verdict(odd)}</span> }
                </div>
                <div class="near">
                    if let Some(trouble) = &camera.trouble { {trouble.clone()} }
                    else if let Some(latest) = &camera.latest {
                        {"nearest: "}{latest.1.get(latest.0.nearest).map(|e| readable(&e.label)).unwrap_or_default()}
                    } else { {"no score yet"} }
                </div>
                {meter(value.unwrap_or(0.0), Some(props.threshold))}
                if props.canvas_noise {
                    <p class="note">{"This browser falsifies pixels read from a canvas; live scores are slightly wrong here."}</p>
                }
                <div class="controls">
                    <History values={camera.history.clone()} threshold={props.threshold} />
                    <span class="steps">
                        <button type="button" data-testid="camera-keep" onclick={keep}>{"Keep this frame"}</button>
                        <button type="button" data-testid="camera-freeze" aria-pressed={frozen.to_string()}
                            onclick={session_action(&props.session, move || Action::FreezeCamera(!frozen))}>
                            {if frozen { "Go on" } else { "Freeze" }}
                        </button>
                        <button type="button" class="quiet" onclick={flip} aria-label="Other camera">{"⇄"}</button>
                        <button type="button" class="quiet" onclick={stop} aria-label="Stop the camera">{"×"}</button>
                    </span>
                </div>
            </div>
        </section>
    }
}

#[derive(Properties, PartialEq)]
struct HistoryProps {
    values: Vec<f32>,
    threshold: f32,
}

/// The last scores as a line; the dashes are the threshold.
#[component]
fn History(props: &HistoryProps) -> Html {
    let y = |v: f32| 28.0 - v * 26.0;
    let step = 200.0 / (HISTORY - 1) as f32;
    let start = HISTORY - props.values.len();
    let points: Vec<String> = props
        .values
        .iter()
        .enumerate()
        .map(|(i, v)| format!("{:.1},{:.1}", (start + i) as f32 * step, y(*v)))
        .collect();
    let cut = y(props.threshold).to_string();
    html! {
        <svg class="history" viewBox="0 0 200 30" preserveAspectRatio="none" aria-hidden="true">
            <line class="cut" x1="0" x2="200" y1={cut.clone()} y2={cut} />
            <polyline points={points.join(" ")} />
        </svg>
    }
}
