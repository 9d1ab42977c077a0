//! Ways in for pictures, and the order, filter and export of those that are there.

use wasm_bindgen::JsCast;
use web_sys::{HtmlElement, HtmlInputElement, HtmlSelectElement, Node, ScrollIntoViewOptions, ScrollLogicalPosition};
use yew::prelude::*;

use super::header::{last_action, session_action};
use super::shared::count;
use crate::app_state::learning::Lesson;
use crate::app_state::view::{Counts, Filter, Sort};
use crate::app_state::{Action, Batch, export};
use crate::ui::hooks::session::Session;
use crate::ui::hooks::{dom, intake};

/// Offered to the file picker; anything may be dropped.
const ACCEPT: &str = "image/*,.jpg,.jpeg,.png,.webp,.bmp,.gif,.tif,.tiff,.avif,.heic,.heif";

#[derive(Properties, PartialEq)]
pub struct ToolbarProps {
    pub session: Session,
    pub counts: Counts,
    pub batch: Batch,
    pub sort: Sort,
    pub filter: Filter,
    pub camera_on: bool,
    pub has_samples: bool,
    pub on_samples: Callback<()>,
    pub undoable: Option<String>,
    pub lab_open: bool,
}

#[component]
pub fn Toolbar(props: &ToolbarProps) -> Html {
    let session = &props.session;
    let camera = {
        let on = props.camera_on;
        session_action(session, move || if on { Action::StopCamera } else { Action::StartCamera })
    };
    let lab = {
        let (session, open) = (session.clone(), !props.lab_open);
        Callback::from(move |_: MouseEvent| {
            session.act(Action::Learning(Lesson::Open(open)));
            if open {
                // on a phone the panels are far below; elsewhere they mostly begin in sight, and nothing moves
                dom::next_frame(|| {
                    if let Ok(Some(heading)) = dom::document().query_selector("#lab h2") {
                        let how = ScrollIntoViewOptions::new();
                        how.set_block(ScrollLogicalPosition::Nearest);
                        heading.scroll_into_view_with_scroll_into_view_options(&how);
                    }
                });
            }
        })
    };
    let onsort = {
        let session = session.clone();
        Callback::from(move |e: Event| {
            let key = e.target_unchecked_into::<HtmlSelectElement>().value();
            if let Some((sort, ..)) = Sort::ALL.iter().find(|(_, k, _)| *k == key) {
                session.act(Action::SetSort(*sort));
            }
        })
    };
    let filter_button = |filter: Filter, key: &'static str, words: &'static str, n: usize| {
        let pressed = props.filter == filter;
        html! {
            <button type="button" class="segment" data-filter={key} aria-pressed={pressed.to_string()}
                onclick={session_action(session, move || Action::SetFilter(filter))}>
                {words}<span class="near">{format!(" {n}")}</span>
            </button>
        }
    };
    let counts = props.counts;
    let number = |filter: Filter| match filter {
        Filter::All => counts.all,
        Filter::Odd => counts.odd,
        Filter::Normal => counts.normal,
        Filter::Failed => counts.failed,
    };
    let running = props.batch.done < props.batch.total;
    html! {
        <>
            <div class="bar">
                <FilePick session={session.clone()} folder={false} />
                <FilePick session={session.clone()} folder={true} />
                <button type="button" data-testid={if props.camera_on { "stop-camera" } else { "start-camera" }} onclick={camera}>
                    {if props.camera_on { "Stop camera" } else { "Camera" }}
                </button>
                if props.has_samples {
                    <button type="button" data-testid="samples" onclick={props.on_samples.reform(|_: MouseEvent| ())}>
                        {"Samples"}
                    </button>
                }
                if counts.all > 0 || props.lab_open {
                    <button type="button" data-testid="lab" aria-expanded={props.lab_open.to_string()} aria-controls="lab"
                        onclick={lab}>{"Label and learn"}</button>
                }
                <span class="push"></span>
                if let Some(what) = &props.undoable {
                    <button type="button" class="quiet" data-testid="undo" title={what.clone()}
                        onclick={session_action(session, || Action::Undo)}>{"Undo"}<span class="visually-hidden">{format!(": {what}")}</span></button>
                }
                if counts.all > 0 {
                    <Export session={session.clone()} />
                    <button type="button" class="quiet" data-testid="clear"
                        onclick={last_action(session, "pick-files", || Action::ClearPictures)}>{"Clear"}</button>
                }
            </div>
            if counts.all > 0 {
                <div class="bar view">
                    <div class="segments" role="group" aria-label="Show" data-testid="filter">
                        {for Filter::ALL.iter().filter(|(f, ..)| *f != Filter::Failed || counts.failed > 0)
                            .map(|(f, key, words)| filter_button(*f, key, words, number(*f)))}
                    </div>
                    <label class="sort"><span class="near">{"Order "}</span>
                        <select data-testid="sort" onchange={onsort}>
                            {for Sort::ALL.iter().map(|(sort, key, words)| html! {
                                <option value={*key} selected={*sort == props.sort}>{*words}</option>
                            })}
                        </select>
                    </label>
                    <span class="push"></span>
                    if running {
                        <span class="progress" data-testid="progress" data-done={props.batch.done.to_string()}
                            data-total={props.batch.total.to_string()}>
                            <progress max={props.batch.total.to_string()} value={props.batch.done.to_string()}
                                aria-label="Pictures scored" />
                            {format!("{} of {}", props.batch.done, props.batch.total)}
                        </span>
                        <button type="button" class="small" data-testid="cancel"
                            onclick={session_action(session, || Action::CancelQueue)}>{"Cancel"}</button>
                    } else {
                        <span class="near">{count(counts.all, "picture")}</span>
                    }
                </div>
            }
        </>
    }
}

