//! The setup as a link: what is normal, prompts, method, threshold and model, written into and read from the address's
//! fragment. A link comes from anybody, so whatever is odd in it is left out and said, never trusted.
//!
//! Form: `normal=dog,cat&template=a%20photo%20of%20a%20{}&anomaly=…&method=zero-shot&threshold=0.62&model=mini`; every text is
//! percent-encoded UTF-8 (RFC 3986), names are parted by commas, templates and anomaly texts by encoded line ends.

use super::{MAX_TEXT, State, clean_names, clean_text};
use crate::protocol::Setup;

/// Longest fragment that is read, bytes.
const MAX_FRAGMENT: usize = 16 * 1024;
/// Longest identifier of a method or a model.
const MAX_ID: usize = 64;

/// What a link says; `None` where it is silent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Link {
    pub normal: Option<Vec<String>>,
    pub templates: Option<Vec<String>>,
    pub anomaly: Option<Vec<String>>,
    pub method: Option<String>,
    pub threshold: Option<f32>,
    pub model: Option<String>,
    /// What was left out, one sentence each.
    pub notes: Vec<String>,
}

/// The fragment (without `#`) that brings this setup back; parts that are as on a fresh page are left out.
pub fn encode(state: &State) -> String {
    let default = Setup::default();
    let setup = &state.setup;
    let mut parts = Vec::new();
    if setup.normal != default.normal && !setup.normal.is_empty() {
        parts.push(format!("normal={}", join(&setup.normal, ",")));
    }
    if setup.templates != default.templates {
        parts.push(format!("template={}", join(&setup.templates, "%0A")));
    }
    if setup.anomaly != default.anomaly {
        parts.push(format!("anomaly={}", join(&setup.anomaly, "%0A")));
    }
    if setup.method != default.method {
        parts.push(format!("method={}", escape(&setup.method)));
    }
    if let Some(chosen) = state.threshold.as_ref().filter(|chosen| chosen.method == setup.method) {
        parts.push(format!("threshold={}", chosen.value));
    }
    if let Some(model) = &state.wanted_model {
        parts.push(format!("model={}", escape(model)));
    }
    parts.join("&")
}

/// The whole setup spelled out, for sharing: nothing depends on the defaults of the page that opens it.
pub fn encode_full(state: &State) -> String {
    let setup = &state.setup;
    let mut link = format!(
        "normal={}&template={}&anomaly={}&method={}&threshold={}",
        join(&setup.normal, ","),
        join(&setup.templates, "%0A"),
        join(&setup.anomaly, "%0A"),
        escape(&state.method_in_use()),
        state.threshold_in_use(),
    );
    if let Some(model) = state.ready() {
        link.push_str("&model=");
        link.push_str(&escape(&model.entry.id));
    }
    link
}

/// Reads a fragment, with or without its `#`. Total: any text gives a [`Link`].
pub fn decode(fragment: &str) -> Link {
    let mut link = Link::default();
    let fragment = fragment.trim_start_matches('#');
    if fragment.is_empty() {
        return link;
    }
    if fragment.len() > MAX_FRAGMENT {
        link.notes.push(format!(
            "The link was ignored: it has {} characters, at most {MAX_FRAGMENT} are read.",
            fragment.len()
        ));
        return link;
    }
    for part in fragment.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let ignored = match key {
            "normal" => {
                let names = value.split(',').map(unescape).collect::<Option<Vec<_>>>().map(clean_names);
                store(&mut link.normal, names.filter(|n| !n.is_empty()))
            }
            "template" => store(&mut link.templates, texts(value)),
            "anomaly" => store(&mut link.anomaly, texts(value)),
            "method" => store(&mut link.method, identifier(value)),
            "model" => store(&mut link.model, identifier(value)),
            "threshold" => {
                let number = value.parse::<f32>().ok().filter(|t| (0.0..=1.0).contains(t));
                store(&mut link.threshold, number)
            }
            _ => true,
        };
        if ignored {
            let shown: String =
                unescape(key).map_or_else(|| key.to_owned(), |k| clean_text(&k)).chars().take(20).collect();
            link.notes.push(format!("The link's part “{shown}” is not understood and was ignored."));
        }
    }
    // a hostile link may hold thousands of parts: one sentence says as much
    if link.notes.len() > 3 {
        let more = link.notes.len() - 2;
        link.notes.truncate(2);
        link.notes.push(format!("{more} further parts of the link were ignored."));
    }
    link
}

/// True when there is nothing to store.
fn store<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    let nothing = value.is_none();
    if !nothing {
        *place = value;
    }
    nothing
}

fn texts(value: &str) -> Option<Vec<String>> {
    let text = unescape(value)?;
    let lines: Vec<String> = text.lines().take(super::MAX_NAMES).map(clean_text).filter(|l| !l.is_empty()).collect();
    (!lines.is_empty()).then_some(lines)
}

