//! Samples in files (`.npy`, `.npz`), and their way to and from a model's ports.

use super::output;
use crate::error::{Error, Fault, Result, Site};
use crate::npy;
use crate::tensor::{Samples, Tensor};
use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use std::path::Path;

fn at_file(path: &Path) -> impl Fn(Error) -> Error + '_ {
    move |e| e.at(Site::File(path.display().to_string()))
}

/// Reads one array from a `.npy` file.
pub fn read_npy(path: &Path) -> Result<Tensor> {
    npy::read(&output::read(path)?).map_err(at_file(path))
}

/// Reads samples: `.npz` by key, anything else as one unnamed `.npy` array.
pub fn read_samples(path: &Path) -> Result<Samples> {
    let bytes = output::read(path)?;
    let mut samples = Samples::default();
    if !bytes.starts_with(b"PK") {
        samples.arrays.insert(String::new(), npy::read(&bytes).map_err(at_file(path))?);
        return Ok(samples);
    }
    let broken =
        |e: String| Error::data(Site::File(path.display().to_string()), format!("is not a valid .npz: {e}"));
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|e| broken(e.to_string()))?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|e| broken(e.to_string()))?;
        let name = entry.name().map_err(|e| broken(e.to_string()))?.trim_end_matches(".npy").to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|e| broken(e.to_string()))?;
        samples.arrays.insert(name, npy::read(&bytes).map_err(at_file(path))?);
    }
    Ok(samples)
}

/// Writes arrays as an `.npz`, whole or not at all.
pub fn write_npz(path: &Path, arrays: &BTreeMap<String, Tensor>) -> Result<()> {
    let failed = |e: String| {
        Error::new(
            Fault::Environment,
            Site::File(path.display().to_string()),
            format!("cannot be written: {e}"),
        )
    };
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for (name, tensor) in arrays {
        archive.start_file(format!("{name}.npy"), options).map_err(|e| failed(e.to_string()))?;
        archive.write_all(&npy::write(tensor)).map_err(|e| failed(e.to_string()))?;
    }
    let bytes = archive.finish().map_err(|e| failed(e.to_string()))?.into_inner();
    output::write(path, &bytes)
}

pub use crate::samples::split;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_npz_survives_the_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        let arrays = BTreeMap::from([
            ("a/b:0".to_string(), Tensor::f32(&[2, 1], vec![1.0, 2.0])),
            ("n".to_string(), Tensor::i64(&[1], vec![-5])),
        ]);
        write_npz(&path, &arrays).unwrap();
        assert_eq!(read_samples(&path).unwrap().arrays, arrays);
    }
}
