//! The pictures as a grid. Cards are put up in chunks, one a frame, and a chunk is looked at again only when one of its
//! pictures changed, so that a thousand pictures never hold the page up. One listener serves all cards.

use std::rc::Rc;

use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement};
use yew::prelude::*;

use super::card::card;
use super::shared::Same;
use crate::app_state::Action;
use crate::app_state::picture::Picture;
use crate::app_state::view::{Filter, Sort};
use crate::protocol::ImageId;
use crate::ui::hooks::dom;
use crate::ui::hooks::session::Session;

/// Cards in a chunk: few enough that a new chunk costs a fraction of a frame.
const CHUNK: usize = 24;

#[derive(Properties, PartialEq)]
pub struct GridProps {
    pub session: Session,
    pub pictures: Same<Vec<Rc<Picture>>>,
    pub threshold: f32,
    /// In another arrangement most cards stand elsewhere: they are put up anew, step by step, rather than moved at once.
    pub arrangement: (Sort, Filter),
    pub on_open: Callback<ImageId>,
    #[prop_or_default]
    pub children: Html,
}

#[component]
pub fn Grid(props: &GridProps) -> Html {
    let put_up = use_state(|| (props.arrangement, 1_usize));
    let shown = if put_up.0 == props.arrangement { put_up.1 } else { 1 };
    let chunks = props.pictures.len().div_ceil(CHUNK);
    {
        let put_up = put_up.clone();
        use_effect_with((props.arrangement, shown, chunks), move |(arrangement, now, chunks)| {
            let (arrangement, now) = (*arrangement, *now);
            if now < *chunks {
                dom::next_frame(move || put_up.set((arrangement, now + 1)));
            } else if now > *chunks + 1 {
                // the grid shrank: what comes next is put up step by step again
                put_up.set((arrangement, *chunks + 1));
            }
        });
    }
    let onkeydown = {
        let session = props.session.clone();
        Callback::from(move |e: KeyboardEvent| steer(&session, &e))
    };
    let onclick = {
        let (session, on_open) = (props.session.clone(), props.on_open.clone());
        Callback::from(move |e: MouseEvent| press(&session, &on_open, &e))
    };
    html! {
        <ul class="grid" aria-label="Pictures" {onkeydown} {onclick}>
            {props.children.clone()}
            // a list of its own: beside a child without a key it would be matched by place, and put up anew
            <>
                {for props.pictures.chunks(CHUNK).take(shown).enumerate().map(|(i, pictures)| html! {
                    <Chunk key={format!("{:?} {i}", props.arrangement)}
                        cards={pictures.iter().map(|p| (Same(p.clone()), p.outcome().map(|o| o.score.is_anomalous(props.threshold)))).collect::<Vec<_>>()} />
                })}
            </>
        </ul>
    }
}

#[derive(Properties, PartialEq)]
struct ChunkProps {
    /// Pictures with their verdicts (`None`: not scored).
    cards: Vec<(Same<Picture>, Option<bool>)>,
}

#[component]
fn Chunk(props: &ChunkProps) -> Html {
    html! { {for props.cards.iter().map(|(picture, odd)| card(picture, *odd))} }
}

fn id_of(card: &Element) -> Option<ImageId> {
    card.get_attribute("data-id").and_then(|id| id.parse().ok()).map(ImageId)
}

/// A click on one of a card's buttons, which say what they do in `data-act`.
fn press(session: &Session, on_open: &Callback<ImageId>, event: &MouseEvent) {
    let Some(target) = event.target().and_then(|t| t.dyn_into::<Element>().ok()) else { return };
    let Ok(Some(button)) = target.closest("button[data-act]") else { return };
    let Some(id) = button.closest(".card[data-id]").ok().flatten().and_then(|card| id_of(&card)) else { return };
    match button.get_attribute("data-act").as_deref() {
        Some("open") => on_open.emit(id),
        Some("remove") => session.act(Action::Remove(vec![id])),
        Some("retry") => session.act(Action::Retry(id)),
        _ => {}
    }
}

/// Arrows move between cards, Delete removes the one in focus.
fn steer(session: &Session, event: &KeyboardEvent) {
    let Some(target) = event.target().and_then(|t| t.dyn_into::<Element>().ok()) else { return };
    let Ok(Some(card)) = target.closest(".card[data-id]") else { return };
    match event.key().as_str() {
        "ArrowRight" => go(event, card.next_element_sibling()),
        "ArrowLeft" => go(event, card.previous_element_sibling()),
        "ArrowDown" => go(event, beside(&card, true)),
        "ArrowUp" => go(event, beside(&card, false)),
        "Delete" | "Backspace" => {
            event.prevent_default();
            let next = card.next_element_sibling().or_else(|| card.previous_element_sibling());
            if let Some(next) = next {
                focus(&next);
            }
            session.act(Action::Remove(id_of(&card).into_iter().collect()));
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
    let step = |c: &Element| if below { c.next_element_sibling() } else { c.previous_element_sibling() };
    let place = card.get_bounding_client_rect();
    let mut next = step(card);
    while let Some(candidate) = next {
        let there = candidate.get_bounding_client_rect();
        if (there.left() - place.left()).abs() < 2.0 && (there.top() - place.top()).abs() > 2.0 {
            return Some(candidate);
        }
        next = step(&candidate);
    }
    None
}
