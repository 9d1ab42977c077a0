//! The pictures as a grid. Every picture has its element, but only those near the screen are drawn (`app_state::window`), and
//! elements are put up one portion a frame, so that thousands of pictures never hold the page up. One listener serves all
//! cards, and one stop of the Tab key: arrows go from card to card (W3C ARIA Authoring Practices, roving tabindex).

use std::rc::Rc;

use wasm_bindgen::JsCast;
use web_sys::{Element, FocusOptions, HtmlElement};
use yew::prelude::*;

use super::card::{Card, Drawn};
use super::shared::Same;
use crate::app_state::Action;
use crate::app_state::learning::Lesson;
use crate::app_state::picture::Picture;
use crate::app_state::window::Window;
use crate::protocol::{ImageId, Kind};
use crate::ui::hooks::dom;
use crate::ui::hooks::session::Session;
use crate::ui::hooks::window::{reveal, use_window};

/// Cards put up in one frame: few enough to cost a fraction of it.
const PORTION: usize = 60;

#[derive(Properties, PartialEq)]
pub struct GridProps {
    pub session: Session,
    pub pictures: Same<Vec<Rc<Picture>>>,
    pub threshold: f32,
    pub on_open: Callback<ImageId>,
}

#[component]
pub fn Grid(props: &GridProps) -> Html {
    let pictures = &*props.pictures;
    let list = use_node_ref();
    let put_up = use_put_up(pictures.len());
    let window = use_window(&list);
    use_gaps(&list, window.gaps(pictures.len()));

    // the card that has or had the focus, and where it stood; its neighbour takes its place when it is gone
    let held = use_state_eq(|| (ImageId::default(), 0_usize));
    let current = pictures.iter().position(|p| p.id == held.0).unwrap_or(held.1.min(pictures.len().saturating_sub(1)));
    let walk =
        Walk { list: list.clone(), pictures: props.pictures.clone(), window: window.clone(), held: held.setter() };
    let onfocusin = {
        let walk = walk.clone();
        Callback::from(move |e: FocusEvent| walk.arrive(&e))
    };
    let onkeydown = {
        let (walk, session) = (walk.clone(), props.session.clone());
        Callback::from(move |e: KeyboardEvent| walk.steer(&session, &e))
    };
    let onclick = {
        let (session, on_open) = (props.session.clone(), props.on_open.clone());
        Callback::from(move |e: MouseEvent| press(&walk, &session, &on_open, &e))
    };
    let ondragstart = Callback::from(|e: DragEvent| {
        if let Some(id) = card_of(e.target()).and_then(|card| id_of(&card))
            && let Some(transfer) = e.data_transfer()
        {
            let _ = transfer.set_data(DRAGGED, &id.0.to_string());
        }
    });
    let drawn = window.places(pictures.len());
    html! {
        <ul ref={list} class="grid" aria-label="Pictures" {onfocusin} {onkeydown} {onclick} {ondragstart}>
            {for pictures.iter().take(put_up).enumerate().map(|(i, p)| {
                let here = drawn.contains(&i);
                let drawn = match i == current {
                    _ if here => Drawn::Here { place: i + 1, of: pictures.len() },
                    true => Drawn::Away,
                    false => Drawn::Not,
                };
                html! {
                    <Card key={p.id.0} picture={Same(p.clone())} {drawn} threshold={here.then_some(props.threshold)}
                        odd={p.outcome().map(|o| o.score.is_anomalous(props.threshold))} current={i == current} />
                }
            })}
        </ul>
    }
}

/// How many of `all` cards are put up: a portion more with every frame.
#[hook]
fn use_put_up(all: usize) -> usize {
    let put_up = use_state_eq(|| PORTION);
    {
        let put_up = put_up.clone();
        use_effect_with((*put_up, all), move |&(now, all)| {
            if now < all {
                dom::next_frame(move || put_up.set(now + PORTION));
            } else if now > all + PORTION {
                // the grid shrank: what comes next is put up in portions again
                put_up.set(all + PORTION);
            }
        });
    }
    *put_up
}

/// Leaves room above and below for the rows that are not drawn.
#[hook]
fn use_gaps(list: &NodeRef, gaps: (f64, f64)) {
    let list = list.clone();
    use_effect_with(gaps, move |(above, below)| {
        if let Some(list) = list.cast::<HtmlElement>() {
            let _ = list.style().set_property("padding-block", &format!("{above}px {below}px"));
        }
    });
}

fn id_of(card: &Element) -> Option<ImageId> {
    card.get_attribute("data-id").and_then(|id| id.parse().ok()).map(ImageId)
}

fn card_of(target: Option<web_sys::EventTarget>) -> Option<Element> {
    target?.dyn_into::<Element>().ok()?.closest(".card").ok().flatten()
}