fn identifier(value: &str) -> Option<String> {
    let id = unescape(value)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (!id.is_empty() && id.len() <= MAX_ID && id.chars().all(plain)).then_some(id)
}

fn join(texts: &[String], separator: &str) -> String {
    texts.iter().map(|t| escape(t)).collect::<Vec<_>>().join(separator)
}

/// Percent-encodes all but RFC 3986's unreserved characters; braces stay, for the reader's sake.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'{' | b'}' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Undoes percent-encoding and `+` for a space; `None` for broken escapes or bytes that are no UTF-8.
fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let high = (bytes.next()? as char).to_digit(16)?;
                let low = (bytes.next()? as char).to_digit(16)?;
                out.push((high * 16 + low) as u8);
            }
            b'+' => out.push(b' '),
            _ => out.push(byte),
        }
    }
    let text = String::from_utf8(out).ok()?;
    (text.chars().count() <= MAX_TEXT * super::MAX_NAMES).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_page_has_an_empty_fragment() {
        assert_eq!(encode(&State::default()), "");
        assert_eq!(decode(""), Link::default());
        assert_eq!(decode("#"), Link::default());
    }

    #[test]
    fn a_setup_survives_the_journey() {
        let mut state = State::default();
        state.setup.normal = vec!["dog".into(), "Bär, gross & klein".into(), "犬 100%".into()];
        state.setup.templates = vec!["a photo of a {}".into(), "a+b={}#?".into()];
        state.setup.anomaly = vec!["something else".into()];
        state.setup.method = "mcm".into();
        state.choose_threshold(0.62);
        state.wanted_model = Some("vit-b-32".into());
        for fragment in [encode(&state), encode_full(&state)] {
            assert!(fragment.is_ascii());
            let link = decode(&fragment);
            assert_eq!(link.normal.as_ref(), Some(&state.setup.normal));
            assert_eq!(link.templates.as_ref(), Some(&state.setup.templates));
            assert_eq!(link.anomaly.as_ref(), Some(&state.setup.anomaly));
            assert_eq!(link.method.as_deref(), Some("mcm"));
            assert_eq!(link.threshold, Some(0.62));
            assert_eq!(link.notes, [""; 0]);
        }
    }

    #[test]
    fn what_the_issue_writes_is_read() {
        let link = decode(
            "#normal=dog,cat&template=a%20photo%20of%20a%20{}&anomaly=a+photo+of+something&threshold=0.62&method=zero-shot&model=mini",
        );
        assert_eq!(link.normal, Some(vec!["dog".into(), "cat".into()]));
        assert_eq!(link.templates, Some(vec!["a photo of a {}".into()]));
        assert_eq!(link.anomaly, Some(vec!["a photo of something".into()]));
        assert_eq!(link.threshold, Some(0.62));
        assert_eq!((link.method.as_deref(), link.model.as_deref()), (Some("zero-shot"), Some("mini")));
    }

    #[test]
    fn hostile_fragments_are_ignored_and_said() {
        for (fragment, what) in [
            ("normal=%", "normal"),
            ("normal=%ZZ", "normal"),
            ("normal=%FF%FE", "normal"),
            ("normal=,,,", "normal"),
            ("threshold=NaN", "threshold"),
            ("threshold=7", "threshold"),
            ("threshold=-0.1", "threshold"),
            ("threshold=inf", "threshold"),
            ("model=../../secret", "model"),
            ("model=https%3A%2F%2Fevil.example%2Fm", "model"),
            ("method=%3Cscript%3E", "method"),
            ("template=%0A%0A", "template"),
            ("<script>alert(1)</script>", "<script>alert(1)</sc"),
        ] {
            let link = decode(fragment);
            assert_eq!(link.notes.len(), 1, "{fragment}");
            assert!(link.notes[0].contains(&format!("“{what}”")), "{fragment}: {}", link.notes[0]);
            assert_eq!(Link { notes: vec![], ..link }, Link::default(), "{fragment}");
        }
        assert_eq!(decode(&"x&".repeat(5000)).notes.len(), 3);
        assert_eq!(decode(&"a".repeat(MAX_FRAGMENT + 1)).notes.len(), 1);
    }

    #[test]
    fn many_and_long_names_are_cut() {
        let many = (0..1000).map(|i| format!("n{i}")).collect::<Vec<_>>().join(",");
        let link = decode(&format!("normal={many}"));
        assert_eq!(link.normal.map(|n| n.len()), Some(super::super::MAX_NAMES));
        let long = decode(&format!("normal={}", "y".repeat(5000)));
        assert_eq!(long.normal.map(|n| n[0].len()), Some(MAX_TEXT));
        assert_eq!(decode("normal=a%00b%0Ac").normal, Some(vec!["a b c".into()]));
    }
}
