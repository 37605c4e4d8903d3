//! Code that an earlier build emitted: saving a source file compiles no model again.
//!
//! In: a key over everything that decides the code, and the folder of the build. Out: the code with its
//! warnings, if they were kept there whole. Law: an entry is what the compiler would say, or it is not
//! used: one that is cut short, altered, of another key or of other tensor files counts as none. Nothing
//! depends on the folder: without one, or where it cannot be written to, models are compiled each time.

use secateur_compiler::FINGERPRINT;
use secateur_compiler::options::Place;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What a model became.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Compiled {
    /// The emitted Rust.
    pub(crate) code: String,
    /// What the model takes, in a line.
    pub(crate) note: String,
    /// What was wrong with what, in the words of the attribute.
    pub(crate) warnings: Vec<(Option<Place>, String)>,
    /// Files with tensors of the model, relative to the crate, and the hash of each.
    pub(crate) beside: Vec<(PathBuf, Hash)>,
}

/// 128 bits of two differently begun SipHashes: for telling contents apart, not for secrets.
pub(crate) type Hash = u128;

/// The hash of some parts, each with its length.
pub(crate) fn hash(parts: &[&[u8]]) -> Hash {
    let half = |begin: u64| {
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write_u64(begin);
        for part in parts {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        hasher.finish()
    };
    (u128::from(half(1)) << 64) | u128::from(half(2))
}

/// Where code is kept between builds, if anywhere.
#[derive(Debug, Clone)]
pub(crate) struct Cache(pub(crate) Option<PathBuf>);

/// Entries that are kept, the newest ones: models, times the targets and options that one tries in turn.
const ENTRIES: usize = 32;
/// How an entry begins.
const MAGIC: &str = "secateur 2";

impl Cache {
    fn file(&self, key: Hash) -> Option<PathBuf> {
        self.0.as_ref().map(|folder| folder.join(format!("{key:032x}")))
    }

    /// The entry of a key, if there is one whose tensor files `now` have the hashes that they had.
    pub(crate) fn get(&self, key: Hash, now: &dyn Fn(&Path) -> Option<Hash>) -> Option<Compiled> {
        let file = self.file(key)?;
        let found = read(key, &std::fs::read_to_string(&file).ok()?)?;
        if found.beside.iter().any(|(path, hash)| now(path) != Some(*hash)) {
            return None;
        }
        // So that the newest are those that were used last.
        if let Ok(file) = std::fs::File::options().append(true).open(file) {
            let _ = file.set_modified(SystemTime::now());
        }
        Some(found)
    }

    /// Keeps an entry, and of all entries the newest. A failure costs the next build its time and nothing else.
    pub(crate) fn put(&self, key: Hash, what: &Compiled) {
        let (Some(file), Some(text)) = (self.file(key), written(key, what)) else { return };
        let Some(folder) = file.parent() else { return };
        let staged = folder.join(format!("{key:032x}.{}", std::process::id()));
        let kept = std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&staged, text))
            .and_then(|()| std::fs::rename(&staged, &file));
        if kept.is_err() {
            let _ = std::fs::remove_file(&staged);
            return;
        }
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut dated: Vec<(SystemTime, PathBuf)> =
            entries.filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path()))).collect();
        dated.sort();
        for (_, old) in dated.iter().rev().skip(ENTRIES) {
            let _ = std::fs::remove_file(old);
        }
    }
}

/// The key of everything that decides the code: the compiler itself, and the parts given.
pub(crate) fn key(parts: &[&[u8]]) -> Hash {
    let mut all: Vec<&[u8]> = vec![FINGERPRINT.as_bytes()];
    all.extend(parts);
    hash(&all)
}

