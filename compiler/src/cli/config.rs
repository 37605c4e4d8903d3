//! What holds for a model, as a `secateur.toml`.

pub(crate) use crate::files::config::{of, target};

use crate::options::{self, ChipName, FilePath, Settings};
use std::path::{Path, PathBuf};

/// The settings as TOML, with files by their whole paths: right wherever the text is kept.
pub(crate) fn print(settings: &Settings, model: &Path) -> String {
    let whole = |FilePath(path): &FilePath| {
        let whole = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
        FilePath(whole.display().to_string())
    };
    let mut settings = settings.clone();
    for (_, file) in settings.calibrate.iter_mut().flat_map(|g| &mut g.value.0) {
        file.value = whole(&file.value);
    }
    if let Some(given) = &mut settings.target
        && let ChipName::File(file) = &given.value
    {
        given.value = ChipName::File(whole(file));
    }
    options::print(
        &settings,
        &format!("What holds for {}, and where each value comes from.", model.display()),
    )
}
