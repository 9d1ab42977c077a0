//! The page put together: header, setup, pictures, decision; plus drop and paste, which work anywhere.

use std::rc::Rc;

use wasm_bindgen::JsCast;
use web_sys::{ClipboardEvent, DragEvent};
use yew::prelude::*;

use super::components::advice::AdvicePanel;
use super::components::camera::CameraCard;
use super::components::comparison::Comparison;
use super::components::decision::{BINS, Decision};
use super::components::details::Details;
use super::components::empty::Empty;
use super::components::experiments::{CurvePanel, SearchPanel};
use super::components::grid::{DRAGGED, Grid};
use super::components::header::{Header, ModelPanel, last_action, session_action};
use super::components::methods::Methods;
use super::components::presets::Presets;
use super::components::prompts::Prompts;
use super::components::setup_bar::{SetupBar, same_model};
use super::components::shared::Same;
use super::components::shelves::{Shelves, shelf_kind};
use super::components::toolbar::Toolbar;
use super::components::tour::Tour;
use super::hooks::samples::{self, use_samples};
use super::hooks::session::{Session, use_session};
use super::hooks::{dom, intake};
use crate::app_state::learning::Lesson;
use crate::app_state::view::Filter;
use crate::app_state::{Action, Model, State};
use crate::protocol::{ImageId, Setup};

/// Notices that are shown at a time.
const NOTICES: usize = 3;

/// The one panel that is unfolded below the setup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawer {
    Model,
    Presets,
    Prompts,
}

