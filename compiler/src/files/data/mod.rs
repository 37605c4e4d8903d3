//! Samples in files (`.npy`, `.npz`, `.csv`, `.wav`, or a folder of them), and their way to and from a model's ports.

pub(crate) mod csv;
pub(crate) mod folder;

use crate::error::{Error, Result, Site};
use crate::files;
use crate::npy;
use crate::options::{FilePath, Given};
use crate::tensor::{Samples, Tensor};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

fn at_file(path: &Path) -> impl Fn(Error) -> Error + '_ {
    move |e| e.at(Site::File(path.display().to_string()))
}

/// Reads one array from a `.npy` file.
pub fn read_npy(path: &Path) -> Result<Tensor> {
    npy::read(&files::read(path)?).map_err(at_file(path))
}

/// Samples, and the labels that stood in a column of their table.
#[derive(Debug)]
pub(crate) struct Labelled {
    pub(crate) samples: Samples,
    pub(crate) labels: Option<Vec<String>>,
}

/// How a file's format is told: by its ending, in lower case.
fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}

/// Reads samples of any format; `column` is the one of a table that holds labels.
pub(crate) fn read_labelled(path: &Path, column: Option<&str>) -> Result<Labelled> {
    let one = |array: Tensor, flat: bool| {
        let mut samples = Samples::default();
        samples.arrays.insert(String::new(), array);
        samples.flat.extend(flat.then(String::new));
        samples
    };
    if path.is_dir() {
        let (array, flat) = folder::read(path)?;
        return Ok(Labelled { samples: one(array, flat), labels: None });
    }
    match ending(path).as_str() {
        "csv" | "tsv" | "txt" => {
            let table = csv::read(&files::read(path)?, path, column)?;
            Ok(Labelled { samples: one(table.numbers, true), labels: table.labels })
        }
        "wav" => {
            let frames = folder::wav(&files::read(path)?, path)?.frames;
            let shape: Vec<usize> = std::iter::once(1).chain(frames.shape().iter().copied()).collect();
            let array = Tensor::new(shape, frames.into_data()).map_err(at_file(path))?;
            Ok(Labelled { samples: one(array, true), labels: None })
        }
        _ => Ok(Labelled { samples: read_arrays(path)?, labels: None }),
    }
}

/// Reads samples of any format, as they are calibrated and run with.
pub fn read_samples(path: &Path) -> Result<Samples> {
    read_labelled(path, None).map(|read| read.samples)
}

/// Reads labels: an array, or a table of words or numbers. What they count is [`super::labels::numbers`].
pub(crate) fn read_labels(path: &Path) -> Result<csv::Labels> {
    match ending(path).as_str() {
        "csv" | "tsv" | "txt" => csv::labels(&files::read(path)?, path),
        _ => read_npy(path).map(csv::Labels::Array),
    }
}

/// Reads arrays: `.npz` by key, anything else as one unnamed `.npy` array.
fn read_arrays(path: &Path) -> Result<Samples> {
    let bytes = files::read(path)?;
    let mut samples = Samples::default();
    if !bytes.starts_with(b"PK") {
        let refused = |e: Error| {
            e.or_help("samples are read from `.npy`, `.npz`, `.csv`, `.tsv` and `.wav` files, and from folders of them")
        };
        samples.arrays.insert(String::new(), npy::read(&bytes).map_err(at_file(path)).map_err(refused)?);
        return Ok(samples);
    }
    let broken =
        |e: String| Error::data(Site::File(path.display().to_string()), format!("is not a valid .npz: {e}"));
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|e| broken(e.to_string()))?;
    if archive.has_duplicate_names() {
        return Err(broken("two of its arrays have the same name".into()));
    }
    // Sizes first: nothing is unpacked of an archive that is too large.
    let mut left = UNPACKED;
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(|e| broken(e.to_string()))?;
        let name = entry.name().map_err(|e| broken(e.to_string()))?.to_string();
        left = left.checked_sub(entry.size()).ok_or_else(|| {
            Error::data(
                Site::File(path.display().to_string()),
                format!(
                    "array `{name}` takes {} of the file and unpacks to {}; the arrays of a file may hold {} MiB",
                    mib(entry.compressed_size()),
                    mib(entry.size()),
                    UNPACKED >> 20
                ),
            )
            .help("give fewer samples, or a `.npy` file, which is not packed")
        })?;
    }
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|e| broken(e.to_string()))?;
        let full = entry.name().map_err(|e| broken(e.to_string()))?.to_string();
        let name = full.strip_suffix(".npy").unwrap_or(&full).to_string();
        let size = entry.size();
        let in_array = |e: Error| Error { message: format!("array `{name}`: {}", e.message), ..e };
        let mut bytes = Vec::new();
        // A stream may hold more than it declares; it is not followed there.
        entry
            .take(size + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| broken(format!("array `{name}` cannot be unpacked: {e}")))?;
        if bytes.len() as u64 != size {
            return Err(broken(format!("array `{name}` is not of the size that it declares, {size} bytes")));
        }
        let array = npy::read(&bytes).map_err(in_array).map_err(at_file(path))?;
        if samples.arrays.insert(name.clone(), array).is_some() {
            return Err(broken(format!("two of its arrays are called `{name}`")));
        }
    }
    Ok(samples)
}

