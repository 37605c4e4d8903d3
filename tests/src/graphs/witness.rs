//! onnxruntime as a witness: a Python process that keeps running and answers (`tests/witness/serve.py`).
//!
//! Law: a witness that cannot start is `None` with the reason said once; one that dies in the
//! middle is a failure of the run.

use secateur_compiler::npy;
use secateur_compiler::tensor::{Samples, Tensor};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

/// The running process.
#[derive(Debug)]
pub struct Witness {
    process: Child,
    to: ChildStdin,
    from: ChildStdout,
    /// Name and version.
    pub name: String,
}

/// A model that onnxruntime's quantizer made, and what it computes inside.
#[derive(Debug)]
pub struct Quantized {
    pub model: Vec<u8>,
    /// By tensor name; first axis: sample.
    pub tensors: BTreeMap<String, Tensor>,
}

impl Witness {
    /// Starts `target/venv/bin/python`, or `SECATEUR_PYTHON`.
    pub fn start() -> Option<Witness> {
        let root = crate::repository();
        let python =
            std::env::var_os("SECATEUR_PYTHON").map_or(root.join("target/venv/bin/python"), PathBuf::from);
        let started = crate::tools::built(&python)
            .arg(root.join("tests/witness/serve.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut process = match started {
            Ok(process) => process,
            Err(e) => {
                eprintln!("skipped: onnxruntime's side, for {} does not start: {e}", python.display());
                return None;
            }
        };
        let (to, from) = (process.stdin.take()?, process.stdout.take()?);
        let mut witness = Witness { process, to, from, name: String::new() };
        match witness.receive() {
            Ok(parts) => {
                witness.name = String::from_utf8_lossy(parts.first()?).into_owned();
                Some(witness)
            }
            Err(_) => {
                eprintln!("skipped: onnxruntime's side, for {} has no onnx or onnxruntime", python.display());
                None
            }
        }
    }

    fn number(&mut self) -> std::io::Result<usize> {
        let mut bytes = [0; 4];
        self.from.read_exact(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes) as usize)
    }

    /// A reply: its parts, or why there is none.
    fn receive(&mut self) -> Result<Vec<Vec<u8>>, String> {
        let parts = (|| {
            let count = self.number()?;
            let mut parts = Vec::new();
            for _ in 0..count {
                let mut part = vec![0; self.number()?];
                self.from.read_exact(&mut part)?;
                parts.push(part);
            }
            Ok::<_, std::io::Error>(parts)
        })();
        let mut parts = parts.map_err(|e| format!("the process ended: {e}"))?;
        let status = if parts.is_empty() { Vec::new() } else { parts.remove(0) };
        if status == b"ok" {
            return Ok(parts);
        }
        Err(parts.first().map_or(String::new(), |p| String::from_utf8_lossy(p).into_owned()))
    }

    fn ask(&mut self, parts: &[&[u8]]) -> Result<Vec<Vec<u8>>, String> {
        let mut bytes = (parts.len() as u32).to_le_bytes().to_vec();
        for part in parts {
            bytes.extend((part.len() as u32).to_le_bytes());
            bytes.extend(*part);
        }
        self.to.write_all(&bytes).and_then(|()| self.to.flush()).map_err(|e| e.to_string())?;
        self.receive()
    }

    /// The arrays of a model's inputs in its own order.
    fn arrays(inputs: &[String], samples: &Samples) -> Vec<Vec<u8>> {
        inputs.iter().map(|name| npy::write(&samples.arrays[name])).collect()
    }

    /// Whether onnx takes a model for one that keeps its rules.
    pub fn check(&mut self, model: &[u8]) -> Result<(), String> {
        self.ask(&[b"check", model]).map(|_| ())
    }

    /// What a model computes: one array per output, its first axis counting samples.
    pub fn run(&mut self, model: &[u8], inputs: &[String], samples: &Samples) -> Result<Vec<Tensor>, String> {
        let arrays = Self::arrays(inputs, samples);
        let mut parts: Vec<&[u8]> = vec![b"run", model];
        parts.extend(arrays.iter().map(Vec::as_slice));
        let replies = self.ask(&parts)?;
        replies.iter().map(|r| npy::read(r).map_err(|e| e.to_string())).collect()
    }

    /// The model as onnxruntime quantizes it.
    pub fn quantize(
        &mut self,
        settings: &str,
        model: &[u8],
        inputs: &[String],
        samples: &Samples,
    ) -> Result<Quantized, String> {
        let arrays = Self::arrays(inputs, samples);
        let mut parts: Vec<&[u8]> = vec![b"quantize", settings.as_bytes(), model];
        parts.extend(arrays.iter().map(Vec::as_slice));
        let mut replies = self.ask(&parts)?.into_iter();
        let (Some(model), Some(names)) = (replies.next(), replies.next()) else {
            return Err("a reply without a model".into());
        };
        let names = String::from_utf8_lossy(&names).into_owned();
        let mut tensors = BTreeMap::new();
        for (name, array) in names.lines().zip(replies) {
            tensors.insert(name.to_string(), npy::read(&array).map_err(|e| e.to_string())?);
        }
        Ok(Quantized { model, tensors })
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // It ends by itself when nobody can ask any more; waiting for it could take long.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
