//! A built harness, and running it.

use super::process::Running;
use super::protocol::{self, Frame};
use super::tools::{self, environment};
use crate::cli::signals;
use crate::error::{Error, Result, Site};
use crate::observe::{Observer, Silent};
use crate::program::{Port, Program};
use crate::tensor::{Data, Tensor};
use secateur_targets::Emulator;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long an emulator may be silent. A sample of the largest model takes seconds.
const PATIENCE: Duration = Duration::from_secs(300);

/// A harness around one or more models, ready to run.
#[derive(Debug)]
pub struct Image {
    /// Removed with this value.
    pub(super) folder: tempfile::TempDir,
    /// Program or firmware within it.
    pub(super) file: PathBuf,
    /// `None`: a program of the host.
    pub(super) emulator: Option<Emulator>,
    /// Ports of each model.
    pub(super) ports: Vec<(Vec<Port>, Vec<Port>)>,
}

/// What a harness answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Replies {
    /// `[sample][output]`, as the ports hold them.
    pub outputs: Vec<Vec<Tensor>>,
    /// Bytes of stack that `run` touched at most; `None` on the host.
    pub stack: Option<usize>,
}

pub(super) fn ports(program: &Program) -> (Vec<Port>, Vec<Port>) {
    (program.inputs.clone(), program.outputs.clone())
}

impl Image {
    /// The program or firmware file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Runs samples through model number `model`: one list of input tensors each, in port order
    /// and in the ports' types.
    pub fn run(&self, model: usize, inputs: &[Vec<Tensor>], observer: &mut dyn Observer) -> Result<Replies> {
        let outs = &self.ports[model].1;
        let requests = self.requests(model, inputs)?;
        let per_sample = outs.iter().map(Port::bytes).sum::<usize>() + 20;
        let replies = self.exchange(&requests, per_sample, inputs.len(), observer)?;
        self.understand(&replies, model, inputs.len())
    }

    /// The same with a plugin of the emulator: its file and options, by commas.
    pub fn run_with(&self, model: usize, inputs: &[Vec<Tensor>], plugin: &str) -> Result<Replies> {
        let requests = self.requests(model, inputs)?;
        let arguments = ["-plugin".to_owned(), plugin.to_owned()];
        let replies = self.exchange_with(&arguments, &requests, 1, inputs.len(), &mut Silent)?;
        self.understand(&replies, model, inputs.len())
    }

    fn requests(&self, model: usize, inputs: &[Vec<Tensor>]) -> Result<Vec<u8>> {
        let mut requests = Vec::new();
        for sample in inputs {
            let bytes = pack(sample, &self.ports[model].0)?;
            protocol::write(&Frame::Input { model: model as u32, bytes }, &mut requests);
        }
        protocol::write(&Frame::End, &mut requests);
        Ok(requests)
    }

    /// One process or one boot: bytes in, bytes out, as [`protocol`] has them.
    pub fn exchange(
        &self,
        requests: &[u8],
        per_sample: usize,
        samples: usize,
        observer: &mut dyn Observer,
    ) -> Result<Vec<u8>> {
        self.exchange_with(&[], requests, per_sample, samples, observer)
    }

