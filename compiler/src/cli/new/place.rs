//! A new folder with all of its files, or none.
//!
//! In: a path where nothing is, files by their paths below it. Out: the folder. Law: it is made under another name
//! beside its place and gets its own by one renaming; a failure leaves nothing, and what comes to stand in its place
//! meanwhile is not replaced.

use super::super::disk::Disk;
use super::super::output::io_error;
use crate::error::{Error, Fault, Result, Site};
use std::path::Path;

pub(super) fn place(disk: &Disk, folder: &Path, files: &[(String, Vec<u8>)]) -> Result<()> {
    let beside = folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |e: std::io::Error| io_error(&path, "cannot be written", &e)
    };
    if !beside.is_dir() {
        let site = Site::File(beside.display().to_string());
        return Err(Error::new(Fault::Environment, site, "is no folder to make a project in"));
    }
    let staged =
        tempfile::Builder::new().prefix(".secateur-new").tempdir_in(beside).map_err(failed(folder))?;
    let root = staged.path().join("project");
    for (path, bytes) in files {
        let place = root.join(path);
        disk.create_dir_all(place.parent().unwrap_or(&root)).map_err(failed(&folder.join(path)))?;
        disk.write(&place, bytes).map_err(failed(&folder.join(path)))?;
    }
    disk.sync_dir(&root).map_err(failed(folder))?;
    if std::fs::symlink_metadata(folder).is_ok() {
        let site = Site::File(folder.display().to_string());
        return Err(Error::new(Fault::Environment, site, "exists already"));
    }
    disk.rename(&root, folder).map_err(failed(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_at_any_step_leaves_nothing() {
        let files = [("a.txt".to_owned(), b"a".to_vec()), ("b/c/d.txt".to_owned(), b"dd".to_vec())];
        let mut failures = 0;
        for step in 0.. {
            let root = tempfile::tempdir().unwrap();
            let disk = Disk { fails: Some((step, false)), ..Disk::default() };
            let placed = place(&disk, &root.path().join("new"), &files);
            if disk.steps.get() <= step {
                placed.unwrap();
                assert_eq!(std::fs::read(root.path().join("new/b/c/d.txt")).unwrap(), b"dd");
                assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
                break;
            }
            placed.unwrap_err();
            failures += 1;
            assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0, "step {step}");
        }
        assert_eq!(failures, 6);
    }

    #[test]
    fn what_stands_there_stays() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("new");
        std::fs::create_dir(&folder).unwrap();
        let error = place(&Disk::default(), &folder, &[("a".to_owned(), Vec::new())]).unwrap_err();
        assert!(error.to_string().contains("exists already"), "{error}");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        let error = place(&Disk::default(), &root.path().join("no/new"), &[]).unwrap_err().to_string();
        assert!(error.contains("no folder"), "{error}");
    }
}
