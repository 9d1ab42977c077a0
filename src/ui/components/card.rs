//! One picture's card: small image, score, verdict in words and sign, nearest class. There may be thousands of them, so a card
//! is looked at again only when its own picture changed, is drawn only near the screen, and has no listeners: its buttons say
//! in `data-act` what they do.

use yew::prelude::*;

use super::shared::{Same, verdict};
use crate::app_state::export;
use crate::app_state::picture::{Phase, Picture};
use crate::app_state::presets::readable;
use crate::protocol::{Basis, Decoder, Kind, Label, Role};

/// How much of a card there is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Drawn {
    /// Far from the screen: only what tests and scripts read.
    Not,
    /// In the grid, at `place` (from 1) `of` so many.
    Here { place: usize, of: usize },
    /// Far from the screen, but the keyboard's way into the grid leads here.
    Away,
}

#[derive(Properties, PartialEq)]
pub struct CardProps {
    pub picture: Same<Picture>,
    pub drawn: Drawn,
    /// The verdict (`None`: not scored).
    pub odd: Option<bool>,
    /// `None` where it is not shown.
    pub threshold: Option<f32>,
    /// The card that the Tab key comes to: one for the whole grid.
    pub current: bool,
}

#[component]
pub fn Card(props: &CardProps) -> Html {
    let p = &*props.picture;
    let name = AttrValue::from(p.name.clone());
    let verdict_class = match (&p.phase, props.odd) {
        (Phase::Failed { .. }, _) => "fail",
        (_, Some(true)) => "is-odd",
        (_, Some(false)) => "is-normal",
        _ => "wait",
    };
    let (class, order) = match props.drawn {
        Drawn::Not => (classes!("card"), None),
        Drawn::Here { place, of } => (classes!("card", verdict_class), Some((place.to_string(), of.to_string()))),
        Drawn::Away => (classes!("card", verdict_class, "away"), None),
    };
    let (place, of) = order.unzip();
    html! {
        <li {class} hidden={props.drawn == Drawn::Not} aria-posinset={place} aria-setsize={of}
            data-testid="result" data-id={p.id.0.to_string()} data-name={name.clone()} data-state={p.phase_name()}
            data-score={p.outcome().map(|o| o.score.value.to_string())} data-verdict={props.odd.map(export::verdict)}
            data-label={p.label.map(|l| kind_word(l.kind))} data-role={p.label.map(|l| role_word(l.role))} data-basis={p.basis.map(basis_word)}
            draggable={(props.drawn != Drawn::Not).then_some("true")}>
            if props.drawn != Drawn::Not { {contents(props, &name)} }
        </li>
    }
}

fn contents(props: &CardProps, name: &AttrValue) -> Html {
    let p = &*props.picture;
    // of a path its end tells files apart, and there is room for little more
    let file = AttrValue::from(p.name.rsplit('/').next().unwrap_or_default().to_owned());
    let tabindex = if props.current { "0" } else { "-1" };
    let image = match &p.thumbnail {
        Some(address) => html! {
            <img class="pic" src={AttrValue::from(address.clone())} alt="" decoding="async" draggable="false" />
        },
        None => html! { <div class="pic" /> },
    };
    let body = match &p.phase {
        Phase::Queued | Phase::Scoring { .. } => {
            let what = if matches!(p.phase, Phase::Queued) { "waiting" } else { "scoring…" };
            html! {
                <div class="open">
                    {image}
                    <div class="foot"><span class="near name" title={name.clone()}>{file}</span><span class="near">{what}</span></div>
                </div>
            }
        }
        Phase::Failed { message, .. } => html! {
            <div class="open">
                <div class="foot">
                    <b class="bad">{"✕ not scored"}</b>
                    <div class="near name" title={name.clone()}>{file}</div>
                    <div class="why" title={message.to_string()}>{&**message}</div>
                    <button type="button" class="small" data-testid="retry" data-act="retry" {tabindex}>{"Try again"}</button>
                </div>
            </div>
        },
        Phase::Done(outcome) => {
            let odd = props.odd.unwrap_or_default();
            let value = outcome.score.value;
            let nearest = readable(outcome.nearest());
            html! {
                <button type="button" class="open" data-act="open" aria-keyshortcuts="n o e Delete" {tabindex}>
                    {image}
                    if outcome.picture.decoder == Decoder::Browser {
                        <span class="tag" title="Decoded by the browser: other browsers may see slightly different pixels">{"browser"}</span>
                    }
                    <span class="foot">
                        <span class="row">
                            <span class="score">{format!("{value:.2}")}</span>
                            <span class="verdict">{verdict(odd)}</span>
                        </span>
                        <span class="near name" title={name.clone()}>{file}</span>
                        <span class="near">{p.basis.and_then(basis_note).map_or_else(|| format!("nearest: {nearest}"), str::to_owned)}</span>
                        {meter(value, props.threshold)}
                    </span>
                </button>
            }
        }
    };
    html! {
        <>
            {body}
            if !matches!(p.phase, Phase::Failed { .. }) { {labels(props, name)} }
            <button type="button" class="remove" data-testid="remove" data-act="remove" aria-label={format!("Remove {name}")} {tabindex}>{"×"}</button>
        </>
    }
}

