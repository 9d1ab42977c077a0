//! Published models that `oddlens model fetch` knows by name, and published figures to hold a model against.

/// Where a model's file lies.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// At an address of its own.
    Address(&'static str),
    /// In a repository of the Hugging Face hub, with the configuration beside it: as it was at a commit, or is at a branch.
    Hub { repository: &'static str, revision: &'static str, file: &'static str },
}

/// A model that can be fetched by name.
#[derive(Debug)]
pub struct Published {
    /// As it is written on the command line.
    pub id: &'static str,
    /// For people.
    pub name: &'static str,
    pub place: Place,
    /// SHA-256 of the file, lower-case hex, where it is known for certain.
    pub sha256: Option<&'static str>,
    pub can: &'static str,
    pub cannot: &'static str,
}

/// All of them.
pub const PUBLISHED: &[Published] = &[
    Published {
        id: "vit-b-32",
        name: "OpenAI CLIP ViT-B/32",
        // address and checksum: openai/CLIP, clip/clip.py, where the checksum is part of the address
        place: Place::Address(
            "https://openaipublic.azureedge.net/clip/models/40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
        ),
        sha256: Some("40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"),
        can: "Understands free text; the model of the paper.",
        cannot: "Sees 224 x 224 pixels in patches of 32: small objects and fine defects are lost; \"without\" and counts are not understood.",
    },
    Published {
        id: "vit-b-32-laion",
        name: "OpenCLIP ViT-B/32, LAION-2B",
        place: Place::Hub {
            repository: "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
            revision: "main",
            file: "model.safetensors",
        },
        sha256: None,
        can: "Understands free text.",
        cannot: "Sees 224 x 224 pixels in patches of 32: small objects and fine defects are lost; \"without\" and counts are not understood.",
    },
    Published {
        id: "tinyclip-8m",
        name: "TinyCLIP ViT-8M/16, Text-3M",
        // revision and checksum: as the page's manifest has them
        place: Place::Hub {
            repository: "wkcn/TinyCLIP-ViT-8M-16-Text-3M-YFCC15M",
            revision: "a2a8c6eaa2549ad66eb7c31b85022bf58273a26c",
            file: "model.safetensors",
        },
        sha256: Some("9339ee3d736344d0ddcaa6c03edc9f89688f08caaea5401220885233da726fcc"),
        can: "Understands free text, in a seventh of ViT-B/32's size.",
        cannot: "Knows fewer things than larger models, and loses small objects and fine defects: it sees 224 x 224 pixels.",
    },
];

/// The published model of that name.
pub fn by_id(id: &str) -> Option<&'static Published> {
    PUBLISHED.iter().find(|model| model.id == id)
}

/// A figure of the paper.
#[derive(Debug)]
pub struct Figure {
    /// Whether all classes but one are normal, instead of one.
    pub leave_one_out: bool,
    /// Mean over the classes.
    pub auroc: f64,
}

/// Zero-shot on CIFAR-10's test pictures by OpenAI's ViT-B/32.
pub const CIFAR10_FIGURES: [Figure; 2] =
    [Figure { leave_one_out: false, auroc: 0.985 }, Figure { leave_one_out: true, auroc: 0.922 }];
/// Where they stand.
pub const CIFAR10_SOURCE: &str = "OpenAI's ViT-B/32, in Liznerski et al., TMLR 2022, arXiv 2205.11474";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_unique_and_checksums_are_those_of_the_addresses() {
        for (i, model) in PUBLISHED.iter().enumerate() {
            assert!(PUBLISHED[..i].iter().all(|other| other.id != model.id));
            assert!(model.id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{}", model.id);
            assert!(by_id(model.id).is_some());
            if let (Place::Address(address), Some(sha256)) = (model.place, model.sha256) {
                assert!(address.split('/').any(|part| part == sha256) && sha256.len() == 64, "{}", model.id);
            }
        }
        assert!(by_id("vit").is_none());
    }

    /// Page and command line fetch the same file under the same name.
    #[test]
    fn the_manifest_pins_the_same() {
        let (model, manifest) = (by_id("tinyclip-8m").unwrap(), oddlens::weights::manifest::embedded::manifest());
        let entry = manifest.entry(Some(model.id)).unwrap();
        assert_eq!(model.sha256, Some(entry.sha256.as_str()));
        let Place::Hub { repository, revision, file } = model.place else { panic!("{model:?}") };
        let path = format!("/{repository}/resolve/{revision}/{file}");
        assert!(entry.address.as_ref().unwrap().ends_with(&path), "{path}");
    }
}
