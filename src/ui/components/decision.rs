//! The decision: how scores are spread, and where normal ends. The threshold can be typed, slid, or dragged in the plot.

use web_sys::{Element, HtmlInputElement, PointerEvent};
use yew::prelude::*;

use super::header::last_action;
use crate::app_state::Action;
use crate::app_state::view::Counts;
use crate::ui::hooks::session::Session;

/// Parts of the histogram.
pub const BINS: usize = 20;
const WIDTH: f32 = 320.0;
const BASE: f32 = 108.0;
const TALLEST: f32 = 96.0;

#[derive(Properties, PartialEq)]
pub struct DecisionProps {
    pub session: Session,
    /// Pictures in each part of 0 to 1: without a label, normal, outliers.
    pub histogram: Vec<[usize; 3]>,
    pub counts: Counts,
    pub threshold: f32,
    /// The person's own, or one that a link set.
    pub chosen: bool,
    /// The threshold that belongs to the method, and how it was found.
    pub default: Option<(f32, String)>,
}

#[component]
pub fn Decision(props: &DecisionProps) -> Html {
    let dragging = use_mut_ref(|| false);
    // on a phone the decision is a strip at the bottom of the screen until it is unfolded
    let unfolded = use_state(|| false);
    let unfold = {
        let unfolded = unfolded.clone();
        Callback::from(move |_: MouseEvent| unfolded.set(!*unfolded))
    };
    let set = {
        let session = props.session.clone();
        move |t: f32| cut_at(&session, t)
    };
    // Yew hears events at the app's root, so an event's current target is never the plot
    let plot = use_node_ref();
    let at = {
        let plot = plot.clone();
        move |e: &PointerEvent| -> Option<f32> {
            let place = plot.cast::<Element>()?.get_bounding_client_rect();
            (place.width() > 0.0).then(|| ((f64::from(e.client_x()) - place.left()) / place.width()) as f32)
        }
    };
    let onpointerdown = {
        let (dragging, set, at, plot) = (dragging.clone(), set.clone(), at.clone(), plot.clone());
        Callback::from(move |e: PointerEvent| {
            if let Some(t) = at(&e) {
                *dragging.borrow_mut() = true;
                if let Some(plot) = plot.cast::<Element>() {
                    let _ = plot.set_pointer_capture(e.pointer_id());
                }
                set(t);
            }
        })
    };
    let onpointermove = {
        let (dragging, set) = (dragging.clone(), set.clone());
        Callback::from(move |e: PointerEvent| {
            if *dragging.borrow()
                && let Some(t) = at(&e)
            {
                set(t);
            }
        })
    };
    let onpointerup = Callback::from(move |_: PointerEvent| *dragging.borrow_mut() = false);
    let slide = {
        let set = set.clone();
        Callback::from(move |e: InputEvent| {
            if let Ok(t) = e.target_unchecked_into::<HtmlInputElement>().value().parse() {
                set(t);
            }
        })
    };
    let labelled = props.histogram.iter().any(|[_, normal, outliers]| normal + outliers > 0);
    let tallest = props.histogram.iter().map(|n| n.iter().sum::<usize>()).max().unwrap_or(0).max(1) as f32;
    let x = (props.threshold * WIDTH).clamp(0.0, WIDTH);
    let label_x = x.clamp(34.0, WIDTH - 34.0);
    let width = WIDTH / BINS as f32;
    let bars = props.histogram.iter().enumerate().filter(|(_, n)| n.iter().sum::<usize>() > 0).map(|(i, parts)| {
        let middle = (i as f32 + 0.5) / BINS as f32;
        let verdict = if middle > props.threshold { "odd-bar" } else { "normal-bar" };
        // labels tell more than the verdict: where there are some, colours are theirs
        let classes = if labelled { ["plain-bar", "normal-bar", "odd-bar"] } else { [verdict; 3] };
        let mut base = BASE;
        html! {
            <>{for [1, 2, 0].into_iter().filter(|&part| parts[part] > 0).map(|part| {
                // even one picture must be seen
                let height = (parts[part] as f32 / tallest * TALLEST).max(3.0);
                base -= height;
                html! {
                    <rect class={classes[part]} x={(i as f32 * width + 1.0).to_string()} y={base.to_string()}
                        width={(width - 2.0).to_string()} height={height.to_string()} />
                }
            })}</>
        }
    });
    let counts = props.counts;
    let scored = counts.odd + counts.normal;
    let summary = format!(
        "Histogram of {scored} scores: {} normal and {} odd at threshold {:.2}",
        counts.normal, counts.odd, props.threshold
    );
    html! {
        <section class={classes!("panel", "decision", (counts.all > 0).then_some("docked"), unfolded.then_some("unfolded"))}
            id="decision" aria-label="Decision">
            <h2>{"Decision"}</h2>
            <button type="button" class="quiet unfold" aria-expanded={unfolded.to_string()} aria-label="All about the decision"
                onclick={unfold}>{if *unfolded { "▾" } else { "▴" }}</button>
            <svg ref={plot} class="histogram" data-testid="histogram" viewBox="0 0 320 132" role="img" aria-label={summary}
                {onpointerdown} {onpointermove} onpointerup={onpointerup.clone()} onpointercancel={onpointerup}>
                <rect class="catch" width="320" height="132" />
                <line class="base" x1="0" x2="320" y1={BASE.to_string()} y2={BASE.to_string()} />
                {for bars}
                <line class="cut" x1={x.to_string()} x2={x.to_string()} y1="4" y2={BASE.to_string()} />
                if scored == 0 { <text class="axis hint" x="160" y="60" text-anchor="middle">{"scores will appear here"}</text> }
                <circle class="knob" cx={x.to_string()} cy={BASE.to_string()} r="7" />
                if label_x > 92.0 { <text class="axis" x="0" y="129">{"0 normal"}</text> }
                <text class="axis strong" x={label_x.to_string()} y="129" text-anchor="middle">{format!("{:.2}", props.threshold)}</text>
                if label_x < WIDTH - 80.0 { <text class="axis" x="320" y="129" text-anchor="end">{"odd 1"}</text> }
            </svg>
            <input type="range" class="slide" min="0" max="1" step="0.005" value={props.threshold.to_string()}
                data-testid="threshold-slider" aria-label="Threshold" oninput={slide} />
            <ThresholdField session={props.session.clone()} threshold={props.threshold} />
            if labelled {
                <p class="note key"><span class="swatch normal-bar"></span>{"labelled normal "}<span class="swatch odd-bar"></span>{"labelled outlier "}<span class="swatch plain-bar"></span>{"no label"}</p>
            }
            <div class="tally">
                <span class="is-normal"><b class="verdict">{"● normal"}</b>{format!(" {}", counts.normal)}</span>
                <span class="is-odd"><b class="verdict">{"▲ odd"}</b>{format!(" {}", counts.odd)}</span>
            </div>
            <p class="note">
                if props.chosen {
                    {"Your own threshold. "}
                    <button type="button" class="small" data-testid="threshold-reset"
                        onclick={last_action(&props.session, "threshold", || Action::SetThreshold(None))}>
                        {props.default.as_ref().map_or("Reset".into(), |(t, _)| format!("Back to {}", (t * 1000.0).round() / 1000.0))}
                    </button>
                } else if let Some((_, source)) = &props.default {
                    {source.clone()}
                } else {
                    {"A score above it is odd."}
                }
            </p>
            if scored > 0 {
                <details>
                    <summary>{"As a table"}</summary>
                    <table>
                        <thead><tr><th scope="col">{"Score"}</th><th scope="col">{"pictures"}</th>
                            if labelled { <th scope="col">{"normal"}</th><th scope="col">{"outliers"}</th> }</tr></thead>
                        <tbody>
                            {for props.histogram.iter().enumerate().filter(|(_, n)| n.iter().sum::<usize>() > 0).map(|(i, n)| html! {
                                <tr><td>{format!("{:.2} to {:.2}", i as f32 / BINS as f32, (i + 1) as f32 / BINS as f32)}</td><td>{n.iter().sum::<usize>()}</td>
                                    if labelled { <td>{n[1]}</td><td>{n[2]}</td> }</tr>
                            })}
                        </tbody>
                    </table>
                </details>
            }
        </section>
    }
}

