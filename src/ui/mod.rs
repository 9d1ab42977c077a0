//! The page itself (Yew). It shows [`crate::app_state::State`] and turns what a person does into actions; it names no tensor,
//! model or scorer, and browser objects stay in [`hooks`]. No `style` attribute anywhere: the content policy forbids it.
//!
//! Stable hooks for tests and for scripts that drive the page (`[data-testid=…]`):
//!
//! | hook | what | attributes |
//! |---|---|---|
//! | `model-status` | the model in use; a button that opens its panel | `data-state` = loading, ready, failed; `data-model` |
//! | `models`, `model`, `use-model`, `delete-model`, `pick-model` | in that panel: the models that can be had, a file of one's own | `data-model`, `data-kept`, `data-present`, `data-partial` |
//! | `model-address`, `fetch-model`, `stop-loading`, `use-doubtful` | there, too: from an address, pause, the model that was refused, all the same | |
//! | `pick-files`, `pick-folder` | file inputs | |
//! | `add-class` | text field, Enter or a comma adds | |
//! | `class-chip` | a normal class; the button in it removes it | `data-name` |
//! | `class-note`, `suggestion` | what is doubtful about a class; a button with a known name | `data-name` |
//! | `presets`, `preset` | the button, a choice in its panel | `data-benchmark`, `data-arrangement`, `data-class` |
//! | `prompts`, `template`, `anomaly`, `method`, `share` | prompt panel's button and its fields, method, share button | |
//! | `result` | a picture's card | `data-name`, `data-state` = queued, scoring, done, failed; `data-score`, `data-verdict` = normal, anomalous |
//! | `remove`, `retry` | buttons in a card; far from the screen a card is `hidden` and has none, but all attributes of `result` | |
//! | `details` | the open dialog on a picture | `data-name` |
//! | `progress`, `cancel` | "123 of 500", stops it | `data-done`, `data-total` |
//! | `sort`, `filter`, `clear`, `undo`, `export`, `export-csv`, `export-json` | toolbar | |
//! | `threshold`, `threshold-refused`, `threshold-slider`, `threshold-reset`, `histogram` | the decision | |
//! | `start-camera`, `stop-camera`, `camera-score`, `camera-freeze`, `camera-keep` | the camera | `data-score`, `data-verdict`, `data-state` = starting, live, frozen, failed |
//! | `samples`, `all-samples`, `sample` | samples: all (toolbar and first visit), or one | `data-name` |
//! | `label-normal`, `label-outlier`, `label-role` | buttons in a card; what they said stands on its `result` | on `result`: `data-label` = normal, outlier; `data-role` = example, judged; `data-basis` = unseen, cross-validated, learned |
//! | `lab`, `lab-panels` | the button that unfolds labels and learning, and what it unfolds | `data-settled`: shown figures are up to date |
//! | `shelf`, `deal`, `deal-none`, `unlabel` | the shelves, and what is done with all labels | `data-kind`, `data-examples`, `data-judged` |
//! | `roc`, `auroc`, `average-precision`, `fpr95`, `confusion`, `no-roc`, `cross-validated`, `left-out` | the judgement | `data-value`, `data-low`, `data-high`; `data-normal-passed`, `data-false-alarms`, `data-missed`, `data-hits` |
//! | `methods`, `method-row`, `use-method`, `worse` | the table of methods | `data-method`, `data-readiness` = ready, stale, untrained, lacking; `data-auroc`, `data-in-force` |
//! | `learn`, `learn-missing`, `learn-progress`, `learn-cancel`, `learn-trouble` | learning | `data-done`, `data-total` |
//! | `save-head`, `load-head`, `head-loaded` | heads as files | |
//! | `curve-start`, `curve`, `curve-table`, `search-method`, `search-start`, `search`, `ranked` | the two experiments | `data-outliers`, `data-mean`; `data-finished`, `data-count`, `data-auroc` |
//! | `advise`, `advice` | the conformal threshold | `data-rate`, `data-threshold`, `data-normal` |
//! | `start-tour`, `tour`, `tour-do`, `tour-next`, `tour-back`, `tour-end`, `tour-close` | the walk-through | `data-step`, `data-done` |
//! | `status`, `notice`, `empty` | live line for screen readers, the last one-off remarks, empty state | |

mod app;
mod components;
mod hooks;

/// Shows the page in the element with the id `app`.
pub fn run() {
    console_error_panic_hook::set_once();
    let document = web_sys::window().and_then(|w| w.document());
    match document.and_then(|d| d.get_element_by_id("app")) {
        Some(place) => {
            // what stands there is for those without scripts
            place.set_inner_html("");
            yew::Renderer::<app::App>::with_root(place).render();
        }
        None => web_sys::console::error_1(&"the page has no element with the id “app”".into()),
    }
}
