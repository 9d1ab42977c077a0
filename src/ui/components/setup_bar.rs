//! "Normal is": the classes as chips, what is doubtful about them, and the doors to presets, prompts, method and link.

use std::rc::Rc;

use wasm_bindgen::JsCast;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{HtmlInputElement, HtmlSelectElement};
use yew::prelude::*;

use super::header::last_action;
use super::shared::Same;
use crate::app_state::presets::readable;
use crate::app_state::{Action, permalink};
use crate::protocol::{ModelInfo, Note, Setup};
use crate::ui::app::Drawer;
use crate::ui::hooks::dom;
use crate::ui::hooks::session::Session;

#[derive(Properties, PartialEq)]
pub struct SetupBarProps {
    pub session: Session,
    pub setup: Setup,
    /// The method in use, and those that could be.
    pub method: String,
    pub usable: Vec<String>,
    pub notes: Same<[Note]>,
    pub error: Option<String>,
    pub model: Option<Same<ModelInfo>>,
    pub drawer: Option<Drawer>,
    pub on_drawer: Callback<Drawer>,
}

/// Chips shown before the rest folds away behind a number.
const CHIPS: usize = 12;

#[component]
pub fn SetupBar(props: &SetupBarProps) -> Html {
    let session = &props.session;
    let all_chips = use_state(|| false);
    let shown = if *all_chips { props.setup.normal.len() } else { props.setup.normal.len().min(CHIPS) };
    let hidden = props.setup.normal.len() - shown;
    let chips = props.setup.normal.iter().enumerate().map(|(i, name)| {
        let remove = {
            let session = session.clone();
            Callback::from(move |_: MouseEvent| {
                session.act(Action::RemoveClass(i));
                keep_focus(i);
            })
        };
        let doubtful = props.notes.iter().any(|n| n.label == *name);
        html! {
            <li key={name.clone()} class={classes!("chip", doubtful.then_some("doubtful"))} hidden={i >= shown}
                data-testid="class-chip" data-name={name.clone()}>
                if doubtful { <span class="warn" aria-hidden="true">{"!"}</span> }
                <span>{readable(name)}</span>
                <button type="button" aria-label={format!("Remove {}", readable(name))} onclick={remove}>{"×"}</button>
            </li>
        }
    });
    let toggle = |drawer: Drawer| props.on_drawer.reform(move |_: MouseEvent| drawer);
    let expanded = |drawer: Drawer| (props.drawer == Some(drawer)).to_string();
    let template = props.setup.templates.first().cloned().unwrap_or_default().replace("{}", "…");
    let anomaly = props.setup.anomaly.first().cloned().unwrap_or_default();
    let more = |n: usize| if n > 1 { format!(" and {} more", n - 1) } else { String::new() };
    let prompts = format!(
        "Prompts: “{template}”{} against “{anomaly}”{}",
        more(props.setup.templates.len()),
        more(props.setup.anomaly.len())
    );
    let unfold = {
        let all_chips = all_chips.clone();
        Callback::from(move |_: MouseEvent| all_chips.set(true))
    };
    html! {
        <section class="setup" aria-label="What is normal">
            <div class="setup-row">
                <b id="normal-is">{"Normal is"}</b>
                <ul class="chips" aria-labelledby="normal-is">
                    <>{for chips}</>
                    if hidden > 0 {
                        <li><button type="button" class="quiet" onclick={unfold}>{format!("and {hidden} more")}</button></li>
                    }
                </ul>
                <AddClass session={session.clone()} model={props.model.clone()} />
                <button type="button" class="quiet" data-testid="presets" aria-expanded={expanded(Drawer::Presets)}
                    onclick={toggle(Drawer::Presets)}>{"Presets ▾"}</button>
                <button type="button" class="quiet clip" data-testid="prompts" aria-expanded={expanded(Drawer::Prompts)}
                    onclick={toggle(Drawer::Prompts)}>{prompts}{" ▾"}</button>
                <span class="push"></span>
                <MethodSelect session={session.clone()} usable={props.usable.clone()} method={props.method.clone()} model={props.model.clone()} />
                <Share session={session.clone()} />
            </div>
            if let Some(error) = &props.error {
                <p class="class-note bad" role="alert"><span class="warn" aria-hidden="true">{"!"}</span>{" "}{error.clone()}</p>
            }
            <>{for props.notes.iter().map(|note| note_line(session, note))}</>
        </section>
    }
}

fn note_line(session: &Session, note: &Note) -> Html {
    let buttons = note.suggestions.iter().take(5).map(|name| {
        let (from, to) = (note.label.clone(), name.clone());
        let replace =
            last_action(session, "add-class", move || Action::ReplaceClass { from: from.clone(), to: to.clone() });
        html! {
            <button type="button" class="small" data-testid="suggestion" data-name={name.clone()} onclick={replace}>
                {readable(name)}
            </button>
        }
    });
    html! {
        <p class="class-note" data-testid="class-note" data-name={note.label.clone()}>
            <span class="warn" aria-hidden="true">{"!"}</span>{" "}{note.message.trim_end_matches('.').to_owned()}{"."}
            if !note.suggestions.is_empty() { <>{" Did you mean "}{for buttons}{" ?"}</> }
        </p>
    }
}

#[derive(Properties, PartialEq)]
struct AddClassProps {
    session: Session,
    model: Option<Same<ModelInfo>>,
}

