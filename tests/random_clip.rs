//! The weights that `tests/common/random_clip.rs` makes are, bit for bit, those that transformers was given.

#[path = "common/random_clip.rs"]
mod random_clip;

#[test]
fn rust_and_python_make_the_same_numbers() {
    let cases = random_clip::cases();
    assert_eq!(cases.len(), 20);
    for case in &cases {
        random_clip::assert_same_as_python(case);
    }
}

#[test]
fn planting_changes_four_channels_of_what_writes_to_the_stream() {
    let (plain, planted) =
        (random_clip::case("odd-widths", "strong", false), random_clip::case("odd-widths", "strong", true));
    for (name, shape) in plain.shapes() {
        let writes = ["_embedding", "out_proj", "fc2"].iter().any(|p| name.contains(p));
        let (a, b) = (plain.tensor(&name, &shape), planted.tensor(&name, &shape));
        let width = if name.starts_with("vision_model") { 72 } else { 40 };
        let changed = a.iter().zip(&b).filter(|(x, y)| x != y).count();
        assert_eq!(changed, if writes { 4 * a.len() / width } else { 0 }, "{name}");
        assert!(a.iter().zip(&b).all(|(x, y)| x == y || *y == x * 50.0), "{name}");
    }
}
