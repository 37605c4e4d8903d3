//! Settings -> the target that they name.

use super::value::{ChipName, FilePath, Place, Wrong};
use super::wish::matches;
use super::{DECLARED, Settings};
use crate::error::{Error, Fault, Result, Site};
use secateur_targets::{Target, TargetError};

impl Settings {
    /// Refuses two options of one level that say the same in different ways.
    pub fn conflicts(&self) -> std::result::Result<(), Wrong> {
        for option in DECLARED {
            let Some(place) = self.place(option.name).filter(|p| **p != Place::Default) else { continue };
            for other in option.instead {
                if let Some(second) = self.place(other) {
                    let message = format!("give `{}` or `{other}`, not both", option.name);
                    return Err(Wrong::new(place.max(second), message));
                }
            }
        }
        Ok(())
    }

    /// The target; `read` gets the text of a chip's file.
    ///
    /// Errors: an unknown chip or core, a chip that is given in part or twice, and those of `read`.
    pub fn target(&self, read: &mut dyn FnMut(&str) -> Result<String>) -> Result<Target> {
        let refused = |e: TargetError, option: &str| {
            Error::new(Fault::Target, Site::Option(option.into()), e.to_string())
        };
        self.conflicts().map_err(Wrong::error)?;
        let parts = ["core", "flash", "ram"];
        if let (Some(core), Some(flash), Some(ram)) = (&self.core, &self.flash, &self.ram) {
            return secateur_targets::core_only(&core.value, flash.value.0, ram.value.0)
                .map_err(|e| refused(e, "core"));
        }
        if let Some(option) = parts.iter().find(|p| self.place(p).is_some()) {
            return Err(Error::option(option, "`core`, `flash` and `ram` are given together"));
        }
        match self.target.as_ref().map(|g| &g.value) {
            None => secateur_targets::find("host").map_err(|e| refused(e, "target")),
            Some(ChipName::Known(name)) => secateur_targets::find(name).map_err(|e| refused(e, "target")),
            Some(ChipName::File(FilePath(file))) => secateur_targets::parse(&read(file)?)
                .map_err(|e| Error::new(Fault::Target, Site::File(file.clone()), e.to_string())),
        }
    }

    /// Where an option's value was given, or what it says of a name.
    pub fn place_of(&self, site: &Site) -> Option<&Place> {
        let (option, name) = match site {
            Site::Option(option) => return self.place(option),
            Site::Entry { option, name } => (option, name),
            _ => return None,
        };
        let places = self.entries(option);
        let named = places.iter().find(|(entry, _)| entry == name);
        let matching = || places.iter().rev().find(|(pattern, _)| matches(pattern, name));
        named.or_else(matching).map(|(_, place)| *place).or_else(|| self.place(option))
    }

    /// Errors that name options, at the lines that gave those.
    pub fn located(&self, mut error: Error) -> Error {
        error.others = error.others.into_iter().map(|e| self.located(e)).collect();
        if let Some(place @ Place::Line { .. }) = self.place_of(&error.site) {
            error.message = error.line();
            error.site = place.site();
        }
        error
    }
}