    fn exchange_with(
        &self,
        arguments: &[String],
        requests: &[u8],
        per_sample: usize,
        samples: usize,
        observer: &mut dyn Observer,
    ) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir_in(self.folder.path())
            .map_err(|e| environment(format!("no temporary folder: {e}")))?;
        let at = |name: &str| folder.path().join(name);
        tools::write(&at("requests"), requests)?;
        let log = std::fs::File::create(at("log")).map_err(|e| environment(e.to_string()))?;
        let log2 = log.try_clone().map_err(|e| environment(e.to_string()))?;
        let mut command = match &self.emulator {
            None => {
                let mut command = Command::new(&self.file);
                command.args(["requests", "replies"]);
                command
            }
            Some(emulator) => {
                let found = tools::find(&[emulator.program.as_str()]).ok_or_else(|| {
                    tools::missing("The emulator", &[&emulator.program], emulator.package())
                })?;
                let mut command = Command::new(found);
                command.args(arguments).args(emulator.command_line()).arg(&self.file);
                command
            }
        };
        command.current_dir(folder.path()).stdout(log).stderr(log2);
        let child = Running::start(&mut command)
            .map_err(|e| environment(format!("`{}` could not be started: {e}", self.file.display())))?;
        let name = if self.emulator.is_some() { "emulate" } else { "run" };
        let code = wait(child, &at("replies"), &mut |bytes| {
            observer.progress(name, (bytes as usize / per_sample).min(samples), samples);
            !observer.cancelled() && !signals::stopped()
        })?;
        if code != Some(0) {
            let said = std::fs::read_to_string(at("log")).unwrap_or_default();
            let code = code.map_or("a signal".to_owned(), |c| format!("exit code {c}"));
            let message = format!("the built model ended with {code}: {}", said.trim());
            return Err(Error::internal(Site::Whole, message.trim_end_matches([':', ' ']).to_owned()));
        }
        std::fs::read(at("replies")).map_err(|e| environment(format!("no replies: {e}")))
    }

    fn understand(&self, mut replies: &[u8], model: usize, samples: usize) -> Result<Replies> {
        let broken = |e: String| Error::internal(Site::Whole, format!("the harness answered wrongly: {e}"));
        let outs = &self.ports[model].1;
        let mut outputs = Vec::with_capacity(samples);
        let mut deepest = 0;
        let mut ended = false;
        while let Some(frame) = protocol::read(&mut replies).map_err(|e| broken(e.to_string()))? {
            match frame {
                Frame::Hello(sizes) => {
                    let ours: Vec<(u32, u32)> = self
                        .ports
                        .iter()
                        .map(|(i, o)| {
                            let sum = |p: &[Port]| p.iter().map(Port::bytes).sum::<usize>() as u32;
                            (sum(i), sum(o))
                        })
                        .collect();
                    if sizes != ours {
                        return Err(broken(format!("its models have sizes {sizes:?}, not {ours:?}")));
                    }
                }
                Frame::Output { model: number, stack, bytes } if number as usize == model => {
                    deepest = deepest.max(stack as usize);
                    outputs.push(unpack(&bytes, outs)?);
                }
                Frame::End => ended = true,
                Frame::Failed(why) => return Err(broken(why)),
                other => return Err(broken(format!("unexpected {other:?}"))),
            }
        }
        if outputs.len() != samples || !ended {
            return Err(broken(format!("{} of {samples} samples came back", outputs.len())));
        }
        Ok(Replies { outputs, stack: self.emulator.is_some().then_some(deepest) })
    }
}

/// Waits for a process, telling `hear` how long the reply file is; `hear` may end it.
fn wait(child: Running, replies: &Path, hear: &mut dyn FnMut(u64) -> bool) -> Result<Option<i32>> {
    let (mut length, mut since, mut stopped) = (0, Instant::now(), false);
    let ended = child.wait(|| {
        let now = std::fs::metadata(replies).map_or(0, |m| m.len());
        if now != length {
            (length, since) = (now, Instant::now());
        }
        stopped = !hear(length);
        !stopped && since.elapsed() <= PATIENCE
    });
    match ended.map_err(|e| environment(e.to_string()))? {
        // A signal from the terminal may have reached it first.
        Some(_) if signals::stopped() => Err(signals::cancelled()),
        Some(status) => Ok(status.code()),
        None if stopped => Err(signals::cancelled()),
        None => Err(environment(format!(
            "the built model was silent for {} s and was stopped",
            PATIENCE.as_secs()
        ))),
    }
}

fn pack(sample: &[Tensor], ports: &[Port]) -> Result<Vec<u8>> {
    if sample.len() != ports.len() {
        let message = format!("{} inputs were given, the model has {}", sample.len(), ports.len());
        return Err(Error::data(Site::Whole, message));
    }
    let mut bytes = Vec::new();
    for (tensor, port) in sample.iter().zip(ports) {
        let data = tensor.data();
        if data.dtype() != port.elem || data.len() * port.elem.size() != port.bytes() {
            return Err(Error::data(
                Site::Value(port.name.clone()),
                format!(
                    "the input is {} {:?}, the model takes {} {:?}",
                    data.dtype(),
                    tensor.shape(),
                    port.elem,
                    port.shape
                ),
            ));
        }
        bytes.extend(data.to_le_bytes());
    }
    Ok(bytes)
}

fn unpack(mut bytes: &[u8], ports: &[Port]) -> Result<Vec<Tensor>> {
    ports
        .iter()
        .map(|port| {
            let (part, rest) = bytes.split_at_checked(port.bytes()).ok_or_else(|| {
                Error::internal(Site::Value(port.name.clone()), "the harness sent too few bytes")
            })?;
            bytes = rest;
            Tensor::new(port.shape.clone(), Data::from_le_bytes(port.elem, part))
        })
        .collect()
}
