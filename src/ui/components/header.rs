//! Name, sentence, and the model: its state always in sight, its facts one click away.

use wasm_bindgen::JsCast;
use yew::prelude::*;

use super::shared::{bytes, millis};
use crate::app_state::{Action, Model, TextTower, Worker};
use crate::protocol::ModelEntry;
use crate::ui::hooks::dom;
use crate::ui::hooks::session::Session;

/// How ids of models begin that a person brought.
const OWN: &str = "own-";

#[derive(Properties, PartialEq)]
pub struct HeaderProps {
    pub model: Model,
    pub worker: Worker,
    pub panel_open: bool,
    pub on_panel: Callback<()>,
}

#[component]
pub fn Header(props: &HeaderProps) -> Html {
    let (state, which, word, id) = match &props.model {
        Model::Loading { received, total, seconds_left, .. } => {
            let progress = match total {
                Some(total) if *received > 0 && *total > 0 => format!("loading, {} %", received * 100 / total),
                _ => "loading…".to_owned(),
            };
            let left = seconds_left.filter(|s| *s >= 1.0).map(|s| format!(", {s:.0} s left")).unwrap_or_default();
            ("loading", String::new(), format!("{progress}{left}"), String::new())
        }
        Model::Ready(info) => {
            let entry = &info.entry;
            // a person's own file has a number for an id, which says nothing
            let name = if entry.id.starts_with(OWN) { &entry.name } else { &entry.id };
            ("ready", format!("{name}, {}", bytes(entry.bytes)), ", ready".to_owned(), entry.id.clone())
        }
        Model::Failed(_) => ("failed", String::new(), "not loaded".to_owned(), String::new()),
    };
    let on_panel = props.on_panel.reform(|_: MouseEvent| ());
    html! {
        <header class="top">
            <h1 class="mark">
                <svg width="26" height="26" viewBox="0 0 26 26" aria-hidden="true">
                    <circle cx="11" cy="11" r="8.5" fill="none" stroke="currentColor" stroke-width="2.4" />
                    <path d="M17.5 17.5 24 24" stroke="currentColor" stroke-width="3" stroke-linecap="round" />
                    <rect x="7" y="7" width="3.4" height="3.4" fill="currentColor" />
                    <rect x="12" y="7" width="3.4" height="3.4" fill="currentColor" />
                    <rect x="7" y="12" width="3.4" height="3.4" fill="currentColor" />
                    <circle class="odd-dot" cx="13.7" cy="13.7" r="2.1" />
                </svg>
                {"Oddlens"}
            </h1>
            <p class="say">{"Say what is normal. See which pictures are not. Nothing leaves this device."}</p>
            <span class="push pill private"
                title="Pictures are scored on this device. The page's content policy lets it connect only to the place it came from, and it asks that place only for its own files. A model from elsewhere is fetched only when you ask for it.">
                <span class="dot" aria-hidden="true"></span>{"0 picture bytes sent"}
            </span>
            <button type="button" class={classes!("pill", "model", state)} data-testid="model-status" data-state={state}
                data-model={id} aria-label={format!("Model: {which}{word}")} aria-expanded={props.panel_open.to_string()}
                aria-controls="model-panel" onclick={on_panel}>
                <span class="dot" aria-hidden="true"></span>
                // where it is narrow the model's name is cut, never its state
                <span class="words"><span class="about">{"Model: "}</span><span class="which">{which}</span><span>{word}</span></span>
                <span class="caret" aria-hidden="true">{"▾"}</span>
            </button>
        </header>
    }
}

#[derive(Properties, PartialEq)]
pub struct ModelPanelProps {
    pub session: Session,
    pub model: Model,
    pub worker: Worker,
    pub offered: Vec<ModelEntry>,
    /// The last model was refused because it answers as if by chance.
    pub doubtful: bool,
    /// What is being loaded comes in as many goes as it takes.
    pub is_download: bool,
    /// How the text tower of the model in use comes, where it is not there.
    pub text_tower: Option<TextTower>,
    pub threads: u32,
    pub workers: u32,
    /// What all workers but the first hold of the model.
    pub further_bytes: u64,
    pub canvas_noise: bool,
}

