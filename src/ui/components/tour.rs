//! The walk-through for teaching: a few steps with the sample pictures, each with a sentence or two and one button that does it. It can
//! be given in ten minutes, and by keyboard alone.

use wasm_bindgen::JsCast;
use yew::prelude::*;

use crate::app_state::Action;
use crate::app_state::learning::{Lesson, standard_curve};
use crate::protocol::{ImageId, Kind, Setup};
use crate::ui::hooks::dom;
use crate::ui::hooks::samples::Sample;
use crate::ui::hooks::session::Session;

/// One step: what it is called, what to see, what its button does.
struct Step {
    title: &'static str,
    text: &'static str,
    button: &'static str,
    /// What comes of it.
    look: &'static str,
    /// The `id` of the panel where it is seen.
    panel: &'static str,
}

const STEPS: [Step; 7] = [
    Step {
        title: "Zero outliers: words alone",
        text: "Nobody has shown the model an outlier, or even a normal picture. It reads “a photo of a orange” and “a photo of something”, and asks of each picture which of the two fits better.",
        button: "Score the samples against “orange”",
        look: "Oranges come out below the threshold, everything else above it. The histogram shows how far the two kinds are apart.",
        panel: "decision",
    },
    Step {
        title: "Is it good? Labels",
        text: "To measure a detector one needs the truth. Label what the pictures are: ● or the key N for normal, ▲ or O for outlier, or folders named so.",
        button: "Label all samples",
        look: "The ROC curve shows every threshold at once. AUROC is the chance that an outlier scores above a normal picture: 0.5 is guessing, 1 is perfect. With ten pictures its interval is wide.",
        panel: "judgement",
    },
    Step {
        title: "A misleading prompt",
        text: "Words are cheap, and the wrong word costs. An orange is a snack, surely? The pictures and labels stay the same; only the word changes.",
        button: "Say that “snack” is normal",
        look: "Hardly a picture passes now, and the curve sinks. Here the page warns that the model was never taught the word; a large CLIP knows it, and is misled by others. Could pictures help where the word does not?",
        panel: "judgement",
    },
    Step {
        title: "One outlier",
        text: "The paper's surprise: a single outlier picture can teach a lot, if it is the right one. Each outlier in turn is the only one learned from, and the others are judged.",
        button: "Search the best single outlier",
        look: "The ranking shows which outlier taught most, and which least.",
        panel: "search-panel",
    },
    Step {
        title: "Few outliers: learning",
        text: "Now all methods learn from all examples. A picture that was learned from is never simply judged: it is left out in turn (cross-validation), and the page marks such scores.",
        button: "Learn from the examples",
        look: "The table compares all methods on the same pictures, best first. One that ends below words alone is marked: few examples can mislead, too.",
        panel: "methods-panel",
    },
    Step {
        title: "The curve",
        text: "How does it go on with 0, 1, 2, 4 outliers? Several random draws of your own outliers give a mean and a spread.",
        button: "Draw the curve",
        look: "Words alone are a level line. The others start where they can and rise with every outlier. That is the paper's main figure, made of your pictures.",
        panel: "curve-panel",
    },
    Step {
        title: "Where to draw the line",
        text: "A score is no decision yet. From normal pictures alone a threshold can promise a false-alarm rate, if there are enough of them: five carry a promise of 20 %, not of 1 %.",
        button: "Advise a threshold for 20 % false alarms",
        look: "Try 1 %: the page says how many normal pictures that needs. That is all; go on with pictures of your own.",
        panel: "advice-panel",
    },
];

#[derive(Properties, PartialEq)]
pub struct TourProps {
    pub session: Session,
    pub samples: Vec<Sample>,
    pub on_samples: Callback<()>,
    pub on_close: Callback<()>,
}

