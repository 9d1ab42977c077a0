//! The sample pictures that lie beside the page. A page without them shows none.

use serde::Deserialize;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{File, FilePropertyBag, Response};
use yew::prelude::*;

use super::dom;

/// One entry of `samples/samples.json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Sample {
    /// File name beside the list.
    pub file: String,
    /// What it shows, in a word that can be a class.
    pub label: String,
    /// What it shows, for those who do not see it.
    pub alt: String,
}

impl Sample {
    pub fn address(&self) -> String {
        format!("samples/{}{}", self.file, dom::version())
    }
}

/// The samples; none until the list is there.
#[hook]
pub fn use_samples() -> UseStateHandle<Vec<Sample>> {
    let samples = use_state(Vec::new);
    {
        let samples = samples.clone();
        use_effect_with((), move |()| {
            wasm_bindgen_futures::spawn_local(async move {
                if let Some(list) = list().await {
                    samples.set(list);
                }
            });
        });
    }
    samples
}

async fn fetch(address: &str) -> Option<Response> {
    let response = JsFuture::from(dom::window().fetch_with_str(address)).await.ok()?;
    let response: Response = response.unchecked_into();
    response.ok().then_some(response)
}

async fn list() -> Option<Vec<Sample>> {
    let response = fetch(&format!("samples/samples.json{}", dom::version())).await?;
    let text = JsFuture::from(response.text().ok()?).await.ok()?.as_string()?;
    let samples: Vec<Sample> = serde_json::from_str(&text).ok()?;
    // names only: an entry cannot point elsewhere
    Some(samples.into_iter().filter(|s| !s.file.contains(['/', '\\', ':', '?', '#'])).collect())
}

/// A sample as if a person had picked it.
pub async fn load(sample: &Sample) -> Option<(String, File)> {
    let response = fetch(&sample.address()).await?;
    let bytes = JsFuture::from(response.array_buffer().ok()?).await.ok()?;
    let options = FilePropertyBag::new();
    options.set_type("image/jpeg");
    let parts = js_sys::Array::of1(&bytes);
    let file = File::new_with_buffer_source_sequence_and_options(&parts, &sample.file, &options).ok()?;
    Some((sample.file.clone(), file))
}