/// The facts of the model, or how its loading stands.
#[component]
pub fn ModelPanel(props: &ModelPanelProps) -> Html {
    let session = &props.session;
    let load = {
        let session = session.clone();
        Callback::from(move |_: MouseEvent| {
            let wanted = session.state().wanted_model.clone();
            session.act(Action::LoadModel(wanted));
        })
    };
    let revive = session_action(session, || Action::RetryWorker);
    let cancel = session_action(session, || Action::CancelLoad);
    let body = match &props.model {
        Model::Loading { received, total, seconds_left, .. } => html! {
            <>
                <p>
                    {format!("{} of {} received", bytes(*received), total.map_or("an unknown number".into(), bytes))}
                    {seconds_left.map(|s| format!(", about {:.0} s left", s.max(1.0))).unwrap_or_default()}
                </p>
                if let Some(total) = total {
                    <progress max={total.to_string()} value={received.to_string()} aria-label="Loading the model" />
                } else {
                    <progress aria-label="Loading the model" />
                }
                <button type="button" data-testid="stop-loading" onclick={cancel}>{if props.is_download { "Pause" } else { "Cancel" }}</button>
                if props.is_download {
                    <p class="near">{"What has come stays in this browser: a pause, a cut, or a closed page loses nothing of it."}</p>
                }
            </>
        },
        Model::Failed(message) => html! {
            <>
                <p class="bad">{message.clone()}</p>
                if matches!(props.worker, Worker::Stopped(_)) {
                    <button type="button" class="primary" onclick={revive}>{"Start it again"}</button>
                } else {
                    <button type="button" class="primary" onclick={load}>{"Load the model"}</button>
                }
            </>
        },
        Model::Ready(info) => {
            let entry = &info.entry;
            let mut kernel =
                format!("{}, {} {}", info.kernel, props.threads, if props.threads == 1 { "thread" } else { "threads" });
            let mut memory = bytes(info.memory_bytes);
            if props.workers > 1 {
                kernel += &format!(", {} workers", props.workers);
                memory += &format!(
                    ", and {} in the other {}",
                    bytes(props.further_bytes),
                    if props.workers == 2 { "worker" } else { "workers" }
                );
            }
            html! {
                <>
                    <p><b>{"Can: "}</b>{entry.can.clone()}</p>
                    <p><b>{"Cannot: "}</b>{entry.cannot.clone()}</p>
                    <dl class="facts">
                        <dt>{"File"}</dt>
                        <dd>{format!("{}, {}", if entry.kept { "kept in this browser" } else { &entry.file }, bytes(entry.bytes))}</dd>
                        <dt>{"In memory"}</dt><dd data-testid="memory">{memory}</dd>
                        <dt>{"Sees"}</dt><dd>{format!("{0} × {0} pixels", info.image_size)}</dd>
                        <dt>{"Embedding"}</dt><dd>{format!("{} numbers", info.embed_dim)}</dd>
                        <dt>{"Kernel"}</dt>
                        <dd data-testid="kernel">{kernel}</dd>
                        <dt>{"Names it knows"}</dt>
                        <dd>{info.vocabulary.as_ref().map_or("free text".to_owned(), |v| v.len().to_string())}</dd>
                        <dt>{"Ready after"}</dt><dd>{millis(info.load_millis)}</dd>
                        <dt>{"Threshold"}</dt><dd>{format!("{}: {}", entry.threshold, entry.threshold_source)}</dd>
                    </dl>
                    if let Some(tower) = &props.text_tower {
                        {text_tower(tower, &load, &cancel)}
                    }
                    if props.canvas_noise {
                        <p class="note">
                            {"This browser falsifies pixels that are read from a canvas. Camera pictures, and files that only the browser can decode, get slightly wrong scores here."}
                        </p>
                    }
                </>
            }
        }
    };
    let pick = {
        let session = session.clone();
        Callback::from(move |e: Event| {
            let input: web_sys::HtmlInputElement = e.target_unchecked_into();
            let list = input.files();
            let mut files: Vec<web_sys::File> =
                list.iter().flat_map(|l| (0..l.length()).filter_map(|i| l.get(i))).collect();
            input.set_value("");
            // the largest is the model, whatever it is called
            files.sort_by(|a, b| b.size().total_cmp(&a.size()));
            if !files.is_empty() {
                let model = files.remove(0);
                session.load_model(model, files);
            }
        })
    };
    let address = use_node_ref();
    let fetch = {
        let (session, address) = (session.clone(), address.clone());
        Callback::from(move |e: SubmitEvent| {
            e.prevent_default();
            let text = address.cast::<web_sys::HtmlInputElement>().map(|input| input.value()).unwrap_or_default();
            if !text.trim().is_empty() {
                session.act(Action::FetchModel(text));
            }
        })
    };
    let title = match &props.model {
        Model::Ready(info) => info.entry.name.clone(),
        Model::Loading { .. } => "Loading the model".into(),
        Model::Failed(_) => "The model is not loaded".into(),
    };
    let present = match &props.model {
        Model::Ready(info) => info.entry.id.clone(),
        _ => String::new(),
    };
    html! {
        <section class="drawer" id="model-panel" aria-label="Model">
            <h2>{title}</h2>
            {body}
            if props.doubtful {
                <p class="steps">
                    <span class="near">{"The last model answered as if by chance."}</span>
                    <button type="button" data-testid="use-doubtful" onclick={session_action(session, || Action::UseDoubtful)}>{"Use it all the same"}</button>
                </p>
            }
            <h3>{"Models"}</h3>
            <ul class="models" data-testid="models">
                {for props.offered.iter().map(|m| model_line(session, m, m.id == present))}
            </ul>
            <div class="steps">
                <label class="button">{"From a file"}
                    <input type="file" class="visually-hidden" data-testid="pick-model" aria-label="Load a model from a file"
                        multiple={true} onchange={pick} />
                </label>
                <span class="near">{"A CLIP as safetensors (with the configuration beside it), GGUF or PyTorch archive; or drop it anywhere. It stays in this browser."}</span>
            </div>
            <form class="steps" onsubmit={fetch}>
                <label>{"From an address "}
                    <input type="text" class="wide" data-testid="model-address" ref={address} spellcheck="false" autocapitalize="off" autocomplete="off"
                        placeholder="https://… or owner/name on Hugging Face" />
                </label>
                <button type="submit" data-testid="fetch-model">{"Fetch"}</button>
            </form>
        </section>
    }
}

