//! The paper's two questions, asked of the visitor's own pictures: how much do few outliers teach, and which single one teaches most?

use std::rc::Rc;

use web_sys::HtmlSelectElement;
use yew::prelude::*;

use super::methods::{begin, progress};
use super::shared::Same;
use crate::app_state::learning::{DRAWS, Lesson, Running, Search, Work, standard_curve};
use crate::app_state::picture::Picture;
use crate::protocol::{CurvePoint, LabelCounts, MethodInfo};
use crate::ui::hooks::session::Session;

const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 34.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 44.0;
/// Pictures shown at both ends of the search.
const SHOWN: usize = 4;

#[derive(Properties, PartialEq)]
pub struct CurvePanelProps {
    pub session: Session,
    pub methods: Vec<MethodInfo>,
    pub counts: LabelCounts,
    pub points: Same<[CurvePoint]>,
    pub running: Option<Running>,
}

/// The few-shot curve.
#[component]
pub fn CurvePanel(props: &CurvePanelProps) -> Html {
    let chosen = use_state(|| None::<Vec<String>>);
    // all that learn from outliers, and the first of all beside them
    let offered: Vec<&MethodInfo> = props
        .methods
        .iter()
        .enumerate()
        .filter(|(i, m)| *i == 0 || m.needs.outlier_examples > 0)
        .map(|(_, m)| m)
        .collect();
    let picked = (*chosen).clone().unwrap_or_else(|| standard_curve(&props.methods));
    let start = {
        let picked = picked.clone();
        begin(&props.session, move || Lesson::Curve(picked.clone()))
    };
    let running = props.running.as_ref().filter(|r| r.what == Work::Curve);
    let least = props.counts.normal_examples > 1 && props.counts.outlier_examples > 0;
    html! {
        <section id="curve-panel" class="panel" aria-label="Few-shot curve">
            <h2>{"How much do few outliers teach?"}</h2>
            <fieldset class="checks">
                <legend class="visually-hidden">{"Methods on the curve"}</legend>
                {for offered.iter().map(|m| {
                    let (id, picked_now, chosen) = (m.id.clone(), picked.clone(), chosen.clone());
                    let on = picked.contains(&m.id);
                    let toggle = Callback::from(move |_: Event| {
                        let mut next = picked_now.clone();
                        if on { next.retain(|p| *p != id) } else { next.push(id.clone()) }
                        chosen.set(Some(next));
                    });
                    html! {
                        <label><input type="checkbox" name="curve-method" value={m.id.clone()} checked={on} onchange={toggle} />{" "}{m.name.clone()}</label>
                    }
                })}
            </fieldset>
            <div class="steps">
                <button type="button" data-testid="curve-start" disabled={!least || picked.is_empty()}
                    aria-disabled={props.running.is_some().to_string()} onclick={start}>
                    {"Draw the curve"}
                </button>
            </div>
            if !least { <p class="note">{"It needs two normal examples and an outlier example at least; a dozen of each say more."}</p> }
            if let Some(running) = running { {progress(&props.session, running, "drawing")} }
            if !props.points.is_empty() { {curve(&props.points, &props.methods)} }
        </section>
    }
}

fn name_of(methods: &[MethodInfo], id: &str) -> String {
    methods.iter().find(|m| m.id == id).map_or(id.to_owned(), |m| m.name.clone())
}

