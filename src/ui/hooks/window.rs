//! [`use_window`]: looks which rows of a grid are on the screen, whenever that may have changed.

use std::cell::Cell;
use std::rc::Rc;

use web_sys::Element;
use yew::prelude::*;

use super::dom;
use crate::app_state::window::{Look, Window};

/// The window of the grid `list`, whose first items are drawn and of equal height.
#[hook]
pub fn use_window(list: &NodeRef) -> Rc<Window> {
    let window = use_state_eq(|| Rc::new(Window::default()));
    // a look is taken once a frame; it needs the newest window, not the one of the render that made the closure
    let newest = use_mut_ref(|| window.clone());
    newest.replace(window.clone());
    let ask = use_memo((), |()| {
        let (list, asked) = (list.clone(), Rc::new(Cell::new(false)));
        move || {
            if !asked.replace(true) {
                let (list, asked, newest) = (list.clone(), asked.clone(), newest.clone());
                dom::next_frame(move || {
                    asked.set(false);
                    if let Some(look) = list.cast::<Element>().and_then(|list| look(&list)) {
                        let window = newest.borrow().clone();
                        window.set(Rc::new(window.after(look)));
                    }
                });
            }
        }
    });
    {
        let ask = ask.clone();
        // the grid itself may have moved or changed
        use_effect(move || ask());
    }
    use_effect_with((), move |()| {
        let listen = |event| {
            let ask = ask.clone();
            dom::listen(&dom::window(), event, move |_| ask())
        };
        let listeners = (listen("scroll"), listen("resize"));
        move || drop(listeners)
    });
    (*window).clone()
}

fn look(list: &Element) -> Option<Look> {
    let style = dom::window().get_computed_style(list).ok().flatten()?;
    let pixels = |name: &str| style.get_property_value(name).ok()?.trim_end_matches("px").parse::<f64>().ok();
    let columns = style.get_property_value("grid-template-columns").ok()?.split_whitespace().count();
    let item = list.query_selector(":scope > :not([hidden], .away)").ok().flatten()?;
    let pitch = item.get_bounding_client_rect().height() + pixels("row-gap").unwrap_or(0.0);
    let screen = dom::window().inner_height().ok()?.as_f64()?;
    (pitch > 1.0 && columns > 0).then(|| Look { top: list.get_bounding_client_rect().top(), screen, pitch, columns })
}

/// Scrolls so that the row of `place` stands in the middle of the screen.
pub fn reveal(list: &NodeRef, window: &Window, place: usize) {
    if let Some(list) = list.cast::<Element>()
        && let Some(screen) = dom::window().inner_height().ok().and_then(|h| h.as_f64())
    {
        let row = list.get_bounding_client_rect().top() + window.offset(place);
        dom::window().scroll_by_with_x_and_y(0.0, row - (screen - window.pitch()) / 2.0);
    }
}
