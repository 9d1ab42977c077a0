//! All methods side by side, best first; learning, and heads as files.

use web_sys::HtmlInputElement;
use yew::prelude::*;

use super::header::{last_action, session_action};
use crate::app_state::Action;
use crate::app_state::learning::{Lesson, Row, Running, Work};
use crate::protocol::{Readiness, Verdict};
use crate::ui::hooks::session::Session;

#[derive(Properties, PartialEq)]
pub struct MethodsProps {
    pub session: Session,
    pub rows: Vec<Row>,
    pub running: Option<Running>,
    /// What must be labelled before anything can be learned.
    pub missing: Option<&'static str>,
    pub trouble: Option<String>,
    pub loaded: Option<String>,
}

#[component]
pub fn Methods(props: &MethodsProps) -> Html {
    let session = &props.session;
    let stale = props.rows.iter().any(|r| r.readiness == Some(Readiness::Stale));
    let learned = props.rows.iter().any(|r| r.info.needs.training && r.readiness == Some(Readiness::Ready));
    let fitting = props.running.as_ref().filter(|r| r.what == Work::Fit);
    let name = |id: &str| props.rows.iter().find(|r| r.info.id == id).map_or(id.to_owned(), |r| r.info.name.clone());
    let pick = {
        let session = session.clone();
        Callback::from(move |e: Event| {
            let input: HtmlInputElement = e.target_unchecked_into();
            if let Some(file) = input.files().and_then(|list| list.get(0)) {
                session.load_head(file);
            }
            input.set_value("");
        })
    };
    html! {
        <section id="methods-panel" class="panel" aria-label="Methods">
            <h2>{"All methods"}</h2>
            <div class="steps">
                <button type="button" class={classes!((!learned || stale).then_some("primary"))} data-testid="learn"
                    disabled={props.missing.is_some()} aria-disabled={props.running.is_some().to_string()}
                    onclick={begin(session, || Lesson::Learn)}>
                    {if stale { "Learn again" } else { "Learn from the examples" }}
                </button>
                <label class="button">{"Load a head"}
                    <input type="file" class="visually-hidden" data-testid="load-head" aria-label="Load a trained head" accept=".json,application/json"
                        onchange={pick} />
                </label>
            </div>
            if let Some(missing) = props.missing { <p class="note" data-testid="learn-missing">{missing}</p> }
            if let Some(running) = fitting { {progress(session, running, &format!("{} learns", name(&running.method)))} }
            if stale && fitting.is_none() {
                <p class="note">{"Labels or classes changed since some methods learned: those are marked ↻ and score by what they knew, until they have learned again."}</p>
            }
            if let Some(trouble) = &props.trouble { <p class="note bad" role="alert" data-testid="learn-trouble">{trouble.clone()}</p> }
            if let Some(loaded) = &props.loaded { <p class="note" data-testid="head-loaded">{loaded.clone()}</p> }
            <table class="methods" data-testid="methods">
                <thead><tr><th scope="col">{"Method"}</th><th scope="col">{"AUROC"}</th><th scope="col"><abbr title="average precision">{"AP"}</abbr></th><th></th></tr></thead>
                <tbody>{for props.rows.iter().map(|row| line(session, row))}</tbody>
            </table>
        </section>
    }
}

/// A click that begins work, where none is running. Until that is done its button only says that it is disabled: one that is
/// loses the focus.
pub fn begin(session: &Session, lesson: impl Fn() -> Lesson + 'static) -> Callback<MouseEvent> {
    let session = session.clone();
    Callback::from(move |_| {
        let idle = session.state().lab.running.is_none();
        if idle {
            session.act(Action::Learning(lesson()));
        }
    })
}

/// How far learning has come, and a way to stop it.
pub fn progress(session: &Session, running: &Running, words: &str) -> Html {
    let (done, total) = (running.done.to_string(), running.total.max(1).to_string());
    let begun = match running.what {
        Work::Fit => "learn",
        Work::Curve => "curve-start",
        Work::Search => "search-start",
    };
    html! {
        <div class="row" data-testid="learn-progress" data-done={done.clone()} data-total={total.clone()}>
            <span class="progress"><progress max={total} value={done} aria-label={words.to_owned()} /></span>
            <span class="near">{words.to_owned()}</span>
            <button type="button" class="small" data-testid="learn-cancel"
                onclick={last_action(session, begun, || Action::Learning(Lesson::Cancel))}>{"Cancel"}</button>
        </div>
    }
}

fn line(session: &Session, row: &Row) -> Html {
    let id = row.info.id.clone();
    let measures = row.report.as_ref().and_then(|r| r.measures.as_ref().ok());
    let usable = matches!(row.readiness, Some(Readiness::Ready | Readiness::Stale));
    let word = match &row.readiness {
        Some(Readiness::Ready) => "ready",
        Some(Readiness::Stale) => "stale",
        Some(Readiness::Untrained) => "untrained",
        Some(Readiness::Lacking(_)) => "lacking",
        None => "unknown",
    };
    // the engine's line begins with the method's name, which stands above it
    let lacking = match &row.readiness {
        Some(Readiness::Lacking(why)) => Some(why.trim_start_matches(&format!("{}: ", row.info.name)).to_owned()),
        Some(Readiness::Untrained) => Some("has not learned yet".into()),
        _ => None,
    };
    let problem = row.fitted.as_ref().and_then(|f| f.problem.clone());
    let worse =
        row.fitted.as_ref().filter(|f| f.verdict == Verdict::Worse).and_then(|f| Some((f.auroc?, f.zero_shot_auroc?)));
    let can_save = row.info.needs.training && usable;
    let choose = {
        let id = id.clone();
        session_action(session, move || Action::SetMethod(id.clone()))
    };
    let save = {
        let id = id.clone();
        session_action(session, move || Action::Learning(Lesson::SaveHead(id.clone())))
    };
    html! {
        <tr key={id.clone()} class={classes!(row.in_force.then_some("best"))} data-testid="method-row" data-method={id}
            data-readiness={word} data-auroc={measures.map(|m| m.auroc.to_string())} data-in-force={row.in_force.to_string()}>
            <td>
                <details class="plain">
                    <summary>{row.info.name.clone()}{if word == "stale" { " ↻" } else { "" }}</summary>
                    <p class="note">{row.info.explanation.clone()}</p>
                    if can_save {
                        <button type="button" class="small" data-testid="save-head" onclick={save}>{"Save this head"}</button>
                    }
                </details>
                if let Some(lacking) = lacking { <span class="near">{lacking}</span> }
                if let Some(problem) = problem { <span class="near bad">{problem}</span> }
                if let Some((own, zero)) = worse {
                    <span class="near bad" data-testid="worse">
                        {format!("Worse than no learning at all: {own:.3} in cross-validation, zero-shot {zero:.3}. More examples may help.")}
                    </span>
                }
            </td>
            <td>{measures.map(|m| html! { <>{format!("{:.3}", m.auroc)}<span class="near">{format!("{:.2}–{:.2}", m.auroc_low, m.auroc_high)}</span></> })}</td>
            <td>{measures.map(|m| format!("{:.3}", m.average_precision))}</td>
            <td>
                <button type="button" class="small" data-testid="use-method" disabled={!usable} aria-pressed={row.in_force.to_string()}
                    aria-label={format!("{} {}", if row.in_force { "in use" } else { "use" }, row.info.name)} onclick={choose}>{if row.in_force { "in use" } else { "use" }}</button>
            </td>
        </tr>
    }
}
