//! One picture's card: small image, score, verdict in words and sign, nearest class. Plain markup without components or
//! listeners of its own, because there are a thousand of them; its buttons say in `data-act` what they do.

use yew::prelude::*;

use super::shared::verdict;
use crate::app_state::export;
use crate::app_state::picture::{Phase, Picture};
use crate::app_state::presets::readable;
use crate::protocol::Decoder;

/// The card of `picture`; `odd` is its verdict (`None`: not scored).
pub fn card(picture: &Picture, odd: Option<bool>) -> Html {
    let p = picture;
    let name = AttrValue::from(p.name.clone());
    let class = match (&p.phase, odd) {
        (Phase::Failed { .. }, _) => "card fail",
        (_, Some(true)) => "card is-odd",
        (_, Some(false)) => "card is-normal",
        _ => "card wait",
    };
    let image = match &p.thumbnail {
        Some(address) => html! {
            <img class="pic" src={AttrValue::from(address.clone())} alt="" loading="lazy" decoding="async" draggable="false" />
        },
        None => html! { <div class="pic" /> },
    };
    let body = match &p.phase {
        Phase::Queued | Phase::Scoring { .. } => {
            let what = if matches!(p.phase, Phase::Queued) { "waiting" } else { "scoring…" };
            html! {
                <div class="open">
                    {image}
                    <div class="foot"><span class="near">{name.clone()}</span><span class="near">{what}</span></div>
                </div>
            }
        }
        Phase::Failed { message, .. } => html! {
            <div class="open">
                <div class="foot">
                    <b class="bad">{"✕ not scored"}</b>
                    <div class="near name">{name.clone()}</div>
                    <div class="why">{&**message}</div>
                    <button type="button" class="small" data-testid="retry" data-act="retry">{"Try again"}</button>
                </div>
            </div>
        },
        Phase::Done(outcome) => {
            let odd = odd.unwrap_or_default();
            let value = outcome.score.value;
            let nearest = readable(outcome.nearest());
            html! {
                <button type="button" class="open" data-act="open">
                    {image}
                    if outcome.picture.decoder == Decoder::Browser {
                        <span class="tag" title="Decoded by the browser: other browsers may see slightly different pixels">{"browser"}</span>
                    }
                    <span class="foot">
                        <span class="row">
                            <span class="score">{format!("{value:.2}")}</span>
                            <span class="verdict">{verdict(odd)}</span>
                        </span>
                        <span class="near name" title={name.clone()}>{name.clone()}</span>
                        <span class="near">{format!("nearest: {nearest}")}</span>
                        {meter(value)}
                    </span>
                </button>
            }
        }
    };
    html! {
        <li key={p.id.0} {class} data-testid="result" data-id={p.id.0.to_string()} data-name={name.clone()}
            data-state={p.phase_name()} data-score={p.outcome().map(|o| o.score.value.to_string())}
            data-verdict={odd.map(export::verdict)}>
            {body}
            <button type="button" class="remove" data-testid="remove" data-act="remove" aria-label={format!("Remove {name}")}>{"×"}</button>
        </li>
    }
}

/// A bar for a score of 0 to 1; the mark on it is the threshold (a custom property of the page's root).
pub fn meter(value: f32) -> Html {
    html! {
        <span class="meter" aria-hidden="true">
            <svg width="100%" height="5"><rect class="fill" width={format!("{:.1}%", value * 100.0)} height="5" rx="2.5" /></svg>
        </span>
    }
}