/// An entry's text: `None` if a path or the note has no form in it.
fn written(key: Hash, what: &Compiled) -> Option<String> {
    if what.note.contains('\n') {
        return None;
    }
    let mut body = format!("{}\n", what.note);
    for (path, hash) in &what.beside {
        let path = path.to_str().filter(|p| !p.contains('\n'))?;
        body += &format!("beside {hash:032x} {path}\n");
    }
    for (place, text) in &what.warnings {
        let place = match place {
            Some(Place::Argument(n)) => n.to_string(),
            Some(Place::Line { .. }) => "file".to_owned(),
            _ => "model".to_owned(),
        };
        body += &format!("warning {place} {}\n{text}\n", text.len());
    }
    body += "code\n";
    body += &what.code;
    Some(format!("{MAGIC} {key:032x} {:032x}\n{body}", hash(&[body.as_bytes()])))
}

/// The entry of a key; `None` if the text is not all of it.
fn read(key: Hash, text: &str) -> Option<Compiled> {
    let (head, body) = text.split_once('\n')?;
    if head != format!("{MAGIC} {key:032x} {:032x}", hash(&[body.as_bytes()])) {
        return None;
    }
    let (note, mut body) = body.split_once('\n')?;
    let (mut beside, mut warnings) = (Vec::new(), Vec::new());
    loop {
        let (line, rest) = body.split_once('\n')?;
        body = rest;
        let (kind, said) = line.split_once(' ').unwrap_or((line, ""));
        match kind {
            "code" => {
                let (code, note) = (body.to_owned(), note.to_owned());
                return Some(Compiled { code, note, warnings, beside });
            }
            "beside" => {
                let (hash, path) = said.split_once(' ')?;
                beside.push((PathBuf::from(path), Hash::from_str_radix(hash, 16).ok()?));
            }
            "warning" => {
                let (place, length) = said.split_once(' ')?;
                let place = match place {
                    "model" => None,
                    "file" => Some(Place::Line { file: "".into(), line: 1, column: 1 }),
                    n => Some(Place::Argument(n.parse().ok()?)),
                };
                let (text, rest) = body.split_at_checked(length.parse().ok()?)?;
                warnings.push((place, text.to_owned()));
                body = rest.strip_prefix('\n')?;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Compiled {
        Compiled {
            code: "pub struct Net;\n".into(),
            note: "net: 3 bytes".into(),
            warnings: vec![
                (Some(Place::Argument(3)), "two\nlines".into()),
                (None, String::new()),
                (Some(Place::Line { file: "".into(), line: 1, column: 1 }), "µ".into()),
            ],
            beside: vec![("models/a b.data".into(), 7)],
        }
    }

    #[test]
    fn what_is_kept_comes_back_whole_or_not_at_all() {
        let text = written(5, &sample()).unwrap();
        assert_eq!(read(5, &text), Some(sample()));
        assert_eq!(read(6, &text), None);
        for cut in (0..text.len()).filter(|&cut| text.is_char_boundary(cut)) {
            assert_eq!(read(5, &text[..cut]), None, "{cut}");
            let mut other = text.clone();
            if other.as_bytes()[cut].is_ascii_alphanumeric() {
                other.replace_range(cut..=cut, "~");
                assert_eq!(read(5, &other), None, "{cut}");
            }
        }
    }

    #[test]
    fn entries_are_found_by_key_and_tensor_files_and_are_few() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache(Some(folder.path().join("kept")));
        let same = |_: &Path| Some(7);
        assert_eq!(cache.get(1, &same), None);
        cache.put(1, &sample());
        assert_eq!(cache.get(1, &same), Some(sample()));
        assert_eq!(cache.get(2, &same), None);
        assert_eq!(cache.get(1, &|_| Some(8)), None);
        assert_eq!(cache.get(1, &|_| None), None);
        for key in 2..50 {
            cache.put(key, &sample());
        }
        assert_eq!(std::fs::read_dir(folder.path().join("kept")).unwrap().count(), ENTRIES);
        assert_eq!(cache.get(49, &same), Some(sample()));
        // Nowhere to keep them: nothing is found, and nothing fails.
        for nowhere in [Cache(None), Cache(Some("/dev/null/kept".into()))] {
            nowhere.put(1, &sample());
            assert_eq!(nowhere.get(1, &same), None);
        }
    }
}