fn curve(points: &[CurvePoint], methods: &[MethodInfo]) -> Html {
    let mut sizes: Vec<usize> = points.iter().map(|p| p.outliers).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut ids: Vec<&str> = Vec::new();
    for p in points {
        if !ids.contains(&p.method.as_str()) {
            ids.push(&p.method);
        }
    }
    let lowest = points.iter().map(|p| p.mean - p.deviation).fold(1.0, f64::min);
    let floor = ((lowest * 10.0).floor() / 10.0).clamp(0.0, 0.9);
    let place =
        |size: usize| sizes.iter().position(|s| *s == size).unwrap_or(0) as f64 / (sizes.len().max(2) - 1) as f64;
    let x = |size: usize| LEFT + place(size) * (WIDTH - LEFT - RIGHT);
    let y = |auroc: f64| TOP + (1.0 - (auroc.clamp(floor, 1.0) - floor) / (1.0 - floor)) * (HEIGHT - TOP - BOTTOM);
    let lines = ids.iter().enumerate().map(|(i, id)| {
        let mine: Vec<&CurvePoint> = points.iter().filter(|p| p.method == *id).collect();
        let line: Vec<String> = mine.iter().map(|p| format!("{:.1},{:.1}", x(p.outliers), y(p.mean))).collect();
        html! {
            <g class={format!("series s{}", i % 6)}>
                <polyline points={line.join(" ")} />
                {for mine.iter().map(|p| html! {
                    <>
                        <line x1={x(p.outliers).to_string()} x2={x(p.outliers).to_string()} y1={y(p.mean - p.deviation).to_string()} y2={y(p.mean + p.deviation).to_string()} />
                        <circle cx={x(p.outliers).to_string()} cy={y(p.mean).to_string()} r="3" />
                    </>
                })}
            </g>
        }
    });
    let words = format!(
        "AUROC against the number of outlier examples, {}",
        ids.iter().map(|id| name_of(methods, id)).collect::<Vec<_>>().join(", ")
    );
    html! {
        <>
            <svg class="few" data-testid="curve" viewBox="0 0 320 190" role="img" aria-label={words}>
                {for [floor, (floor + 1.0) / 2.0, 1.0].iter().map(|&at| html! {
                    <>
                        <line class="base" x1={LEFT.to_string()} x2={(WIDTH - RIGHT).to_string()} y1={y(at).to_string()} y2={y(at).to_string()} />
                        <text class="axis" x={(LEFT - 5.0).to_string()} y={(y(at) + 4.0).to_string()} text-anchor="end">{format!("{at:.2}")}</text>
                    </>
                })}
                {for sizes.iter().map(|&size| html! {
                    <text class="axis" x={x(size).to_string()} y={(HEIGHT - BOTTOM + 16.0).to_string()} text-anchor="middle">{size}</text>
                })}
                {for lines}
                <text class="axis" x={(LEFT + (WIDTH - LEFT) / 2.0).to_string()} y={(HEIGHT - 10.0).to_string()} text-anchor="middle">{"outlier examples (AUROC, mean and deviation)"}</text>
            </svg>
            <ul class="legend">
                {for ids.iter().enumerate().map(|(i, id)| html! {
                    <li><svg class={format!("series s{}", i % 6)} width="22" height="10" aria-hidden="true"><line x1="0" x2="22" y1="5" y2="5" /></svg>{name_of(methods, id)}</li>
                })}
            </ul>
            <details open={true}>
                <summary>{"The curve as a table"}</summary>
                <table data-testid="curve-table">
                    <thead><tr><th scope="col">{"Method"}</th>{for sizes.iter().map(|s| html! { <th scope="col">{*s}</th> })}</tr></thead>
                    <tbody>
                        {for ids.iter().map(|id| html! {
                            <tr data-method={id.to_string()}>
                                <td>{name_of(methods, id)}</td>
                                {for sizes.iter().map(|size| {
                                    let p = points.iter().find(|p| p.method == *id && p.outliers == *size);
                                    html! { <td data-outliers={size.to_string()} data-mean={p.map(|p| p.mean.to_string())}>{p.map(|p| html! {
                                        <>{format!("{:.3}", p.mean)}<span class="near">{format!("±{:.3}", p.deviation)}</span></>
                                    })}</td> }
                                })}
                            </tr>
                        })}
                    </tbody>
                </table>
            </details>
            <p class="note">
                {format!("Mean and standard deviation over {DRAWS} seeded draws of your outliers. Judged are pictures that were not learned from: those that are judged only, where both kinds have some, else half of the examples, drawn anew each time.")}
            </p>
        </>
    }
}