/// A click on one of a card's buttons, which say what they do in `data-act`.
fn press(walk: &Walk, session: &Session, on_open: &Callback<ImageId>, event: &MouseEvent) {
    let Some(target) = event.target().and_then(|t| t.dyn_into::<Element>().ok()) else { return };
    let Ok(Some(button)) = target.closest("button[data-act]") else { return };
    let Some(id) = card_of(event.target()).and_then(|card| id_of(&card)) else { return };
    match button.get_attribute("data-act").as_deref() {
        Some("open") => on_open.emit(id),
        Some("remove") => walk.remove(session, id, "button.remove"),
        Some("retry") => session.act(Action::Retry(id)),
        Some("label-normal") => session.act(Action::Learning(Lesson::Toggle(id, Kind::Normal))),
        Some("label-outlier") => session.act(Action::Learning(Lesson::Toggle(id, Kind::Outlier))),
        Some("label-role") => session.act(Action::Learning(Lesson::ToggleRole(id))),
        _ => {}
    }
}

/// What a key says of a picture: N normal, O outlier, E example or judged only.
pub fn lesson_of(key: &str, id: ImageId) -> Option<Lesson> {
    match key {
        "n" | "N" => Some(Lesson::Toggle(id, Kind::Normal)),
        "o" | "O" => Some(Lesson::Toggle(id, Kind::Outlier)),
        "e" | "E" => Some(Lesson::ToggleRole(id)),
        _ => None,
    }
}

/// The type under which a card that is dragged says which it is.
pub const DRAGGED: &str = "application/x-oddlens-picture";

/// The keyboard's way through the grid.
#[derive(Clone)]
struct Walk {
    list: NodeRef,
    pictures: Same<Vec<Rc<Picture>>>,
    window: Rc<Window>,
    held: UseStateSetter<(ImageId, usize)>,
}

impl Walk {
    fn place(&self, id: ImageId) -> Option<usize> {
        self.pictures.iter().position(|p| p.id == id)
    }

    /// Something in the grid has got the focus.
    fn arrive(&self, event: &FocusEvent) {
        let Some(card) = card_of(event.target()) else { return };
        if let Some(place) = id_of(&card).and_then(|id| self.place(id)) {
            self.held.set((self.pictures[place].id, place));
            if card.matches(".away").unwrap_or_default() {
                reveal(&self.list, &self.window, place);
            }
        }
    }

    /// Arrows, Home and End move between cards, Delete removes the one in focus; N, O and E label it.
    fn steer(&self, session: &Session, event: &KeyboardEvent) {
        let Some(id) = card_of(event.target()).and_then(|card| id_of(&card)) else { return };
        let Some(place) = self.place(id).filter(|_| !(event.ctrl_key() || event.meta_key() || event.alt_key())) else {
            return;
        };
        let to = match event.key().as_str() {
            "ArrowRight" => Some(place + 1),
            "ArrowLeft" => place.checked_sub(1),
            "ArrowDown" => Some(place + self.window.columns()),
            "ArrowUp" => place.checked_sub(self.window.columns()),
            "Home" => Some(0),
            "End" => self.pictures.len().checked_sub(1),
            "Delete" | "Backspace" => {
                event.prevent_default();
                return self.remove(session, id, "button");
            }
            key => {
                if let Some(lesson) = lesson_of(key, id) {
                    event.prevent_default();
                    session.act(Action::Learning(lesson));
                }
                return;
            }
        };
        event.prevent_default();
        if let Some(to) = to.filter(|to| *to < self.pictures.len()) {
            self.go(to, "button");
        }
    }

    /// Gives the focus to the first such button of the card at `place`.
    fn go(&self, place: usize, button: &'static str) {
        let id = self.pictures[place].id;
        if self.window.places(self.pictures.len()).contains(&place) && focus(&self.list, id, button, false) {
            return;
        }
        // held, it will be drawn
        self.held.set((id, place));
        let walk = self.clone();
        dom::next_frame(move || {
            reveal(&walk.list, &walk.window, place);
            focus(&walk.list, id, button, true);
        });
    }

    /// The focus goes on to a neighbour, so that one after the other can be removed; from the last to where pictures are added.
    fn remove(&self, session: &Session, id: ImageId, button: &'static str) {
        let focused = card_of(dom::document().active_element().map(Into::into)).and_then(|card| id_of(&card));
        if focused == Some(id)
            && let Some(place) = self.place(id)
        {
            match [place + 1, place.wrapping_sub(1)].into_iter().find(|n| *n < self.pictures.len()) {
                Some(next) => self.go(next, button),
                None => dom::focus("pick-files"),
            }
        }
        session.act(Action::Remove(vec![id]));
    }
}

/// Is there such a button in the card of `id`? Then it has the focus now.
fn focus(list: &NodeRef, id: ImageId, button: &str, stay: bool) -> bool {
    let options = FocusOptions::new();
    options.set_prevent_scroll(stay);
    let found =
        list.cast::<Element>().and_then(|list| list.query_selector(&format!("[data-id='{}'] {button}", id.0)).ok()?);
    found.and_then(|b| b.dyn_into::<HtmlElement>().ok()).is_some_and(|b| b.focus_with_options(&options).is_ok())
}