#[component]
pub fn App() -> Html {
    let session = use_session();
    let samples = use_samples();
    let drawer = use_state(|| None::<Drawer>);
    // the picture in the dialog, and which opening this is: the word that a dialog was closed comes late, and another may be
    // open by then
    let opened = use_state(|| None::<(ImageId, u32)>);
    let touring = use_state(|| false);
    let tour = {
        let touring = touring.setter();
        move |on: bool| {
            let touring = touring.clone();
            Callback::from(move |()| touring.set(on))
        }
    };
    let dropping = use_drop(&session);
    use_keys(&session, drawer.setter());
    use_question(&session);

    let on_drawer = {
        let drawer = drawer.clone();
        Callback::from(move |wanted: Drawer| drawer.set((*drawer != Some(wanted)).then_some(wanted)))
    };
    let openings = use_mut_ref(|| 0_u32);
    let on_open = {
        let (opened, openings) = (opened.setter(), openings.clone());
        use_callback((), move |id: ImageId, ()| {
            let mut opening = openings.borrow_mut();
            *opening += 1;
            opened.set(Some((id, *opening)));
        })
    };
    let on_close = {
        let (opened, openings) = (opened.setter(), openings.clone());
        use_callback((), move |closed: u32, ()| {
            if closed == *openings.borrow() {
                opened.set(None);
            }
        })
    };
    let on_step = {
        let (session, opened) = (session.clone(), opened.clone());
        Callback::from(move |forward: bool| {
            let visible: Vec<ImageId> =
                session.state().visible().iter().filter(|p| p.outcome().is_some()).map(|p| p.id).collect();
            let Some((now, opening)) = *opened else { return };
            let at = visible.iter().position(|v| *v == now);
            let next = at
                .and_then(|i| if forward { visible.get(i + 1) } else { i.checked_sub(1).and_then(|i| visible.get(i)) });
            if let Some(next) = next {
                opened.set(Some((*next, opening)));
            }
        })
    };
    let on_all_samples = {
        let (session, samples) = (session.clone(), samples.clone());
        Callback::from(move |()| add_samples(&session, &samples, (*samples).clone()))
    };
    let on_sample = {
        let (session, samples) = (session.clone(), samples.clone());
        Callback::from(move |sample: samples::Sample| add_samples(&session, &samples, vec![sample]))
    };

    let state = session.state();
    let threshold = state.threshold_in_use();
    let counts = state.counts();
    let model = same_model(state.ready());
    let default = state.ready().map(|_| state.default_threshold());
    let usable = state.ready().map(|m| m.methods.iter().filter(|m| state.can_use(m)).map(|m| m.id.clone()).collect());
    let details = (*opened)
        .and_then(|(id, opening)| Some((state.picture(id)?.clone(), opening)))
        .filter(|(p, _)| !p.removed && p.outcome().is_some());
    let idle = counts.all == 0 && state.camera.is_none();
    let visible = state.visible();
    let nothing = (counts.all > 0 && visible.is_empty()).then(|| match state.filter {
        Filter::Odd => format!("No picture is odd: no score is above {threshold}."),
        Filter::Normal => format!("No picture is normal: no score is {threshold} or less."),
        Filter::Failed | Filter::All => "No picture has failed.".to_owned(),
    });
    let trouble = match &state.model {
        Model::Failed(message) if *drawer != Some(Drawer::Model) => Some(message.clone()),
        _ => None,
    };
    html! {
        <>
            <Header model={state.model.clone()} worker={state.worker.clone()} panel_open={*drawer == Some(Drawer::Model)}
                on_panel={on_drawer.reform(|()| Drawer::Model)} />
            if !state.notices.is_empty() { {notices(&session, &state.notices)} }
            if *drawer == Some(Drawer::Model) {
                <ModelPanel session={session.clone()} model={state.model.clone()} worker={state.worker.clone()}
                    offered={state.offered.to_vec()} doubtful={state.doubtful} is_download={state.is_downloading()} text_tower={state.text_tower.clone()}
                    threads={state.threads} workers={state.workers} further_bytes={state.further_bytes} canvas_noise={state.canvas_noise} />
            }
            if let Some(message) = trouble {
                <div class="banner" role="alert">
                    <span>{format!("The model is not loaded: {message}")}</span>
                    <button type="button" class="primary" onclick={on_drawer.reform(|_: MouseEvent| Drawer::Model)}>{"What now?"}</button>
                </div>
            }
            if let Model::Loading { received, total: Some(total), .. } = &state.model {
                <progress class="loading" max={total.to_string()} value={received.to_string()} aria-label="Loading the model" />
            }
            <SetupBar session={session.clone()} setup={state.setup.clone()} method={state.method_in_use()} usable={usable.unwrap_or_else(Vec::new)} notes={Same(state.notes.clone())}
                error={state.setup_error.clone()} model={model.clone()} drawer={*drawer} {on_drawer} />
            if *drawer == Some(Drawer::Presets) { <Presets session={session.clone()} /> }
            if *drawer == Some(Drawer::Prompts) {
                <Prompts session={session.clone()} setup={state.setup.clone()} model={model.clone()}
                    entries={state.in_force.as_ref().map(|f| Same(f.entries.clone()))} />
            }
            if *touring {
                <Tour session={session.clone()} samples={(*samples).clone()} on_samples={on_all_samples.clone()} on_close={tour(false)} />
            }
            <main>
                <section aria-label="Pictures" class="pictures">
                    <Toolbar session={session.clone()} {counts} batch={state.batch} sort={state.sort} filter={state.filter}
                        camera_on={state.camera.is_some()} has_samples={!samples.is_empty()} on_samples={on_all_samples.clone()}
                        undoable={state.undoable()} lab_open={state.lab.open} />
                    if let Some(camera) = &state.camera {
                        <CameraCard session={session.clone()} camera={camera.clone()} {threshold} canvas_noise={state.canvas_noise} />
                    }
                    if idle {
                        <Empty samples={(*samples).clone()} {on_sample} on_all={on_all_samples} on_tour={tour(true)} />
                    } else {
                        if let Some(nothing) = nothing {
                            <p class="nothing">{nothing}{" "}
                                <button type="button" class="small" onclick={session_action(&session, || Action::SetFilter(Filter::All))}>
                                    {format!("Show all {}", counts.all)}
                                </button>
                            </p>
                        }
                        <Grid session={session.clone()} pictures={Same(Rc::new(visible))} {threshold} on_open={on_open.clone()} />
                    }
                </section>
                <aside>
                    <Decision session={session.clone()} histogram={state.histogram(BINS)} {counts} {threshold}
                        chosen={state.chosen_threshold().is_some()} {default} />
                    if state.lab.open { {lab(&session, &state, threshold, &on_open, tour(true))} }
                </aside>
            </main>
            <p class="visually-hidden" role="status" aria-live="polite" data-testid="status">{&*state.status}</p>
            if *dropping { <div class="dropping" aria-hidden="true"><p>{"Drop to score"}</p></div> }
            if let Some((picture, opening)) = details {
                <Details key={opening} {opening} session={session.clone()} picture={Same(picture)} {threshold} canvas_noise={state.canvas_noise} {on_close} {on_step} />
            }
        </>
    }
}

