//! The benchmarks' class lists: one click says what is normal in one-vs-rest or leave-one-out.

use yew::prelude::*;

use super::header::session_action;
use crate::app_state::Action;
use crate::app_state::presets::{Arrangement, BENCHMARKS, readable};
use crate::ui::hooks::session::Session;

#[derive(Properties, PartialEq)]
pub struct PresetsProps {
    pub session: Session,
}

#[component]
pub fn Presets(props: &PresetsProps) -> Html {
    let benchmark = use_state(|| 0_usize);
    let arrangement = use_state(|| Arrangement::OneVsRest);
    let chosen = &BENCHMARKS[*benchmark];
    let pick_benchmark = |i: usize| {
        let benchmark = benchmark.clone();
        Callback::from(move |_: Event| benchmark.set(i))
    };
    let pick_arrangement = |a: Arrangement| {
        let arrangement = arrangement.clone();
        Callback::from(move |_: Event| arrangement.set(a))
    };
    let arrangements = [
        (Arrangement::OneVsRest, "one-vs-rest", "One class is normal"),
        (Arrangement::LeaveOneOut, "leave-one-out", "All but one are normal"),
    ];
    let key = arrangements.iter().find(|(a, ..)| *a == *arrangement).map_or("", |(_, key, _)| key);
    html! {
        <section class="drawer" aria-label="Presets">
            <h2>{"Presets"}</h2>
            <div class="choices">
                <fieldset>
                    <legend>{"Benchmark"}</legend>
                    {for BENCHMARKS.iter().enumerate().map(|(i, b)| html! {
                        <label><input type="radio" name="benchmark" value={b.id} checked={i == *benchmark}
                            onchange={pick_benchmark(i)} />{" "}{b.name}</label>
                    })}
                </fieldset>
                <fieldset>
                    <legend>{"Arrangement"}</legend>
                    {for arrangements.iter().map(|(a, key, words)| html! {
                        <label><input type="radio" name="arrangement" value={*key} checked={*a == *arrangement}
                            onchange={pick_arrangement(*a)} />{" "}{*words}<span class="near">{format!(" ({key})")}</span></label>
                    })}
                </fieldset>
            </div>
            <p class="note">
                {if *arrangement == Arrangement::OneVsRest { "Choose the one that is normal:" } else { "Choose the one that is not normal:" }}
            </p>
            <div class="names">
                {for chosen.classes.iter().enumerate().map(|(i, name)| {
                    let (b, a) = (*benchmark, *arrangement);
                    let set = session_action(&props.session, move || Action::SetNormal(BENCHMARKS[b].normal(a, i)));
                    html! {
                        <button type="button" class="small" data-testid="preset" data-benchmark={chosen.id}
                            data-arrangement={key} data-class={*name} onclick={set}>{readable(name)}</button>
                    }
                })}
            </div>
        </section>
    }
}
