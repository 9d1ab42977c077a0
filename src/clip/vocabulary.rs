//! Which names a model knows, and which known ones are near an unknown one.
//!
//! A published CLIP reads any text. The embedded one has a closed vocabulary: only the names that it was taught mean anything
//! to it, and a word made of known pieces can land on a wrong name; so names are looked up, not guessed at.

use std::collections::BTreeSet;

use super::Sidecars;
use crate::weights::{Checkpoint, Value};

/// The key of the names of a closed vocabulary.
pub const VOCABULARY_KEY: &str = "oddlens.vocabulary";
/// At most so many names are offered for an unknown one.
const MOST_SUGGESTIONS: usize = 3;
/// Jaro-Winkler similarity from which a name counts as near.
const NEAR: f64 = 0.82;
/// The same where no name is near: then the least far are offered.
const FAR: f64 = 0.6;
/// Letters of a common ending from which two names count as near: English compounds say last what a thing is ("-scope").
const ENDING: usize = 5;

/// The names a model knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vocabulary {
    /// In one spelling: lower case, single spaces. `None`: free text.
    names: Option<BTreeSet<String>>,
}

impl Vocabulary {
    /// From what the checkpoint carries, else from its neighbours, else free text.
    pub fn new(checkpoint: &Checkpoint, sidecars: &Sidecars) -> Self {
        let own = checkpoint.metadata.get(VOCABULARY_KEY).and_then(Value::as_texts);
        own.or(sidecars.vocabulary.as_deref()).map(Self::closed).unwrap_or_default()
    }

    /// These names and no others.
    pub fn closed<S: AsRef<str>>(names: &[S]) -> Self {
        Self { names: Some(names.iter().map(|n| plain(n.as_ref())).collect()) }
    }

    /// The names of a closed vocabulary, sorted; `None`: the model reads free text.
    pub fn names(&self) -> Option<&BTreeSet<String>> {
        self.names.as_ref()
    }

    /// Whether the model knows this name. Case, underscores and a plural do not matter. A model of free text knows all.
    pub fn knows(&self, name: &str) -> bool {
        self.names.is_none() || self.taught(name).is_some()
    }

    /// The spelling of a name to put into a prompt: verbatim, but for models of a closed vocabulary, which were taught one
    /// spelling (so `american_alligator` is asked as "american alligator", and "buses" as "bus").
    pub fn spell(&self, name: &str) -> String {
        self.taught(name).unwrap_or_else(|| name.into())
    }

    /// The name of a closed vocabulary that stands for this one.
    fn taught(&self, name: &str) -> Option<String> {
        let names = self.names.as_ref()?;
        let name = plain(name);
        let singulars = singulars(&name);
        std::iter::once(name).chain(singulars).find(|n| names.contains(n))
    }

    /// Known names near an unknown one, best first: those that share a word with it, then those that are spelled or end like it;
    /// where there are none, those whose spelling is least unlike.
    pub fn nearest(&self, name: &str) -> Vec<String> {
        let Some(names) = &self.names else { return Vec::new() };
        let name = plain(name);
        let words: BTreeSet<&str> = name.split(' ').filter(|w| w.len() > 2).collect();
        let (mut near, mut far) = (Vec::<(f64, &String)>::new(), Vec::new());
        for known in names {
            let shared = known.split(' ').filter(|w| words.contains(w)).count();
            let whole = if shared == known.split(' ').count() { 1.0 } else { 0.0 };
            // one slip of a finger, two letters in the wrong order among them, is nearer than any likeness
            let is_slip = name.len() > 2 && strsim::osa_distance(&name, known) == 1;
            let spelled = if is_slip { 1.0 } else { strsim::jaro_winkler(&name, known) };
            let ending = name.chars().rev().zip(known.chars().rev()).take_while(|(a, b)| a == b).count();
            if shared > 0 || spelled >= NEAR || ending >= ENDING {
                near.push((shared as f64 + whole + spelled, known));
            } else if spelled >= FAR {
                far.push((spelled, known));
            }
        }
        let mut near = if near.is_empty() { far } else { near };
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        near.into_iter().take(MOST_SUGGESTIONS).map(|(_, n)| n.clone()).collect()
    }
}

/// One spelling: lower case, underscores as spaces, single spaces.
fn plain(name: &str) -> String {
    name.replace('_', " ").split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// What an English plural may be the plural of.
fn singulars(name: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (ending, with) in [("ies", "y"), ("es", ""), ("s", "")] {
        if let Some(stem) = name.strip_suffix(ending) {
            out.push(format!("{stem}{with}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Vocabulary {
        Vocabulary::closed(&["dog", "sports car", "car", "teapot", "school bus", "american alligator", "cherry"])
    }

    #[test]
    fn case_underscores_and_plurals_do_not_matter() {
        for name in ["dog", "Dogs", "school_bus", "School  buses", "american_alligator", "cherries"] {
            assert!(small().knows(name), "{name}");
        }
        for name in ["oscilloscope", "", "do", "doge", "dog and cat"] {
            assert!(!small().knows(name), "{name}");
        }
        assert!(Vocabulary::default().knows("oscilloscope"));
    }

    #[test]
    fn known_names_are_spelled_as_taught_and_all_others_left_alone() {
        assert_eq!(small().spell("American_Alligator"), "american alligator");
        assert_eq!(small().spell("School_Buses"), "school bus");
        assert_eq!(small().spell("Big_Dog"), "Big_Dog");
        assert_eq!(Vocabulary::default().spell("american_alligator"), "american_alligator");
    }

    #[test]
    fn suggestions_share_words_or_spelling() {
        assert_eq!(small().nearest("red car")[..2], ["car", "sports car"]);
        assert_eq!(small().nearest("teapott"), ["teapot"]);
        let short = Vocabulary::closed(&["curtain", "cat", "dugong", "dog"]);
        assert_eq!((short.nearest("cta")[0].as_str(), short.nearest("dgo")[0].as_str()), ("cat", "dog"));
        let scopes = Vocabulary::closed(&["telescope", "microscope", "rope", "dog"]);
        assert_eq!(scopes.nearest("oscilloscope"), ["microscope", "telescope"]);
        // nothing near, so the least far; and not even that for what is like no name
        assert_eq!(small().nearest("dagger")[0], "dog");
        assert_eq!(small().nearest("zxqvw"), [""; 0]);
        assert_eq!(Vocabulary::default().nearest("zxqvw"), [""; 0]);
    }

    #[test]
    fn plurals_are_known() {
        assert!(singulars("cherries").contains(&"cherry".to_string()));
        assert!(singulars("buses").contains(&"bus".to_string()));
        assert!(singulars("dogs").contains(&"dog".to_string()));
    }
}