/// The files that hold the samples of a path: itself, or those of a folder in the order in which they are read.
///
/// Errors: a folder that cannot be listed.
pub fn sources(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_dir() { folder::files(path) } else { Ok(vec![path.to_owned()]) }
}

/// Reads samples: one file without a name, or one file of an array for each name; `column` is the one of a table that
/// holds labels.
///
/// Errors: a file that cannot be read or is none of samples, and one of several arrays where one is asked for.
pub fn read_all(files: &[(String, Given<FilePath>)], column: Option<&str>) -> Result<Samples> {
    if let [(name, file)] = files
        && name.is_empty()
    {
        return read_labelled(Path::new(&file.value.0), column).map(|read| read.samples);
    }
    let mut samples = Samples::default();
    for (name, file) in files {
        let path = Path::new(&file.value.0);
        let read = read_labelled(path, column)?.samples;
        let mut arrays = read.arrays.into_values();
        let (Some(array), None) = (arrays.next(), arrays.next()) else {
            let why = format!("holds several arrays, of which none is said to be that of `{name}`");
            return Err(Error::data(Site::File(path.display().to_string()), why));
        };
        samples.flat.extend((!read.flat.is_empty()).then(|| name.clone()));
        samples.arrays.insert(name.clone(), array);
    }
    Ok(samples)
}

/// How much the arrays of one archive may hold, unpacked: far more than calibration and tests of
/// a model for a microcontroller take, and little enough for any machine.
const UNPACKED: u64 = 1 << 30;

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

/// Writes arrays as an `.npz`, whole or not at all.
#[cfg(feature = "cli")]
pub fn write_npz(path: &Path, arrays: &std::collections::BTreeMap<String, Tensor>) -> Result<()> {
    use crate::error::Fault;
    use std::io::Write;

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
    files::write(path, &bytes)
}

pub use crate::samples::{sequences, split, warnings};

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Write;

    /// An archive of entries: name, bytes.
    fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(bytes).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    fn refusal(bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        std::fs::write(&path, bytes).unwrap();
        read_samples(&path).unwrap_err().to_string()
    }

    #[test]
    fn archives_that_unpack_to_too_much_are_refused_by_their_sizes() {
        // The declared size is changed, not the data: nothing may be unpacked to find out.
        let mut bytes = archive(&[("big.npy", &npy::write(&Tensor::f32(&[4], vec![0.0; 4])))]);
        let central = bytes.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
        bytes[central + 24..central + 28].copy_from_slice(&(3u32 << 30).to_le_bytes());
        let text = refusal(&bytes);
        assert!(text.contains("`big.npy`") && text.contains("3072.0 MiB"), "{text}");
        // Data that go on after the declared size.
        bytes[central + 24..central + 28].copy_from_slice(&100u32.to_le_bytes());
        let text = refusal(&bytes);
        assert!(text.contains("`big`") && text.contains("size"), "{text}");
    }

    #[test]
    fn arrays_of_the_same_name_are_refused() {
        let array = npy::write(&Tensor::f32(&[1], vec![0.0]));
        let text = refusal(&archive(&[("x.npy", &array), ("x", &array)]));
        assert!(text.contains("`x`"), "{text}");
        let mut bytes = archive(&[("xx.npy", &array), ("xy.npy", &array)]);
        while let Some(at) = bytes.windows(6).position(|w| w == b"xy.npy") {
            bytes[at + 1] = b'x';
        }
        let text = refusal(&bytes);
        assert!(text.contains("same name"), "{text}");
        let text = refusal(&archive(&[("notes.txt", b"hello")]));
        assert!(text.contains("`notes.txt`") && text.contains(".npy"), "{text}");
    }

    #[cfg(feature = "cli")]
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