/// Sets the threshold to thousandths.
fn cut_at(session: &Session, t: f32) {
    session.act(Action::SetThreshold(Some((t.clamp(0.0, 1.0) * 1000.0).round() / 1000.0)));
}

/// A threshold as people type it, with a point or a comma; `None`: no number from 0 to 1.
fn typed(text: &str) -> Option<f32> {
    text.trim().replace(',', ".").parse().ok().filter(|t| (0.0..=1.0).contains(t))
}

#[derive(Properties, PartialEq)]
struct ThresholdFieldProps {
    session: Session,
    threshold: f32,
}

/// The threshold in digits, and steps up and down. It leaves alone what is being typed, and says what is wrong with it.
#[component]
fn ThresholdField(props: &ThresholdFieldProps) -> Html {
    let draft = use_state(|| None::<String>);
    let oninput = {
        let (session, draft) = (props.session.clone(), draft.clone());
        Callback::from(move |e: InputEvent| {
            let text = e.target_unchecked_into::<HtmlInputElement>().value();
            if let Some(t) = typed(&text) {
                session.act(Action::SetThreshold(Some(t)));
            }
            draft.set(Some(text));
        })
    };
    let onblur = {
        let draft = draft.clone();
        Callback::from(move |_: FocusEvent| draft.set(None))
    };
    let step = {
        let (session, draft) = (props.session.clone(), draft.clone());
        Callback::from(move |by: f32| {
            let now = session.state().threshold_in_use();
            cut_at(&session, now + by);
            draft.set(None);
        })
    };
    let onkeydown = {
        let step = step.clone();
        Callback::from(move |e: KeyboardEvent| {
            let by = match e.key().as_str() {
                "ArrowUp" => 0.01,
                "ArrowDown" => -0.01,
                _ => return,
            };
            e.prevent_default();
            step.emit(by);
        })
    };
    // what is typed is in use before it comes down as a property
    let in_use = props.session.state().threshold_in_use();
    // a draft that says something else than the threshold in use is old: the slider moved
    let text = draft.as_ref().filter(|text| typed(text).is_none_or(|t| t == in_use));
    let value = text.cloned().unwrap_or_else(|| format!("{}", (in_use * 1000.0).round() / 1000.0));
    // a lone point or comma is how one begins
    let refused = text.filter(|text| typed(text).is_none() && !text.trim_matches([' ', '.', ',']).is_empty());
    html! {
        <>
            <div class="row threshold">
                <label for="threshold">{"Threshold"}</label>
                <span class="steps">
                    <button type="button" aria-label="Lower the threshold" onclick={step.reform(|_: MouseEvent| -0.01)}>{"−"}</button>
                    // not of type number, in which a comma is a matter of the browser's language
                    <input id="threshold" type="text" role="spinbutton" aria-label="Threshold" data-testid="threshold" aria-valuemin="0"
                        aria-valuemax="1" aria-valuenow={in_use.to_string()} aria-invalid={refused.is_some().to_string()} inputmode="decimal"
                        autocomplete="off" maxlength="12" {value} {oninput} {onblur} {onkeydown} />
                    <button type="button" aria-label="Raise the threshold" onclick={step.reform(|_: MouseEvent| 0.01)}>{"+"}</button>
                </span>
            </div>
            if let Some(refused) = refused {
                <p class="refused bad" role="alert" data-testid="threshold-refused">{format!("expected 0 to 1, got {refused}")}</p>
            }
        </>
    }
}
