//! One picture's card: small image, score, verdict in words and sign, nearest class.

use yew::prelude::*;

use super::shared::{Same, bytes, verdict};
use crate::app_state::Action;
use crate::app_state::export;
use crate::app_state::picture::{Phase, Picture};
use crate::app_state::presets::readable;
use crate::protocol::{Decoder, ImageId};
use crate::ui::hooks::session::Session;

#[derive(Properties, PartialEq)]
pub struct CardProps {
    pub session: Session,
    pub picture: Same<Picture>,
    /// `None`: not scored.
    pub odd: Option<bool>,
    pub on_open: Callback<ImageId>,
}

#[component]
pub fn Card(props: &CardProps) -> Html {
    let p = &*props.picture;
    let id = p.id;
    let open = props.on_open.reform(move |_: MouseEvent| id);
    let act = |action: Action| {
        let session = props.session.clone();
        Callback::from(move |_: MouseEvent| session.act(action.clone()))
    };
    let image = match &p.thumbnail {
        Some(address) => {
            html! { <img class="pic" src={address.to_string()} alt="" loading="lazy" decoding="async" draggable="false" /> }
        }
        None => html! { <div class="pic" /> },
    };
    let score = p.outcome().map(|o| o.score.value.to_string());
    let verdict_word = props.odd.map(export::verdict);
    let class = match (&p.phase, props.odd) {
        (Phase::Failed { .. }, _) => "fail",
        (_, Some(true)) => "is-odd",
        (_, Some(false)) => "is-normal",
        _ => "wait",
    };
    let body = match &p.phase {
        Phase::Queued | Phase::Scoring { .. } => {
            let what = if matches!(p.phase, Phase::Queued) { "waiting" } else { "scoring…" };
            html! {
                <div class="open">
                    {image}
                    <div class="foot"><div class="row"><span class="near name">{&*p.name}</span></div><div class="near">{what}</div></div>
                </div>
            }
        }
        Phase::Failed { message, .. } => html! {
            <div class="open">
                <div class="foot">
                    <div class="row"><b class="bad">{"Not scored"}</b><span class="near">{bytes(p.bytes)}</span></div>
                    <div class="near name">{&*p.name}</div>
                    <div class="why">{&**message}</div>
                    <button type="button" class="small" data-testid="retry" onclick={act(Action::Retry(id))}>{"Try again"}</button>
                </div>
            </div>
        },
        Phase::Done(outcome) => {
            let odd = props.odd.unwrap_or_default();
            let value = outcome.score.value;
            let nearest = readable(outcome.nearest());
            let label = format!(
                "{}: score {value:.2}, {}, nearest {nearest}. Details",
                p.name,
                if odd { "odd" } else { "normal" }
            );
            html! {
                <button type="button" class="open" aria-label={label} onclick={open}>
                    {image}
                    if outcome.picture.decoder == Decoder::Browser {
                        <span class="tag" title="Decoded by the browser: other browsers may see slightly different pixels">{"browser"}</span>
                    }
                    <span class="foot">
                        <span class="row">
                            <span class="score">{format!("{value:.2}")}</span>
                            <span class="verdict">{verdict(odd)}</span>
                        </span>
                        <span class="near name" title={p.name.to_string()}>{&*p.name}</span>
                        <span class="near">{"nearest: "}{nearest}</span>
                        <Meter {value} />
                    </span>
                </button>
            }
        }
    };
    html! {
        <li class={classes!("card", class)} data-testid="result" data-id={id.0.to_string()} data-name={p.name.to_string()}
            data-state={p.phase_name()} data-score={score} data-verdict={verdict_word}>
            {body}
            <button type="button" class="remove" data-testid="remove" aria-label={format!("Remove {}", p.name)}
                onclick={act(Action::Remove(vec![id]))}>{"×"}</button>
        </li>
    }
}

#[derive(Properties, PartialEq)]
pub struct MeterProps {
    /// 0 to 1.
    pub value: f32,
}

/// A bar for a score; the mark on it is the threshold (a custom property of the page's root).
#[component]
pub fn Meter(props: &MeterProps) -> Html {
    html! {
        <span class="meter" aria-hidden="true">
            <svg width="100%" height="5"><rect class="fill" width={format!("{:.1}%", props.value * 100.0)} height="5" rx="2.5" /></svg>
        </span>
    }
}
