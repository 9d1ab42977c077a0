//! What `score` and `train` share: the texts that pictures are compared with.

use oddlens::protocol::{DEFAULT_ANOMALY, DEFAULT_TEMPLATE, Setup};
use oddlens::score::Method;

/// Everything in a setup but the normal names, which not every command must be given.
#[derive(Clone, Debug, clap::Args)]
pub struct TextArgs {
    /// Prompt for a normal name, which stands at '{}'; several are averaged
    #[arg(long, value_name = "TEXT", default_value = DEFAULT_TEMPLATE)]
    template: Vec<String>,
    /// Text that stands for the anomaly; several are possible; with '{}' it is asked for every normal name
    #[arg(long, value_name = "TEXT", default_value = DEFAULT_ANOMALY)]
    anomaly: Vec<String>,
    /// Name of an outlier that is known to occur, a further text for the anomaly; several are possible
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    known_outlier: Vec<String>,
}

impl TextArgs {
    /// The setup of `normal` names, as they were given, and a method.
    pub fn setup(&self, normal: &[String], method: &Method) -> Setup {
        let normal = normal.iter().map(|name| name.trim().to_string()).filter(|name| !name.is_empty()).collect();
        Setup {
            normal,
            templates: self.template.clone(),
            anomaly: self.anomaly.clone(),
            known_outliers: self.known_outlier.clone(),
            method: method.id.into(),
        }
    }
}
