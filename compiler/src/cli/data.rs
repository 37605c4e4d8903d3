//! Samples in files (`.npy`, `.npz`), and their way to and from a model's ports.

use super::output;
use crate::error::{Error, Fault, Result, Site};
use crate::npy;
use crate::program::Port;
use crate::tensor::{DType, Data, Samples, Tensor};
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

/// A real input as the port wants it: quantized (round half to even, saturated) if it has a scale.
pub fn to_port(real: &Tensor, port: &Port) -> Tensor {
    if let (Some((scale, zero)), Some(floats)) = (port.affine, real.as_f32()) {
        let (lo, hi) = port.elem.range().unwrap_or((0, 0));
        let stored: Vec<i64> = floats
            .iter()
            .map(|&x| {
                (f64::from((x / scale).round_ties_even()) + f64::from(zero)).clamp(lo as f64, hi as f64)
                    as i64
            })
            .collect();
        return Tensor::new(port.shape.clone(), Data::from_i64(port.elem, &stored))
            .unwrap_or_else(|_| real.clone());
    }
    if real.dtype() == DType::U8 && port.elem == DType::I8 {
        // Unsigned models are stored shifted by 128.
        let stored: Vec<i64> = real.to_i64_vec().iter().map(|v| v - 128).collect();
        return Tensor::new(port.shape.clone(), Data::from_i64(DType::I8, &stored))
            .unwrap_or_else(|_| real.clone());
    }
    real.clone()
}

/// A port's output as real values.
pub fn from_port(stored: &Tensor, port: &Port) -> Tensor {
    match port.affine {
        Some((scale, zero)) if !stored.dtype().is_float() => {
            let real = stored.to_i64_vec().iter().map(|&q| scale * (q - i64::from(zero)) as f32).collect();
            Tensor::f32(stored.shape(), real)
        }
        _ => stored.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(elem: DType, affine: Option<(f32, i32)>, shape: &[usize]) -> Port {
        Port { name: "x".into(), shape: shape.to_vec(), elem, real: DType::F32, affine }
    }

    #[test]
    fn quantizing_at_the_border_rounds_half_to_even_and_saturates() {
        let port = port(DType::I8, Some((0.5, -1)), &[6]);
        let real = Tensor::f32(&[6], vec![0.25, 0.75, -0.25, 1000.0, -1000.0, 0.5]);
        let stored = to_port(&real, &port);
        assert_eq!(stored.data(), &Data::I8(vec![-1, 1, -1, 127, -128, 0]));
        assert_eq!(from_port(&stored, &port).as_f32().unwrap()[1], 1.0);
    }

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
