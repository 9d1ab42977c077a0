//! How well the method in use tells the labelled pictures apart: ROC curve, AUROC with its interval, average precision, and the four
//! counts at the threshold in use.

use yew::prelude::*;

use super::shared::count;
use crate::app_state::learning::Confusion;
use crate::protocol::{Measures, Report, RocPoint};

const SIDE: f64 = 220.0;
const LEFT: f64 = 34.0;
const TOP: f64 = 6.0;
/// Rows of the curve's table at most.
const ROWS: usize = 40;

#[derive(Properties, PartialEq)]
pub struct ComparisonProps {
    /// The method's name.
    pub method: String,
    /// `None`: the engine has not compared yet.
    pub report: Option<Report>,
    pub confusion: Confusion,
    pub threshold: f32,
    pub one_kind: Option<&'static str>,
}

#[component]
pub fn Comparison(props: &ComparisonProps) -> Html {
    let body = match props.report.as_ref().map(|r| &r.measures) {
        _ if props.one_kind.is_some() => html! {
            <p class="note" data-testid="no-roc">{props.one_kind.unwrap_or_default()}</p>
        },
        None => html! { <p class="note">{"Comparing…"}</p> },
        Some(Err(why)) => html! { <p class="note" data-testid="no-roc">{format!("No curve: {why}.")}</p> },
        Some(Ok(m)) => measured(m, props),
    };
    html! {
        <section class="panel" id="judgement" aria-label="Judgement">
            <h2>{"Judgement: "}{props.method.clone()}</h2>
            {body}
        </section>
    }
}

fn measured(m: &Measures, props: &ComparisonProps) -> Html {
    html! {
        <>
            {plot(m, &props.confusion)}
            <dl class="facts">
                <dt>{"AUROC"}</dt>
                <dd data-testid="auroc" data-value={m.auroc.to_string()} data-low={m.auroc_low.to_string()} data-high={m.auroc_high.to_string()}>
                    <b>{format!("{:.3}", m.auroc)}</b>
                </dd>
                <dt>{"95 % interval (DeLong)"}</dt><dd>{format!("{:.3} to {:.3}", m.auroc_low, m.auroc_high)}</dd>
                <dt>{"Average precision"}</dt>
                <dd data-testid="average-precision" data-value={m.average_precision.to_string()}>{format!("{:.3}", m.average_precision)}</dd>
                <dt><abbr title="false-alarm rate at the threshold where 95 % of the outliers are found">{"False alarms at 95 % found"}</abbr></dt>
                <dd data-testid="fpr95" data-value={m.false_alarm_rate_at_95.to_string()}>{format!("{:.1} %", 100.0 * m.false_alarm_rate_at_95)}</dd>
                <dt>{"Judged"}</dt>
                <dd>{format!("{} normal, {}", m.normal, count(m.outliers, "outlier"))}</dd>
            </dl>
            {confusion(&props.confusion, props.threshold)}
            if m.cross_validated > 0 {
                <p class="note" data-testid="cross-validated">
                    {format!("By cross-validation: {} among them, each judged by a model that had not learned from it.", count(m.cross_validated, "example"))}
                </p>
            }
            if props.confusion.left_out > 0 {
                <p class="note" data-testid="left-out">
                    {format!("{} could not be left out of learning, because there are too few; such scores are marked and count nowhere here.", count(props.confusion.left_out, "example"))}
                </p>
            }
            <details>
                <summary>{"The curve as a table"}</summary>
                <table>
                    <thead><tr><th scope="col">{"Odd from"}</th><th scope="col">{"false alarms"}</th><th scope="col">{"found"}</th></tr></thead>
                    <tbody>
                        {for thinned(&m.roc).map(|p| html! {
                            <tr>
                                <td>{p.threshold.map_or("nothing".into(), |t| format!("{t:.4}"))}</td>
                                <td>{format!("{:.1} %", 100.0 * p.false_alarm_rate)}</td><td>{format!("{:.1} %", 100.0 * p.hit_rate)}</td>
                            </tr>
                        })}
                    </tbody>
                </table>
            </details>
        </>
    }
}

