//! The prompts: how a class's name becomes a sentence, and what stands for the anomaly.

use web_sys::HtmlTextAreaElement;
use yew::prelude::*;

use super::header::session_action;
use super::shared::Same;
use crate::app_state::Action;
use crate::protocol::{Entry, ModelInfo, Setup};
use crate::ui::hooks::session::Session;

#[derive(Properties, PartialEq)]
pub struct PromptsProps {
    pub session: Session,
    pub setup: Setup,
    pub model: Option<Same<ModelInfo>>,
    pub entries: Option<Same<[Entry]>>,
}

#[component]
pub fn Prompts(props: &PromptsProps) -> Html {
    let change = |action: fn(String) -> Action| {
        let session = props.session.clone();
        Callback::from(move |e: Event| session.act(action(e.target_unchecked_into::<HtmlTextAreaElement>().value())))
    };
    let reset = session_action(&props.session, || Action::ResetPrompts);
    let method = props.model.as_ref().and_then(|m| m.methods.iter().find(|m| m.id == props.setup.method).cloned());
    html! {
        <section class="drawer" aria-label="Prompts">
            <h2>{"Prompts"}</h2>
            <div class="choices">
                <label class="field">{"Template; {} stands for the class. One a line, several are averaged."}
                    <textarea data-testid="template" rows="2" spellcheck="false" value={props.setup.templates.join("\n")}
                        onchange={change(Action::SetTemplates)} />
                </label>
                <label class="field">{"Text for the anomaly. One a line; may hold {}."}
                    <textarea data-testid="anomaly" rows="2" spellcheck="false" value={props.setup.anomaly.join("\n")}
                        onchange={change(Action::SetAnomaly)} />
                </label>
            </div>
            <button type="button" class="small" onclick={reset}>{"As in the paper"}</button>
            if let Some(method) = method {
                <p class="note"><b>{method.name}{": "}</b>{method.explanation}</p>
            }
            if let Some(entries) = &props.entries {
                <details>
                    <summary>{format!("{} texts are compared with every picture", entries.len())}</summary>
                    <ul class="texts">{for entries.iter().map(|e| html! { <li>{e.text.clone()}</li> })}</ul>
                </details>
            }
        </section>
    }
}
