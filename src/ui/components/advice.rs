//! A threshold from normal pictures alone, with what it promises (conformal prediction).

use yew::prelude::*;

use super::header::session_action;
use super::shared::count;
use crate::app_state::Action;
use crate::app_state::learning::{Advised, Lesson};
use crate::ui::hooks::session::Session;

/// False-alarm rates that can be asked for.
const RATES: [(f64, &str); 4] = [(0.2, "20 %"), (0.1, "10 %"), (0.05, "5 %"), (0.01, "1 %")];

#[derive(Properties, PartialEq)]
pub struct AdviceProps {
    pub session: Session,
    pub normal: usize,
    pub advised: Option<Advised>,
}

#[component]
pub fn AdvicePanel(props: &AdviceProps) -> Html {
    html! {
        <section id="advice-panel" class="panel" aria-label="Advised threshold">
            <h2>{"A threshold from normal pictures alone"}</h2>
            <div class="steps">
                <span class="near">{"False alarms at most "}</span>
                {for RATES.iter().map(|&(rate, words)| html! {
                    <button type="button" class="small" data-testid="advise" data-rate={rate.to_string()} disabled={props.normal == 0}
                        onclick={session_action(&props.session, move || Action::Learning(Lesson::Advise(rate)))}>{words}</button>
                })}
            </div>
            {match props.advised.as_ref().map(|a| &a.advice) {
                None => html! { <p class="note">{format!("You have {} labelled; 1 % needs 99, 5 % needs 19, 10 % needs 9, 20 % needs 4.", count(props.normal, "normal picture"))}</p> },
                Some(Ok(a)) => html! {
                    <p class="note" data-testid="advice" data-threshold={a.threshold.to_string()} data-rate={a.false_alarm_rate.to_string()} data-normal={a.normal.to_string()}>
                        {format!("Set to {:.4}. Of normal pictures like your {}, at most {:.1} % will be called odd, on average over such sets of examples.", a.threshold, a.normal, 100.0 * a.false_alarm_rate)}
                        {" Where scores come from cross-validation, the promise holds only nearly."}
                    </p>
                },
                Some(Err(why)) => html! { <p class="note bad" role="alert" data-testid="advice">{why.clone()}</p> },
            }}
        </section>
    }
}