/// The last notices, newest first.
fn notices(session: &Session, all: &[String]) -> Html {
    let earlier = all.len().saturating_sub(NOTICES);
    html! {
        <div class="notices" role="status" data-testid="notice">
            <div>
                {for all.iter().rev().take(NOTICES).map(|n| html! { <p>{n.clone()}</p> })}
                if earlier > 0 { <p class="near">{format!("and {earlier} earlier")}</p> }
            </div>
            <button type="button" class="quiet" aria-label="Dismiss"
                onclick={last_action(session, "model-status", || Action::DismissNotices)}>{"×"}</button>
        </div>
    }
}

/// The panels on labels and learning.
fn lab(session: &Session, state: &State, threshold: f32, on_open: &Callback<ImageId>, on_tour: Callback<()>) -> Html {
    let counts = state.label_counts();
    let (normal, outliers) =
        (counts.normal_examples + counts.normal_judged, counts.outlier_examples + counts.outlier_judged);
    let one_kind = match (normal, outliers) {
        (0, 0) => Some("Label pictures of both kinds: then the ROC curve stands here."),
        (0, _) => Some("No curve: only outliers are labelled. A normal picture or more is needed, too."),
        (_, 0) => Some("No curve: only normal pictures are labelled. An outlier or more is needed, too."),
        _ => None,
    };
    let Some(model) = state.ready() else { return html! {} };
    let lab = &state.lab;
    let method = state.method_info().map(|m| m.name.clone()).unwrap_or_default();
    let report = lab.report(&state.method_in_use()).cloned();
    let ranked = lab.search.iter().flat_map(|s| &s.ranking);
    let ranked = ranked.filter_map(|(id, auroc)| Some((Same(state.picture(*id)?.clone()), *auroc))).collect::<Vec<_>>();
    html! {
        <div class="lab" id="lab" data-testid="lab-panels" data-settled={lab.is_settled().to_string()}>
            <Shelves session={session.clone()} {counts} {on_tour} />
            <Comparison {method} {report} confusion={state.confusion()} {threshold} {one_kind} />
            <Methods session={session.clone()} rows={state.method_rows()} running={lab.running.clone()} missing={state.lesson_missing()}
                trouble={lab.trouble.clone()} loaded={lab.loaded.clone()} />
            <AdvicePanel session={session.clone()} {normal} advised={lab.advice.clone()} />
            <CurvePanel session={session.clone()} methods={model.methods.clone()} {counts} points={Same(lab.curve.clone())} running={lab.running.clone()} />
            <SearchPanel session={session.clone()} methods={model.methods.clone()} {counts} search={lab.search.clone().map(Same)}
                pictures={ranked} running={lab.running.clone()} on_open={on_open.clone()} />
        </div>
    }
}

/// Fetches samples and adds those that are not there yet. On a page that was not set up yet, what most samples show becomes
/// normal, so that the first result means something.
fn add_samples(session: &Session, all: &[samples::Sample], wanted: Vec<samples::Sample>) {
    let untouched = session.state().setup.normal == Setup::default().normal && session.state().counts().all == 0;
    if untouched && let Some(label) = most_frequent(all) {
        session.act(Action::SetNormal(vec![label]));
    }
    let session = session.clone();
    wasm_bindgen_futures::spawn_local(async move {
        let is_there = |name: &str| session.state().pictures.iter().any(|p| !p.removed && *p.name == *name);
        let mut files = Vec::with_capacity(wanted.len());
        for sample in wanted.iter().filter(|s| !is_there(&s.file)) {
            match samples::load(sample).await {
                Some(file) => files.push(file),
                None => session.act(Action::Notice(format!("The sample {} could not be fetched.", sample.file))),
            }
        }
        // the button may have been pressed again meanwhile
        files.retain(|(name, _)| !is_there(name));
        session.add_files(files);
    });
}

