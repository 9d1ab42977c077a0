//! What a first visitor sees: what to do, and samples one click away.

use yew::prelude::*;

use crate::ui::hooks::samples::Sample;

#[derive(Properties, PartialEq)]
pub struct EmptyProps {
    pub samples: Vec<Sample>,
    pub on_sample: Callback<Sample>,
    pub on_all: Callback<()>,
    pub on_tour: Callback<()>,
}

#[component]
pub fn Empty(props: &EmptyProps) -> Html {
    // one of each label: the first visit sees something normal beside something odd
    let mut featured: Vec<&Sample> = Vec::new();
    for sample in &props.samples {
        if featured.len() < 3 && featured.iter().all(|f| f.label != sample.label) {
            featured.push(sample);
        }
    }
    html! {
        <div class="empty" data-testid="empty">
            <p class="lead">
                <span class="by-mouse">{"Drop pictures or a folder anywhere, paste, or use the camera."}</span>
                <span class="by-touch">{"Add pictures, or use the camera."}</span>
            </p>
            <p class="near">{"Each gets a score from 0 (normal) to 1 (odd) by how well it fits what you call normal above."}</p>
            if !props.samples.is_empty() {
                <p class="near">{"Nothing at hand? Take one of ours:"}</p>
                <ul class="samples">
                    {for featured.into_iter().map(|s| html! {
                        <li>
                            <button type="button" data-testid="sample" data-name={s.file.clone()} title={s.alt.clone()}
                                onclick={props.on_sample.reform({ let s = s.clone(); move |_: MouseEvent| s.clone() })}>
                                <img src={s.address()} alt={s.alt.clone()} width="128" height="128" />
                                <span>{s.label.clone()}</span>
                            </button>
                        </li>
                    })}
                </ul>
                <span class="steps">
                    <button type="button" class="primary" data-testid="all-samples" onclick={props.on_all.reform(|_: MouseEvent| ())}>
                        {format!("Score all {} samples", props.samples.len())}
                    </button>
                    <button type="button" data-testid="start-tour" onclick={props.on_tour.reform(|_: MouseEvent| ())}>{"Take the tour"}</button>
                </span>
            }
        </div>
    }
}
