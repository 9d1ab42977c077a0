//! The class lists of the paper's benchmarks, and what "normal" is in them: one class (one-vs-rest) or all but one
//! (leave-one-out). It does not know the page.
//!
//! Source: P. Liznerski et al., TMLR 2022 (arXiv 2205.11474), the names as in its public code (`eoe/datasets`).

/// A benchmark's classes in its own order and spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Benchmark {
    pub id: &'static str,
    pub name: &'static str,
    pub classes: &'static [&'static str],
}

/// What is normal in a benchmark when `class` is the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// The class is normal, all others are not.
    OneVsRest,
    /// All others are normal, the class is not.
    LeaveOneOut,
}

pub static BENCHMARKS: &[Benchmark] = &[
    Benchmark {
        id: "cifar10",
        name: "CIFAR-10",
        classes: &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
    },
    Benchmark {
        id: "imagenet30",
        name: "ImageNet-30",
        classes: &[
            "acorn",
            "airliner",
            "ambulance",
            "american_alligator",
            "banjo",
            "barn",
            "bikini",
            "digital_clock",
            "dragonfly",
            "dumbbell",
            "forklift",
            "goblet",
            "grand_piano",
            "hotdog",
            "hourglass",
            "manhole_cover",
            "mosque",
            "nail",
            "parking_meter",
            "pillow",
            "revolver",
            "rotary_dial_telephone",
            "schooner",
            "snowmobile",
            "soccer_ball",
            "stingray",
            "strawberry",
            "tank",
            "toaster",
            "volcano",
        ],
    },
];

impl Benchmark {
    /// The normal names when class number `current` is the current one; verbatim, as the paper prompts them.
    pub fn normal(&self, arrangement: Arrangement, current: usize) -> Vec<String> {
        let all = self.classes.iter().enumerate();
        all.filter(|(i, _)| (*i == current) == (arrangement == Arrangement::OneVsRest))
            .map(|(_, name)| (*name).to_owned())
            .collect()
    }
}

/// The names of all benchmarks.
pub fn names() -> impl Iterator<Item = String> {
    BENCHMARKS.iter().flat_map(|b| b.classes).map(|name| (*name).to_owned())
}

/// A name as people read it: `american_alligator` is shown as "american alligator".
pub fn readable(name: &str) -> String {
    name.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_arrangements_split_the_classes() {
        let cifar = &BENCHMARKS[0];
        assert_eq!(cifar.normal(Arrangement::OneVsRest, 5), ["dog"]);
        let rest = cifar.normal(Arrangement::LeaveOneOut, 5);
        assert_eq!(rest.len(), 9);
        assert!(!rest.contains(&"dog".to_owned()));
        assert_eq!(BENCHMARKS.iter().map(|b| b.classes.len()).collect::<Vec<_>>(), [10, 30]);
    }
}