#[component]
fn AddClass(props: &AddClassProps) -> Html {
    // two thousand names are listed when somebody comes to look for one
    let visited = use_state_eq(|| false);
    let onfocus = {
        let visited = visited.setter();
        Callback::from(move |_: FocusEvent| visited.set(true))
    };
    let onkeydown = {
        let session = props.session.clone();
        Callback::from(move |e: KeyboardEvent| {
            if e.key() == "Enter" && !e.is_composing() {
                e.prevent_default();
                let input: HtmlInputElement = e.target_unchecked_into();
                session.act(Action::AddClasses(input.value()));
                input.set_value("");
            }
        })
    };
    let oninput = {
        let session = props.session.clone();
        Callback::from(move |e: InputEvent| {
            let input: HtmlInputElement = e.target_unchecked_into();
            let value = input.value();
            if !e.is_composing()
                && let Some((names, rest)) = value.rsplit_once(',')
            {
                session.act(Action::AddClasses(names.to_owned()));
                input.set_value(rest.trim_start());
            }
        })
    };
    html! {
        <>
            <input class="add-class" data-testid="add-class" type="text" aria-label="Add a normal class" placeholder="add a class…"
                list="vocabulary" autocomplete="off" autocapitalize="off" spellcheck="false" enterkeyhint="done"
                maxlength="2000" {onkeydown} {oninput} {onfocus} />
            if *visited { <Vocabulary model={props.model.clone()} /> }
        </>
    }
}

#[derive(Properties, PartialEq)]
struct VocabularyProps {
    model: Option<Same<ModelInfo>>,
}

/// The names that the model knows, offered while typing.
#[component]
fn Vocabulary(props: &VocabularyProps) -> Html {
    let names = props.model.as_ref().and_then(|m| m.vocabulary.as_ref());
    html! {
        <datalist id="vocabulary">
            {for names.into_iter().flatten().map(|name| html! { <option value={name.clone()} /> })}
        </datalist>
    }
}

#[derive(Properties, PartialEq)]
struct MethodSelectProps {
    session: Session,
    /// Those that can score now.
    usable: Vec<String>,
    method: String,
    model: Option<Same<ModelInfo>>,
}

#[component]
fn MethodSelect(props: &MethodSelectProps) -> Html {
    let onchange = {
        let session = props.session.clone();
        Callback::from(move |e: Event| {
            session.act(Action::SetMethod(e.target_unchecked_into::<HtmlSelectElement>().value()));
        })
    };
    let Some(model) = &props.model else { return html! {} };
    let explanation = model.methods.iter().find(|m| m.id == props.method).map(|m| m.explanation.clone());
    html! {
        <label class="method" title={explanation}>{"Method "}
            <select data-testid="method" {onchange}>
                {for model.methods.iter().map(|m| html! {
                    <option value={m.id.clone()} selected={m.id == props.method} disabled={!props.usable.contains(&m.id)}>{m.name.clone()}</option>
                })}
            </select>
        </label>
    }
}

#[derive(Properties, PartialEq)]
struct ShareProps {
    session: Session,
}

/// Copies the whole setup as a link.
#[component]
fn Share(props: &ShareProps) -> Html {
    let copied = use_state(|| false);
    let onclick = {
        let (session, copied) = (props.session.clone(), copied.clone());
        Callback::from(move |_: MouseEvent| {
            let location = dom::window().location();
            let base = location.href().unwrap_or_default();
            let base = base.split('#').next().unwrap_or_default();
            let link = format!("{base}#{}", permalink::encode_full(&session.state()));
            let (session, copied) = (session.clone(), copied.clone());
            spawn_local(async move {
                let clipboard = dom::window().navigator().clipboard();
                // an insecure page has no clipboard
                let written = !clipboard.is_undefined() && JsFuture::from(clipboard.write_text(&link)).await.is_ok();
                if written {
                    session.act(Action::Say("The link is on the clipboard.".into()));
                    copied.set(true);
                    let copied = copied.clone();
                    dom::later(2_000, move || copied.set(false));
                } else {
                    session.act(Action::Notice(format!("Copy this link: {link}")));
                }
            });
        })
    };
    html! {
        <button type="button" class="quiet" data-testid="share" {onclick}>
            {if *copied { "Link copied ✓" } else { "Share link" }}
        </button>
    }
}

/// A chip is gone and its button with it: the focus goes to the chip that took its place, or to the field.
fn keep_focus(chip: usize) {
    dom::next_frame(move || {
        dom::next_frame(move || {
            let lost = dom::document().active_element().is_none_or(|e| e.tag_name() == "BODY");
            let chips = dom::document().query_selector_all("[data-testid=class-chip] button").ok();
            let neighbour = chips.and_then(|c| c.get(chip as u32).or_else(|| c.get(c.length().checked_sub(1)?)));
            match neighbour.and_then(|n| n.dyn_into::<web_sys::HtmlElement>().ok()) {
                _ if !lost => {}
                Some(button) => drop(button.focus()),
                None => dom::focus("add-class"),
            }
        });
    });
}

/// The model's facts as cheap props.
pub fn same_model(model: Option<&Rc<ModelInfo>>) -> Option<Same<ModelInfo>> {
    model.map(|m| Same(m.clone()))
}
