//! From what a person says is normal to the texts that pictures are compared with.
//!
//! Names are used verbatim, as the paper does; `{}` in a template or an anomaly text stands for the name.

use super::{Method, ScoreError, method};
use crate::protocol::{Entry, EntryKind, Setup};

/// One entry and the texts whose mean direction stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    pub label: String,
    pub kind: EntryKind,
    /// At least one; several where several templates are averaged.
    pub texts: Vec<String>,
    /// The name that the texts are about, where they are about one.
    pub name: Option<String>,
}

impl Prompt {
    /// The name that a person gave for it, where it stands for that name (and not for a text about one).
    pub fn asked_name(&self) -> Option<&str> {
        self.name.as_deref().filter(|name| *name == self.label)
    }

    /// As the protocol shows it.
    pub fn entry(&self) -> Entry {
        Entry { text: self.texts[0].clone(), label: self.label.clone(), kind: self.kind }
    }
}

/// All prompts of a setup, the normal ones first (as the paper orders them), those of known outliers last, and its method.
///
/// `spell` gives the spelling of a name to put into a template: the name itself, except for models that were taught their
/// names in one spelling.
///
/// # Errors
/// When nothing is normal, there is no anomaly text, a template has no `{}`, or the method is unknown or needs more classes.
pub fn prompts(setup: &Setup, spell: impl Fn(&str) -> String) -> Result<(Vec<Prompt>, &'static Method), ScoreError> {
    let method = method(&setup.method)?;
    let normal: Vec<&String> = setup.normal.iter().filter(|n| !n.trim().is_empty()).collect();
    if normal.is_empty() {
        return Err(ScoreError::NoNormal);
    }
    let least = method.needs.normal_names;
    if normal.len() < least {
        return Err(ScoreError::TooFewNormal { method: method.name, least, got: normal.len() });
    }
    let known: Vec<&String> = setup.known_outliers.iter().filter(|n| !n.trim().is_empty()).collect();
    if setup.anomaly.is_empty() && known.is_empty() {
        return Err(ScoreError::NoAnomaly);
    }
    let default = [crate::protocol::DEFAULT_TEMPLATE.to_string()];
    let templates = if setup.templates.is_empty() { &default[..] } else { &setup.templates };
    if let Some(bad) = templates.iter().find(|t| !t.contains("{}")) {
        return Err(ScoreError::NoPlaceholder(bad.clone()));
    }
    let mut prompts = Vec::new();
    let asked = |name: &String, kind: EntryKind| {
        let texts = templates.iter().map(|t| t.replace("{}", &spell(name))).collect();
        Prompt { label: name.clone(), kind, texts, name: Some(name.clone()) }
    };
    prompts.extend(normal.iter().map(|name| asked(name, EntryKind::Normal)));
    for text in &setup.anomaly {
        let kind = EntryKind::Anomaly;
        if text.contains("{}") {
            for name in &normal {
                let texts = vec![text.replace("{}", &spell(name))];
                prompts.push(Prompt { label: texts[0].clone(), kind, texts, name: Some(name.to_string()) });
            }
        } else {
            prompts.push(Prompt { label: text.clone(), kind, texts: vec![text.clone()], name: None });
        }
    }
    prompts.extend(known.iter().map(|name| asked(name, EntryKind::Anomaly)));
    Ok((prompts, method))
}

/// What these names are asked with when nothing else is said: the texts that most people's setups are made of.
pub fn usual_texts(names: impl IntoIterator<Item = String>) -> Vec<String> {
    use crate::protocol::{DEFAULT_ANOMALY, DEFAULT_TEMPLATE};
    let asked = names.into_iter().map(|name| DEFAULT_TEMPLATE.replace("{}", &name));
    std::iter::once(DEFAULT_ANOMALY.to_owned()).chain(asked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_texts_are_those_of_plain_setups() {
        let setup = Setup { normal: vec!["dog".into()], ..Setup::default() };
        let usual = usual_texts(["dog".to_string()]);
        assert!(texts(&setup).iter().all(|text| usual.contains(text)));
    }

    fn texts(setup: &Setup) -> Vec<String> {
        let (prompts, _) = prompts(setup, str::to_string).expect("a good setup");
        prompts.into_iter().flat_map(|p| p.texts).collect()
    }

    #[test]
    fn the_papers_prompts() {
        let setup = Setup { normal: vec!["american_alligator".into(), "barn".into()], ..Setup::default() };
        assert_eq!(texts(&setup), ["a photo of a american_alligator", "a photo of a barn", "a photo of something"]);
    }

    #[test]
    fn anomaly_texts_may_hold_the_name() {
        let setup =
            Setup { normal: vec!["screw".into(), "nut".into()], anomaly: vec!["a bent {}".into()], ..Setup::default() };
        assert_eq!(texts(&setup)[2..], ["a bent screw", "a bent nut"]);
    }

    #[test]
    fn known_outliers_are_further_anomalies() {
        let mut setup = Setup { known_outliers: vec!["cat".into(), " ".into()], ..Setup::default() };
        assert_eq!(texts(&setup), ["a photo of a dog", "a photo of something", "a photo of a cat"]);
        // they can stand for the anomaly alone
        setup.anomaly.clear();
        let (prompts, _) = prompts(&setup, str::to_string).expect("a good setup");
        assert_eq!((prompts[1].kind, prompts[1].asked_name()), (EntryKind::Anomaly, Some("cat")));
    }

    #[test]
    fn what_cannot_be_asked() {
        let of = |change: fn(&mut Setup)| {
            let mut setup = Setup::default();
            change(&mut setup);
            prompts(&setup, str::to_string).expect_err("refused")
        };
        assert_eq!(of(|s| s.normal = vec![" ".into()]), ScoreError::NoNormal);
        assert_eq!(of(|s| s.anomaly.clear()), ScoreError::NoAnomaly);
        assert_eq!(of(|s| s.templates = vec!["a dog".into()]), ScoreError::NoPlaceholder("a dog".into()));
        assert!(matches!(of(|s| s.method = "x".into()), ScoreError::UnknownMethod { .. }));
        assert!(matches!(of(|s| s.method = "mcm".into()), ScoreError::TooFewNormal { least: 2, got: 1, .. }));
    }
}