fn most_frequent(samples: &[samples::Sample]) -> Option<String> {
    let times = |label: &str| samples.iter().filter(|s| s.label == label).count();
    // of equals the first
    samples.iter().rev().max_by_key(|s| times(&s.label)).map(|s| s.label.clone())
}

/// Escape folds the panel, Ctrl+Z (or its like) takes a removal back, both only where no field wants the key itself.
#[hook]
fn use_keys(session: &Session, drawer: UseStateSetter<Option<Drawer>>) {
    let session = session.clone();
    use_effect_with((), move |()| {
        let listener = dom::listen(&dom::window(), "keydown", move |e| {
            let e: KeyboardEvent = e.unchecked_into();
            let field = e
                .target()
                .and_then(|t| t.dyn_into::<web_sys::Element>().ok())
                .and_then(|t| t.closest("input, textarea, select, dialog").ok().flatten())
                // an empty field has nothing of its own to take back
                .is_some_and(|t| t.dyn_into::<web_sys::HtmlInputElement>().map_or(true, |i| !i.value().is_empty()));
            match e.key().as_str() {
                "Escape" if !e.default_prevented() => drawer.set(None),
                "z" | "Z" if (e.ctrl_key() || e.meta_key()) && !e.shift_key() && !field => {
                    e.prevent_default();
                    session.act(Action::Undo);
                }
                _ => {}
            }
        });
        move || drop(listener)
    });
}

/// Has the browser ask before it closes a page with labels given by hand, which are kept nowhere.
#[hook]
fn use_question(session: &Session) {
    let session = session.clone();
    use_effect_with((), move |()| {
        let listener = dom::listen(&dom::window(), "beforeunload", move |e| {
            if session.state().is_worth_a_question() {
                e.prevent_default();
            }
        });
        move || drop(listener)
    });
}

/// Takes files dropped or pasted anywhere; true while something hovers.
#[hook]
fn use_drop(session: &Session) -> UseStateHandle<bool> {
    let dropping = use_state(|| false);
    let (session, hovering) = (session.clone(), dropping.setter());
    use_effect_with((), move |()| {
        let window = dom::window();
        let has = |e: &DragEvent, kind: &str| e.data_transfer().is_some_and(|t| t.types().includes(&kind.into(), 0));
        // the shelf under the pointer
        let shelf = |e: &DragEvent| {
            let target = e.target()?.dyn_into::<web_sys::Element>().ok()?;
            shelf_kind(&target.closest("[data-testid=shelf]").ok()??.get_attribute("data-kind")?)
        };
        let over = {
            let hovering = hovering.clone();
            dom::listen(&window, "dragover", move |e| {
                let e: DragEvent = e.unchecked_into();
                if has(&e, "Files") {
                    e.prevent_default();
                    hovering.set(true);
                } else if has(&e, DRAGGED) && shelf(&e).is_some() {
                    e.prevent_default();
                }
            })
        };
        let leave = {
            let hovering = hovering.clone();
            dom::listen(&window, "dragleave", move |e| {
                // leaving the window, not one element for another
                if e.unchecked_into::<DragEvent>().related_target().is_none() {
                    hovering.set(false);
                }
            })
        };
        let dropped = {
            let session = session.clone();
            dom::listen(&window, "drop", move |e| {
                let e: DragEvent = e.unchecked_into();
                hovering.set(false);
                let Some(transfer) = e.data_transfer() else { return };
                e.prevent_default();
                if has(&e, DRAGGED) {
                    let id = transfer.get_data(DRAGGED).ok().and_then(|id| id.parse().ok()).map(ImageId);
                    if let (Some(id), Some(kind)) = (id, shelf(&e)) {
                        session.act(Action::Learning(Lesson::Label(vec![id], Some(kind))));
                    }
                    return;
                }
                intake::take_transfer(&session, &transfer, shelf(&e));
            })
        };
        let pasted = dom::listen(&window, "paste", move |e| {
            let e: ClipboardEvent = e.unchecked_into();
            // text pasted into a field is none of our business
            if let Some(transfer) = e.clipboard_data()
                && transfer.files().is_some_and(|f| f.length() > 0)
            {
                e.prevent_default();
                intake::take_transfer(&session, &transfer, None);
            }
        });
        move || drop((over, leave, dropped, pasted))
    });
    dropping
}