/// First, last, and evenly some between.
fn thinned(roc: &[RocPoint]) -> impl Iterator<Item = &RocPoint> {
    let every = roc.len().div_ceil(ROWS).max(1);
    let last = roc.len().saturating_sub(1);
    roc.iter().enumerate().filter(move |(i, _)| i % every == 0 || *i == last).map(|(_, p)| p)
}

fn plot(m: &Measures, c: &Confusion) -> Html {
    let x = |rate: f64| LEFT + rate * SIDE;
    let y = |rate: f64| TOP + (1.0 - rate) * SIDE;
    let points: Vec<String> =
        m.roc.iter().map(|p| format!("{:.1},{:.1}", x(p.false_alarm_rate), y(p.hit_rate))).collect();
    let rate = |part: usize, rest: usize| part as f64 / (part + rest).max(1) as f64;
    let here = (rate(c.false_alarms, c.normal_passed), rate(c.hits, c.missed));
    let words = format!(
        "ROC curve of {} and {}, AUROC {:.3}; at the threshold in use {:.0} % of the outliers are found with {:.0} % false alarms",
        count(m.normal, "normal picture"),
        count(m.outliers, "outlier"),
        m.auroc,
        100.0 * here.1,
        100.0 * here.0
    );
    let area = format!("{:.1},{:.1} {} {:.1},{:.1}", x(0.0), y(0.0), points.join(" "), x(1.0), y(0.0));
    html! {
        <svg class="roc" data-testid="roc" viewBox="0 0 276 264" role="img" aria-label={words}>
            <rect class="frame" x={LEFT.to_string()} y={TOP.to_string()} width={SIDE.to_string()} height={SIDE.to_string()} />
            <line class="chance" x1={x(0.0).to_string()} y1={y(0.0).to_string()} x2={x(1.0).to_string()} y2={y(1.0).to_string()} />
            <polygon class="area" points={area} />
            <polyline class="curve" points={points.join(" ")} />
            <circle class="knob" cx={x(here.0).to_string()} cy={y(here.1).to_string()} r="5" />
            {for [0.0, 0.5, 1.0].iter().map(|&at| html! {
                <>
                    <text class="axis" x={x(at).to_string()} y={(TOP + SIDE + 14.0).to_string()} text-anchor="middle">{format!("{:.0} %", 100.0 * at)}</text>
                    <text class="axis" x={(LEFT - 4.0).to_string()} y={(y(at) + 4.0).to_string()} text-anchor="end">{format!("{:.0}", 100.0 * at)}</text>
                </>
            })}
            <text class="axis" x={(LEFT + SIDE / 2.0).to_string()} y={(TOP + SIDE + 30.0).to_string()} text-anchor="middle">{"false alarms among normal pictures"}</text>
            <text class="axis" x={(LEFT + SIDE - 6.0).to_string()} y={(TOP + SIDE - 8.0).to_string()} text-anchor="end">{"% of outliers found ↑"}</text>
        </svg>
    }
}

fn confusion(c: &Confusion, threshold: f32) -> Html {
    html! {
        <table class="confusion" data-testid="confusion" data-normal-passed={c.normal_passed.to_string()} data-false-alarms={c.false_alarms.to_string()}
            data-missed={c.missed.to_string()} data-hits={c.hits.to_string()}>
            <caption>{format!("Verdicts at the threshold {threshold:.3}")}</caption>
            <thead><tr><td></td><th scope="col">{"called ● normal"}</th><th scope="col">{"called ▲ odd"}</th></tr></thead>
            <tbody>
                <tr><th scope="row">{"normal"}</th><td>{c.normal_passed}</td><td>{c.false_alarms}{if c.false_alarms == 1 { " false alarm" } else { " false alarms" }}</td></tr>
                <tr><th scope="row">{"outlier"}</th><td>{c.missed}{" missed"}</td><td>{c.hits}</td></tr>
            </tbody>
        </table>
    }
}
