//! The pictures as a grid: keyed cards, put up some dozens a frame, so that a thousand of them never hold the page up.

use std::rc::Rc;

use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement};
use yew::prelude::*;

use super::card::Card;
use super::shared::Same;
use crate::app_state::Action;
use crate::app_state::picture::Picture;
use crate::protocol::ImageId;
use crate::ui::hooks::dom;
use crate::ui::hooks::session::Session;

/// New cards a frame: some 10 ms of work.
const CARDS_A_FRAME: usize = 40;

#[derive(Properties, PartialEq)]
pub struct GridProps {
    pub session: Session,
    pub pictures: Same<Vec<Rc<Picture>>>,
    pub threshold: f32,
    pub on_open: Callback<ImageId>,
    #[prop_or_default]
    pub children: Html,
}

#[component]
pub fn Grid(props: &GridProps) -> Html {
    let shown = use_state(|| CARDS_A_FRAME);
    let total = props.pictures.len();
    {
        let shown = shown.clone();
        use_effect_with((*shown, total), move |(now, total)| {
            let now = *now;
            if now < *total {
                dom::next_frame(move || shown.set(now + CARDS_A_FRAME));
            } else if now > total + 4 * CARDS_A_FRAME {
                // the grid was emptied: the next thousand is put up step by step again
                shown.set(total.next_multiple_of(CARDS_A_FRAME) + CARDS_A_FRAME);
            }
        });
    }
    let onkeydown = {
        let session = props.session.clone();
        Callback::from(move |e: KeyboardEvent| steer(&session, &e))
    };
    html! {
        <ul class="grid" aria-label="Pictures" {onkeydown}>
            {props.children.clone()}
            {for props.pictures.iter().take(*shown).map(|p| html! {
                <Card key={p.id.0} session={props.session.clone()} picture={Same(p.clone())}
                    odd={p.outcome().map(|o| o.score.is_anomalous(props.threshold))} on_open={props.on_open.clone()} />
            })}
        </ul>
    }
}

/// Arrows move between cards, Delete removes the one in focus.
fn steer(session: &Session, event: &KeyboardEvent) {
    let target: Element = event.target_unchecked_into();
    let Ok(Some(card)) = target.closest(".card[data-id]") else { return };
    match event.key().as_str() {
        "ArrowRight" => go(event, card.next_element_sibling()),
        "ArrowLeft" => go(event, card.previous_element_sibling()),
        "ArrowDown" => go(event, beside(&card, true)),
        "ArrowUp" => go(event, beside(&card, false)),
        "Delete" | "Backspace" => {
            event.prevent_default();
            let id = card.get_attribute("data-id").and_then(|id| id.parse().ok()).map(ImageId);
            let next = card.next_element_sibling().or_else(|| card.previous_element_sibling());
            if let Some(next) = next {
                focus(&next);
            }
            session.act(Action::Remove(id.into_iter().collect()));
        }
        _ => {}
    }
}

fn go(event: &KeyboardEvent, to: Option<Element>) {
    if let Some(card) = to.filter(|c| c.has_attribute("data-id")) {
        event.prevent_default();
        focus(&card);
    }
}

fn focus(card: &Element) {
    if let Ok(Some(button)) = card.query_selector("button")
        && let Ok(button) = button.dyn_into::<HtmlElement>()
    {
        let _ = button.focus();
    }
}

/// The card below (or above) in the same column.
fn beside(card: &Element, below: bool) -> Option<Element> {
    let place = card.get_bounding_client_rect();
    let mut next = if below { card.next_element_sibling() } else { card.previous_element_sibling() };
    while let Some(candidate) = next {
        let there = candidate.get_bounding_client_rect();
        if (there.left() - place.left()).abs() < 2.0 && (there.top() - place.top()).abs() > 2.0 {
            return Some(candidate);
        }
        next = if below { candidate.next_element_sibling() } else { candidate.previous_element_sibling() };
    }
    None
}