#[derive(Properties, PartialEq)]
pub struct SearchPanelProps {
    pub session: Session,
    pub methods: Vec<MethodInfo>,
    pub counts: LabelCounts,
    pub search: Option<Same<Search>>,
    /// The pictures of the ranking, best first.
    pub pictures: Vec<(Same<Picture>, f64)>,
    pub running: Option<Running>,
    pub on_open: Callback<crate::protocol::ImageId>,
}

/// The one-outlier search.
#[component]
pub fn SearchPanel(props: &SearchPanelProps) -> Html {
    let offered: Vec<&MethodInfo> = props.methods.iter().filter(|m| m.needs.outlier_examples > 0).collect();
    let chosen = use_state(|| None::<String>);
    let method = (*chosen).clone().or_else(|| offered.last().map(|m| m.id.clone())).unwrap_or_default();
    let onchange = {
        let chosen = chosen.clone();
        Callback::from(move |e: Event| chosen.set(Some(e.target_unchecked_into::<HtmlSelectElement>().value())))
    };
    let start = {
        let method = method.clone();
        begin(&props.session, move || Lesson::Search(method.clone()))
    };
    let running = props.running.as_ref().filter(|r| r.what == Work::Search);
    let enough = props.counts.outlier_examples > 1 && props.counts.normal_examples > 1;
    let last = props.pictures.len().saturating_sub(SHOWN.min(props.pictures.len() / 2));
    html! {
        <section id="search-panel" class="panel" aria-label="One-outlier search">
            <h2>{"Which single outlier teaches most?"}</h2>
            <div class="steps">
                <select aria-label="Method of the search" data-testid="search-method" {onchange}>
                    {for offered.iter().map(|m| html! { <option value={m.id.clone()} selected={m.id == method}>{m.name.clone()}</option> })}
                </select>
                <button type="button" data-testid="search-start" disabled={!enough} aria-disabled={props.running.is_some().to_string()}
                    onclick={start}>{"Search"}</button>
            </div>
            if !enough { <p class="note">{"It needs two outlier examples and two normal ones at least."}</p> }
            if let Some(running) = running { {progress(&props.session, running, "each outlier in turn")} }
            if let Some(search) = &props.search {
                <div data-testid="search" data-method={search.method.clone()} data-finished={search.finished.to_string()} data-count={search.ranking.len().to_string()}>
                    <h3>{"Taught most"}</h3>
                    {ranked(&props.on_open, props.pictures.iter().take(SHOWN.min(last.max(1))))}
                    if props.pictures.len() > 1 {
                        <h3>{"Taught least"}</h3>
                        {ranked(&props.on_open, props.pictures[last..].iter().rev())}
                    }
                    <p class="note">{format!("AUROC of {} when that outlier was the only one it learned from, on pictures that it had not seen.", name_of(&props.methods, &search.method))}</p>
                </div>
            }
        </section>
    }
}

fn ranked<'a>(
    on_open: &Callback<crate::protocol::ImageId>,
    pictures: impl Iterator<Item = &'a (Same<Picture>, f64)>,
) -> Html {
    html! {
        <ol class="ranked">
            {for pictures.map(|(p, auroc)| {
                let id = p.id;
                let thumbnail = p.thumbnail.clone().map(|t: Rc<str>| AttrValue::from(t));
                html! {
                    <li key={id.0} data-testid="ranked" data-name={AttrValue::from(p.name.clone())} data-auroc={auroc.to_string()}>
                        <button type="button" onclick={on_open.reform(move |_: MouseEvent| id)} title={AttrValue::from(p.name.clone())}>
                            <img src={thumbnail} alt={AttrValue::from(p.name.clone())} />
                            <span>{format!("{auroc:.3}")}</span>
                        </button>
                    </li>
                }
            })}
        </ol>
    }
}