/// What is still to come of the model in use.
fn text_tower(tower: &TextTower, load: &Callback<MouseEvent>, pause: &Callback<MouseEvent>) -> Html {
    let come = format!("{} of {} have come", bytes(tower.received), bytes(tower.total));
    html! {
        <div class="note" data-testid="text-tower" data-received={tower.received.to_string()}>
            if let Some(why) = &tower.trouble {
                <p>{format!("It understands the usual words. What it needs for others has not come: {why}")}</p>
                <button type="button" class="small" data-testid="fetch-text-tower" onclick={load}>{"Fetch the rest"}</button>
            } else {
                <p>{format!("It understands the usual words already. What it needs for others is on its way: {come}.")}</p>
                <progress max={tower.total.to_string()} value={tower.received.to_string()} aria-label="Fetching the rest of the model" />
                <button type="button" class="small" data-testid="pause-text-tower" onclick={pause}>{"Pause"}</button>
            }
        </div>
    }
}

fn model_line(session: &Session, model: &ModelEntry, present: bool) -> Html {
    let (wanted, gone) = (model.id.clone(), model.id.clone());
    let choose = session_action(session, move || Action::LoadModel(Some(wanted.clone())));
    let delete = session_action(session, move || Action::DeleteModel(gone.clone()));
    let word = match (present, model.is_download(), model.partial) {
        (true, ..) => "in use",
        (_, true, 0) => "Download",
        (_, true, _) => "Resume",
        _ => "use",
    };
    let size = if model.bytes > 0 { bytes(model.bytes) } else { "size unknown".into() };
    let held = match (model.kept, model.partial, model.bytes) {
        (true, ..) => ", kept in this browser".to_owned(),
        (_, 0, _) => String::new(),
        (_, partial, 0) => format!(", {} of it here", bytes(partial)),
        (_, partial, all) => format!(", {} % of it here", partial.min(all) * 100 / all),
    };
    let memory = match (model.memory_bytes, dom::device_memory_bytes()) {
        (0, _) => String::new(),
        // a page is given a part of it only
        (needs, Some(has)) if needs > has / 4 => {
            format!(", {} in memory: perhaps too much for this device, which has {}", bytes(needs), bytes(has))
        }
        (needs, _) => format!(", {} in memory", bytes(needs)),
    };
    html! {
        <li key={model.id.clone()} data-testid="model" data-model={model.id.clone()} data-kept={model.kept.to_string()} data-present={present.to_string()} data-partial={model.partial.to_string()}>
            <span title={format!("Can: {} Cannot: {}", model.can, model.cannot)}>{model.name.clone()}</span>
            <span class="near">{size}{held}{memory}</span>
            <button type="button" class="small" data-testid="use-model" disabled={present} aria-label={format!("{word} {}", model.name)} onclick={choose}>{word}</button>
            if model.kept || model.partial > 0 {
                <button type="button" class="small quiet" data-testid="delete-model" aria-label={format!("Delete {}", model.name)} onclick={delete}>{"Delete"}</button>
            }
            if model.is_download() {
                <span class="near what">{model.can.clone()}</span>
            }
        </li>
    }
}

/// A click that is one action.
pub fn session_action(session: &Session, action: impl Fn() -> Action + 'static) -> Callback<MouseEvent> {
    let session = session.clone();
    Callback::from(move |_| session.act(action()))
}

/// The same for a button that goes away with it: the keyboard's focus goes to the hook `next`. A mouse has no use for that, and
/// after a tap a field with the focus would raise the keyboard on the screen.
pub fn last_action(
    session: &Session,
    next: &'static str,
    action: impl Fn() -> Action + 'static,
) -> Callback<MouseEvent> {
    let session = session.clone();
    Callback::from(move |e: MouseEvent| {
        // a click that a key made comes from no pointer
        if e.dyn_ref::<PointerEvent>().is_none_or(|e| e.pointer_type().is_empty()) {
            dom::focus(next);
        }
        session.act(action());
    })
}
