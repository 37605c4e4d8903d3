//! Folders of samples, one a file: recordings (`.wav`), arrays (`.npy`) and tables (`.csv`).
//!
//! In: a folder. Out: one array, its first axis the files in the order of their names. Law: every file is one sample of
//! one shape, and recordings have one rate; a file that is none of these is refused by name.

use super::{at_file, csv, ending};
use crate::error::{Error, Result, Site};
use crate::files;
use crate::npy;
use crate::tensor::{Data, Tensor};
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// A recording: `[frames]` of one channel, `[frames, channels]` of several, full scale at 1.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) frames: Tensor,
    pub(crate) hertz: u32,
}

/// Reads a `.wav` file of integers or floats.
///
/// Errors: what is none, and one that is cut short.
pub(crate) fn wav(bytes: &[u8], path: &Path) -> Result<Recording> {
    let refuse = |e: hound::Error| {
        Error::data(Site::File(path.display().to_string()), format!("is no .wav file of samples: {e}"))
    };
    let mut reader = hound::WavReader::new(Cursor::new(bytes)).map_err(refuse)?;
    let spec = reader.spec();
    let values: Vec<f32> = match spec.sample_format {
        hound::SampleFormat::Float => {
            reader.samples::<f32>().collect::<hound::Result<_>>().map_err(refuse)?
        }
        hound::SampleFormat::Int => {
            let full = (1i64 << (spec.bits_per_sample.clamp(1, 32) - 1)) as f32;
            let scaled = reader.samples::<i32>().map(|v| v.map(|v| v as f32 / full));
            scaled.collect::<hound::Result<_>>().map_err(refuse)?
        }
    };
    let channels = usize::from(spec.channels).max(1);
    let frames = values.len() / channels;
    let shape = if channels == 1 { vec![frames] } else { vec![frames, channels] };
    let frames = Tensor::new(shape, Data::F32(values))
        .map_err(|_| Error::data(Site::File(path.display().to_string()), "ends within a frame"))?;
    Ok(Recording { frames, hertz: spec.sample_rate })
}

/// The files of a folder in the order of their names; hidden ones are passed over.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e: std::io::Error| {
        Error::data(Site::File(folder.display().to_string()), format!("cannot be listed: {e}"))
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Reads a folder: the array, and whether its samples are rows of numbers without axes of their own.
///
/// Errors: those of its files; none at all; files of different shapes, kinds or rates.
pub(crate) fn read(folder: &Path) -> Result<(Tensor, bool)> {
    let refuse = |path: &Path, why: String| Error::data(Site::File(path.display().to_string()), why);
    let mut first: Option<(PathBuf, &'static str, Vec<usize>, u32)> = None;
    let (mut data, mut count) = (Vec::new(), 0);
    for path in files(folder)? {
        let bytes = files::read(&path)?;
        let (kind, sample, hertz) = match ending(&path).as_str() {
            "wav" => {
                let recording = wav(&bytes, &path)?;
                ("wav", recording.frames, recording.hertz)
            }
            "npy" => ("npy", npy::read(&bytes).map_err(at_file(&path))?, 0),
            "csv" | "tsv" | "txt" => ("csv", csv::read(&bytes, &path, None)?.numbers, 0),
            _ => {
                let why =
                    "is no file of a sample: a folder holds `.wav`, `.npy` or `.csv` files, one sample each";
                return Err(refuse(&path, why.into()).help("take it out of the folder"));
            }
        };
        match &first {
            None => first = Some((path.clone(), kind, sample.shape().to_vec(), hertz)),
            Some((other, of, shape, rate)) => {
                let other = other.display();
                if *of != kind {
                    return Err(refuse(&path, format!("is of another kind than `{other}`")));
                }
                if shape != sample.shape() {
                    let why = format!("holds {:?} numbers where `{other}` holds {shape:?}", sample.shape());
                    return Err(refuse(&path, why).help("cut or pad all to the length that the model takes"));
                }
                if *rate != hertz {
                    return Err(refuse(
                        &path,
                        format!("was recorded at {hertz} Hz where `{other}` has {rate} Hz"),
                    ));
                }
            }
        }
        data.extend(sample.to_f32_vec());
        count += 1;
    }
    let Some((_, kind, shape, _)) = first else {
        return Err(refuse(folder, "holds no file of a sample".into()));
    };
    let shape: Vec<usize> = std::iter::once(count).chain(shape).collect();
    let array = Tensor::new(shape, Data::F32(data)).map_err(|_| refuse(folder, "is too large".into()))?;
    Ok((array, kind != "npy"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoken(samples: &[i16], hertz: u32, channels: u16) -> Vec<u8> {
        let spec = hound::WavSpec {
            channels,
            sample_rate: hertz,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
        samples.iter().for_each(|&s| writer.write_sample(s).unwrap());
        writer.finalize().unwrap();
        bytes.into_inner()
    }

    #[test]
    fn recordings_are_read_at_full_scale_one() {
        let found = wav(&spoken(&[0, 16384, -32768, 32767], 8000, 1), Path::new("x.wav")).unwrap();
        assert_eq!(found.frames, Tensor::f32(&[4], vec![0.0, 0.5, -1.0, 32767.0 / 32768.0]));
        assert_eq!(found.hertz, 8000);
        let two = wav(&spoken(&[1, 2, 3, 4], 8000, 2), Path::new("x.wav")).unwrap();
        assert_eq!(two.frames.shape(), [2, 2]);
        let whole = spoken(&[1, 2, 3, 4], 8000, 1);
        let cut = wav(&whole[..whole.len() - 3], Path::new("x.wav")).unwrap_err().to_string();
        assert!(cut.contains("x.wav") && cut.contains("is no .wav file"), "{cut}");
    }

    #[test]
    fn a_folder_is_one_sample_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        let says = |part: &str| {
            let error = read(folder.path()).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        };
        says("holds no file");
        put("b.wav", &spoken(&[16384, 0], 8000, 1));
        put("a.wav", &spoken(&[0, 16384], 8000, 1));
        put(".hidden", b"");
        let (array, flat) = read(folder.path()).unwrap();
        assert_eq!((array, flat), (Tensor::f32(&[2, 2], vec![0.0, 0.5, 0.5, 0.0]), true));
        put("c.wav", &spoken(&[1, 2], 16000, 1));
        says("16000 Hz where");
        put("c.wav", &spoken(&[1, 2, 3], 8000, 1));
        says("c.wav");
        put("c.wav", b"RIFF");
        says("is no .wav file");
        std::fs::remove_file(folder.path().join("c.wav")).unwrap();
        put("d.npy", &npy::write(&Tensor::f32(&[2], vec![1.0, 2.0])));
        says("another kind");
        std::fs::remove_file(folder.path().join("d.npy")).unwrap();
        put("notes.md", b"hello");
        says("notes.md");
    }

    #[test]
    fn arrays_and_tables_are_samples_of_their_shape() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("1.csv"), "t,x\n1,2\n3,4\n").unwrap();
        std::fs::write(folder.path().join("2.csv"), "t,x\n5,6\n7,8\n").unwrap();
        let (array, flat) = read(folder.path()).unwrap();
        assert_eq!((array.shape(), flat), (&[2, 2, 2][..], true));
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("1.npy"), npy::write(&Tensor::i64(&[3], vec![1, 2, 3]))).unwrap();
        let (array, flat) = read(other.path()).unwrap();
        assert_eq!((array, flat), (Tensor::f32(&[1, 3], vec![1.0, 2.0, 3.0]), false));
    }
}
