//! Hardware as data: a chip is one TOML file in `chips/`, a core one in `cores/`.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// A processor core: what it can execute and what that costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Core {
    pub name: String,
    /// Feature names that kernels ask for: `dsp`, `mve`, `fpu`, `mul64`, ...
    #[serde(default)]
    pub features: Vec<String>,
}

/// A chip, or a core with memories given by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Target {
    pub name: String,
    pub core: Core,
}

impl Target {
    pub fn has(&self, feature: &str) -> bool {
        self.core.features.iter().any(|f| f == feature)
    }
}
