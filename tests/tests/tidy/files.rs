//! The files of the repository, by their path inside it, so that no rule depends on where the
//! repository stands.

use std::path::Path;

/// A text file.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// With `/` between folders, from the root of the repository.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn new(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.into() }
    }
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

fn walk(root: &Path, folder: &str, found: &mut Vec<File>) {
    let entries = std::fs::read_dir(root.join(folder)).expect("a folder of the repository");
    for entry in entries.flatten() {
        let name = entry.file_name().into_string().expect("names are ASCII");
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            if !["target", ".git", "node_modules", "__pycache__"].contains(&name.as_str()) {
                walk(root, &path, found);
            }
        } else if kind.is_file()
            && name != ".git"
            && let Ok(text) = std::fs::read_to_string(entry.path())
        {
            found.push(File { path, text });
        }
    }
}

/// Every text file, sorted.
pub(crate) fn all() -> Vec<File> {
    let mut found = Vec::new();
    walk(&secateur_tests::repository(), "", &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    // Rules over no files would hold.
    assert!(found.iter().filter(|f| f.is_rust()).count() > 200, "the walk lost files");
    found
}

/// The files that Rust is in.
pub(crate) fn rust() -> Vec<File> {
    all().into_iter().filter(File::is_rust).collect()
}