#[derive(Properties, PartialEq)]
struct FilePickProps {
    session: Session,
    folder: bool,
}

/// A file input that looks like a button and is one for the keyboard, too.
#[component]
fn FilePick(props: &FilePickProps) -> Html {
    let onchange = {
        let session = props.session.clone();
        Callback::from(move |e: Event| {
            let input: HtmlInputElement = e.target_unchecked_into();
            if let Some(list) = input.files() {
                intake::take_list(&session, &list);
            }
            // so that the same file can be picked again
            input.set_value("");
        })
    };
    if props.folder {
        html! {
            <label class="button folder">{"Folder"}
                <input type="file" class="visually-hidden" data-testid="pick-folder" aria-label="Add a folder of pictures"
                    webkitdirectory={true} multiple={true} {onchange} />
            </label>
        }
    } else {
        html! {
            <label class="button primary">{"Add pictures"}
                <input type="file" class="visually-hidden" data-testid="pick-files" aria-label="Add pictures" accept={ACCEPT}
                    multiple={true} {onchange} />
            </label>
        }
    }
}

#[derive(Properties, PartialEq)]
struct ExportProps {
    session: Session,
}

#[component]
fn Export(props: &ExportProps) -> Html {
    let open = use_state(|| false);
    let toggle = {
        let open = open.clone();
        Callback::from(move |_: MouseEvent| open.set(!*open))
    };
    let button = use_node_ref();
    let onkeydown = {
        let (open, button) = (open.clone(), button.clone());
        Callback::from(move |e: KeyboardEvent| {
            if e.key() == "Escape" && *open {
                e.prevent_default();
                open.set(false);
                if let Some(button) = button.cast::<HtmlElement>() {
                    let _ = button.focus();
                }
            }
        })
    };
    let menu = use_node_ref();
    let onfocusout = {
        let (open, menu) = (open.clone(), menu.clone());
        Callback::from(move |e: FocusEvent| {
            let to = e.related_target().and_then(|t| t.dyn_into::<Node>().ok());
            if !menu.get().is_some_and(|menu| menu.contains(to.as_ref())) {
                open.set(false);
            }
        })
    };
    let save = |json: bool| {
        let (session, open, button) = (props.session.clone(), open.clone(), button.clone());
        Callback::from(move |_: MouseEvent| {
            // the item that has the focus goes away
            if let Some(button) = button.cast::<HtmlElement>() {
                let _ = button.focus();
            }
            let snapshot = export::Snapshot::of(&session.state());
            if json {
                dom::download("oddlens.jsonl", "application/x-ndjson", snapshot.json_lines());
            } else {
                dom::download("oddlens.csv", "text/csv", snapshot.csv());
            }
            open.set(false);
        })
    };
    html! {
        // it can have the focus itself, because Safari gives none to a button that is clicked
        <div class="menu" ref={menu} tabindex="-1" {onkeydown} {onfocusout}>
            <button type="button" class="quiet" ref={button.clone()} data-testid="export" aria-expanded={(*open).to_string()} onclick={toggle}>
                {"Export ▾"}
            </button>
            if *open {
                <div class="menu-list">
                    <button type="button" class="quiet" data-testid="export-csv" onclick={save(false)}>{"Table (CSV)"}</button>
                    <button type="button" class="quiet" data-testid="export-json" onclick={save(true)}>{"JSON lines"}</button>
                </div>
            }
        </div>
    }
}