/// The buttons that say what the picture is; what is said stays in sight. The keyboard has keys for them, and passes them by.
fn labels(props: &CardProps, name: &AttrValue) -> Html {
    let label = props.picture.label;
    let kind = |kind: Kind, act: &'static str, sign: &'static str, word: &'static str, key: &'static str| {
        let on = label.is_some_and(|l| l.kind == kind);
        html! {
            <button type="button" class={classes!("mark-as", act)} data-testid={act} data-act={act} aria-pressed={on.to_string()}
                aria-label={format!("{name} is {word}")} title={format!("{word} ({key})")} tabindex="-1">{sign}</button>
        }
    };
    html! {
        <span class={classes!("labels", label.is_some().then_some("said"))}>
            {kind(Kind::Normal, "label-normal", "●", "normal", "N")}
            {kind(Kind::Outlier, "label-outlier", "▲", "an outlier", "O")}
            if let Some(Label { role, .. }) = label {
                <button type="button" class="mark-as role" data-testid="label-role" data-act="label-role" aria-pressed={(role == Role::Judged).to_string()}
                    title="example to learn from, or judged only (E)" aria-label={format!("{} {name}", if role == Role::Judged { "judged" } else { "example" })} tabindex="-1">
                    {if role == Role::Judged { "judged" } else { "example" }}
                </button>
            }
        </span>
    }
}

pub fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Normal => "normal",
        Kind::Outlier => "outlier",
    }
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Example => "example",
        Role::Judged => "judged",
    }
}

fn basis_word(basis: Basis) -> &'static str {
    match basis {
        Basis::Unseen => "unseen",
        Basis::CrossValidated => "cross-validated",
        Basis::Learned => "learned",
    }
}

/// What must be said with a score that is not by a method that never saw the picture.
pub fn basis_note(basis: Basis) -> Option<&'static str> {
    match basis {
        Basis::Unseen => None,
        Basis::CrossValidated => Some("⟲ by cross-validation"),
        Basis::Learned => Some("⚠ was learned from"),
    }
}

/// A bar for a score of 0 to 1; the mark on it is the threshold.
pub fn meter(value: f32, threshold: Option<f32>) -> Html {
    let percent = |v: f32| format!("{:.1}%", v * 100.0);
    html! {
        <svg class="meter" width="100%" height="11" aria-hidden="true">
            <rect class="all" y="3" width="100%" height="5" rx="2.5" />
            <rect class="fill" y="3" width={percent(value)} height="5" rx="2.5" />
            // two pixels wide, and whole at both ends
            if let Some(t) = threshold { <rect class="cut" x={percent(t * 0.99)} width="2" height="11" /> }
        </svg>
    }
}
