//! The two shelves: normal pictures and outliers. Cards and files can be dropped on them; keys and buttons on cards do the same.

use yew::prelude::*;

use super::header::{last_action, session_action};
use super::shared::count;
use crate::app_state::Action;
use crate::app_state::learning::Lesson;
use crate::protocol::{Kind, LabelCounts};
use crate::ui::hooks::session::Session;

#[derive(Properties, PartialEq)]
pub struct ShelvesProps {
    pub session: Session,
    pub on_tour: Callback<()>,
    pub counts: LabelCounts,
}

#[component]
pub fn Shelves(props: &ShelvesProps) -> Html {
    let c = props.counts;
    let labelled = c.normal_examples + c.normal_judged + c.outlier_examples + c.outlier_judged;
    let lesson = |lesson: fn() -> Lesson| session_action(&props.session, move || Action::Learning(lesson()));
    html! {
        <section class="panel" aria-label="Labels">
            <h2>{"Labels"}</h2>
            <div class="shelves">
                {shelf("normal", "● normal", "N", c.normal_examples, c.normal_judged)}
                {shelf("outlier", "▲ outliers", "O", c.outlier_examples, c.outlier_judged)}
            </div>
            <p class="note by-touch">
                {"Tap ● or ▲ on a card. A third button there makes it an example to learn from, or one that is judged only."}
            </p>
            <p class="note by-mouse">
                {"Drop cards or files on a shelf, press N or O on a card, or bring folders named "}
                <code>{"normal/"}</code>{" and "}<code>{"anomalous/"}</code>{", or after classes. "}
                {"E makes a card an example to learn from, or one that is judged only."}
            </p>
            <div class="steps">
                if labelled > 0 {
                    <button type="button" class="small" data-testid="deal" title="Every second labelled picture is never learned from"
                        onclick={lesson(|| Lesson::Deal(true))}>{"Keep half for judging"}</button>
                    if c.normal_judged + c.outlier_judged > 0 {
                        <button type="button" class="small" data-testid="deal-none" onclick={lesson(|| Lesson::Deal(false))}>{"Learn from all"}</button>
                    }
                    <button type="button" class="small quiet" data-testid="unlabel"
                        onclick={last_action(&props.session, "start-tour", || Action::Learning(Lesson::Unlabel))}>{"Remove labels"}</button>
                }
                <button type="button" class="small quiet" data-testid="start-tour" onclick={props.on_tour.reform(|_: MouseEvent| ())}>{"Take the tour"}</button>
            </div>
        </section>
    }
}

fn shelf(kind: &'static str, name: &'static str, key: &'static str, examples: usize, judged: usize) -> Html {
    html! {
        <div class={classes!("shelf", format!("is-{}", if kind == "normal" { "normal" } else { "odd" }))} data-testid="shelf" data-kind={kind}
            data-examples={examples.to_string()} data-judged={judged.to_string()} role="group" aria-label={format!("Shelf: {name}")}>
            <b class="verdict">{name}</b>{" "}<kbd class="by-mouse">{key}</kbd>
            <div>{count(examples, "example")}</div>
            <div class="near">{format!("{judged} judged only")}</div>
        </div>
    }
}

/// The kind that a shelf's `data-kind` names.
pub fn shelf_kind(name: &str) -> Option<Kind> {
    match name {
        "normal" => Some(Kind::Normal),
        "outlier" => Some(Kind::Outlier),
        _ => None,
    }
}