#[component]
pub fn Tour(props: &TourProps) -> Html {
    let at = use_state(|| 0_usize);
    let done = use_state(|| false);
    let heading = use_node_ref();
    {
        // the step's title is read out, and the next Tab comes to its button
        let heading = heading.clone();
        use_effect_with(*at, move |_| {
            if let Some(heading) = heading.cast::<web_sys::HtmlElement>() {
                let _ = heading.focus();
            }
        });
    }
    let step = &STEPS[*at];
    let go = |to: usize| {
        let (at, done) = (at.setter(), done.setter());
        Callback::from(move |_: MouseEvent| {
            done.set(false);
            at.set(to);
        })
    };
    let act = {
        let (props, now, done) = (props.clone(), *at, done.setter());
        Callback::from(move |_: MouseEvent| {
            perform(&props, now);
            done.set(true);
            show(STEPS[now].panel);
        })
    };
    // the focus goes to where one goes on
    let close = props.on_close.reform(|_: MouseEvent| {
        dom::later(50, || {
            let next = dom::document().query_selector("[data-testid=lab], [data-testid=start-tour]").ok().flatten();
            if let Some(next) = next.and_then(|e| e.dyn_into::<web_sys::HtmlElement>().ok()) {
                let _ = next.focus();
            }
        });
    });
    let last = STEPS.len() - 1;
    html! {
        <section class="tour" aria-label="Walk-through" data-testid="tour" data-step={(*at + 1).to_string()} data-done={done.to_string()}>
            <div class="row">
                <h2 ref={heading} tabindex="-1">{format!("{} of {}: {}", *at + 1, STEPS.len(), step.title)}</h2>
                <button type="button" class="quiet" aria-label="End the walk-through" data-testid="tour-close" onclick={close.clone()}>{"×"}</button>
            </div>
            <p>{step.text}</p>
            if *done { <p role="status">{step.look}</p> }
            <div class="steps">
                <button type="button" class={classes!((!*done).then_some("primary"))} data-testid="tour-do" onclick={act}>{step.button}</button>
                if *at > 0 { <button type="button" class="quiet" data-testid="tour-back" onclick={go(*at - 1)}>{"Back"}</button> }
                if *at < last {
                    <button type="button" class={classes!(done.then_some("primary"))} data-testid="tour-next" onclick={go(*at + 1)}>{"Next"}</button>
                } else {
                    <button type="button" class={classes!(done.then_some("primary"))} data-testid="tour-end" onclick={close}>{"End"}</button>
                }
            </div>
        </section>
    }
}

impl Clone for TourProps {
    fn clone(&self) -> Self {
        Self {
            session: self.session.clone(),
            samples: self.samples.clone(),
            on_samples: self.on_samples.clone(),
            on_close: self.on_close.clone(),
        }
    }
}

/// What step number `at` does. Each step brings about what it needs, so that steps can be taken in any order.
fn perform(props: &TourProps, at: usize) {
    let session = &props.session;
    let lesson = |lesson: Lesson| session.act(Action::Learning(lesson));
    let normal = |name: &str| session.act(Action::SetNormal(vec![name.into()]));
    match at {
        0 => {
            props.on_samples.emit(());
            session.act(Action::SetMethod(Setup::default().method));
            session.act(Action::ResetPrompts);
            normal("orange");
        }
        1 => {
            props.on_samples.emit(());
            label_samples(props);
        }
        2 => normal("snack"),
        3 => {
            let method = session
                .state()
                .ready()
                .and_then(|m| Some(m.methods.iter().find(|m| m.needs.outlier_examples > 0)?.id.clone()));
            if let Some(method) = method {
                lesson(Lesson::Search(method));
            }
        }
        4 => lesson(Lesson::Learn),
        5 => {
            let methods = session.state().ready().map(|m| standard_curve(&m.methods));
            if let Some(methods) = methods {
                lesson(Lesson::Curve(methods));
            }
        }
        _ => lesson(Lesson::Advise(0.2)),
    }
}

/// Brings a panel into sight, as soon as it is there.
fn show(panel: &'static str) {
    dom::later(250, move || {
        if let Some(panel) = dom::document().get_element_by_id(panel) {
            let how = web_sys::ScrollIntoViewOptions::new();
            how.set_block(web_sys::ScrollLogicalPosition::Start);
            panel.scroll_into_view_with_scroll_into_view_options(&how);
        }
    });
}

/// Oranges are normal, the other samples are outliers.
fn label_samples(props: &TourProps) {
    let of = |wanted: bool| -> Vec<ImageId> {
        let is = |name: &str| props.samples.iter().any(|s| s.file == name && (s.label == "orange") == wanted);
        let state = props.session.state();
        state.pictures.iter().filter(|p| !p.removed && is(&p.name)).map(|p| p.id).collect()
    };
    for (wanted, kind) in [(true, Kind::Normal), (false, Kind::Outlier)] {
        let images = of(wanted);
        props.session.act(Action::Learning(Lesson::Label(images, Some(kind))));
    }
}
