//! A picture's dialog: every prompt with cosine and probability, stage times, what the file was.

use web_sys::HtmlDialogElement;
use yew::prelude::*;

use super::card::{basis_note, meter};
use super::grid::lesson_of;
use super::shared::{Same, bytes, millis, verdict};
use crate::app_state::Action;
use crate::app_state::learning::Lesson;
use crate::app_state::picture::Picture;
use crate::app_state::presets::readable;
use crate::protocol::{Decoder, EntryKind, Kind, Timings};
use crate::ui::hooks::session::Session;

#[derive(Properties, PartialEq)]
pub struct DetailsProps {
    pub session: Session,
    pub picture: Same<Picture>,
    pub threshold: f32,
    pub canvas_noise: bool,
    /// Told with `opening` when the dialog is closed.
    pub on_close: Callback<u32>,
    pub opening: u32,
    /// Go on to the next (or, for false, the one before).
    pub on_step: Callback<bool>,
}

#[component]
pub fn Details(props: &DetailsProps) -> Html {
    let dialog = use_node_ref();
    {
        let dialog = dialog.clone();
        use_effect_with((), move |()| {
            if let Some(dialog) = dialog.cast::<HtmlDialogElement>() {
                let _ = dialog.show_modal();
            }
        });
    }
    let p = &*props.picture;
    let Some(outcome) = p.outcome() else { return html! {} };
    let score = &outcome.score;
    let odd = score.is_anomalous(props.threshold);
    let opening = props.opening;
    let onclose = props.on_close.reform(move |_: Event| opening);
    // a click beside the dialog's content lands on the dialog itself
    let onclick = {
        let dialog = dialog.clone();
        Callback::from(move |e: MouseEvent| {
            let target: Option<web_sys::Node> = e.target_dyn_into();
            if target.is_some()
                && target == dialog.get()
                && let Some(dialog) = dialog.cast::<HtmlDialogElement>()
            {
                dialog.close();
            }
        })
    };
    let close = {
        let dialog = dialog.clone();
        // closed, not just taken away, so that the focus goes back to the card
        Callback::from(move |_: MouseEvent| {
            if let Some(dialog) = dialog.cast::<HtmlDialogElement>() {
                dialog.close();
            }
        })
    };
    let onkeydown = {
        let (on_step, session, id) = (props.on_step.clone(), props.session.clone(), p.id);
        Callback::from(move |e: KeyboardEvent| match e.key().as_str() {
            "ArrowRight" => on_step.emit(true),
            "ArrowLeft" => on_step.emit(false),
            key if !(e.ctrl_key() || e.meta_key() || e.alt_key()) => {
                if let Some(lesson) = lesson_of(key, id) {
                    session.act(Action::Learning(lesson));
                }
            }
            _ => {}
        })
    };
    let mut rows: Vec<usize> =
        (0..outcome.entries.len().min(score.cosines.len()).min(score.probabilities.len())).collect();
    rows.sort_by(|a, b| score.probabilities[*b].total_cmp(&score.probabilities[*a]));
    let info = &outcome.picture;
    let say = |kind: Kind, words: &'static str| {
        let (session, id) = (props.session.clone(), p.id);
        let on = p.label.is_some_and(|l| l.kind == kind);
        let onclick = Callback::from(move |_: MouseEvent| session.act(Action::Learning(Lesson::Toggle(id, kind))));
        html! { <button type="button" class="small" aria-pressed={on.to_string()} {onclick}>{words}</button> }
    };
    let decoder = match info.decoder {
        Decoder::Oddlens => "our own decoder: the same pixels everywhere",
        Decoder::Browser => "the browser's decoder: other browsers may see slightly different pixels",
        Decoder::Camera => "a camera frame",
    };
    html! {
        <dialog ref={dialog} class={classes!("details", if odd { "is-odd" } else { "is-normal" })} data-testid="details"
            data-name={p.name.to_string()} aria-label={format!("Details of {}", p.name)} {onclose} {onclick} {onkeydown}>
            <div class="details-body">
                <div class="row head">
                    <h2>{&*p.name}</h2>
                    <span class="steps">
                        <button type="button" class="quiet" aria-label="Previous picture" onclick={props.on_step.reform(|_: MouseEvent| false)}>{"‹"}</button>
                        <button type="button" class="quiet" aria-label="Next picture" onclick={props.on_step.reform(|_: MouseEvent| true)}>{"›"}</button>
                        <button type="button" class="quiet" aria-label="Close" onclick={close}>{"×"}</button>
                    </span>
                </div>
                <div class="details-top">
                    if let Some(address) = &p.thumbnail {
                        <img src={address.to_string()} alt={p.name.to_string()} />
                    }
                    <div>
                        <div class="row"><span class="big score">{format!("{:.4}", score.value)}</span><span class="verdict">{verdict(odd)}</span></div>
                        {meter(score.value, Some(props.threshold))}
                        <dl class="facts">
                            <dt>{"It is"}</dt>
                            <dd><span class="steps">{say(Kind::Normal, "● normal (N)")}{say(Kind::Outlier, "▲ outlier (O)")}</span>
                                {p.label_words().map(|words| format!(" {words}"))}</dd>
                            if let Some(note) = p.basis.and_then(basis_note) { <dt>{"Score"}</dt><dd>{note}</dd> }
                            <dt>{"Threshold"}</dt><dd>{props.threshold.to_string()}</dd>
                            <dt>{"Margin"}</dt><dd>{format!("{:+.3}", score.margin)}</dd>
                            <dt>{"Nearest"}</dt><dd>{readable(outcome.nearest())}</dd>
                            <dt>{"Size"}</dt><dd>{format!("{} × {} px, {}", info.width, info.height, bytes(p.bytes))}</dd>
                            <dt>{"Format"}</dt><dd>{info.format.clone()}</dd>
                            <dt>{"Read by"}</dt><dd>{decoder}</dd>
                            <dt>{"Took"}</dt><dd>{stages(&outcome.timings)}</dd>
                        </dl>
                    </div>
                </div>
                if props.canvas_noise && info.decoder == Decoder::Browser {
                    <p class="note">{"This browser falsifies pixels that are read from a canvas: this score is slightly wrong."}</p>
                }
                <table>
                    <thead><tr><th scope="col">{"Text"}</th><th scope="col">{"stands for"}</th><th scope="col">{"cosine"}</th><th scope="col">{"probability"}</th></tr></thead>
                    <tbody>
                        {for rows.into_iter().map(|i| {
                            let e = &outcome.entries[i];
                            html! {
                                <tr class={classes!((i == score.nearest).then_some("best"))}>
                                    <td>{e.text.clone()}</td>
                                    <td>{if e.kind == EntryKind::Normal { "● normal" } else { "▲ odd" }}</td>
                                    <td>{format!("{:.4}", score.cosines[i])}</td>
                                    <td>{format!("{:.4}", score.probabilities[i])}</td>
                                </tr>
                            }
                        })}
                    </tbody>
                </table>
            </div>
        </dialog>
    }
}

fn stages(timings: &Timings) -> String {
    let stages = [
        ("decode", timings.decode_millis),
        ("prepare", timings.preprocess_millis),
        ("encode", timings.encode_millis),
        ("score", timings.score_millis),
    ];
    let known: Vec<String> =
        stages.iter().filter_map(|(name, ms)| ms.map(|ms| format!("{name} {}", millis(ms)))).collect();
    if known.is_empty() { "not measured".into() } else { known.join(", ") }
}
