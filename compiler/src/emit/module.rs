//! What a program's text consists of, before a language is chosen: its kernels once each,
//! callees first, with names; its instructions; its ports and constants with names.
//!
//! Law: structurally equal kernels are one item.

use super::names::{self, Namespace};
use super::needs::Needs;
use super::range::{Range, Ranges, fits, of_type};
use super::{EmitOptions, counts};
use crate::error::{Error, Result, Site};
use crate::kernel::{Access, BinOp, Expr, Instr, Kernel, Native, ParamKind, Stmt, Ty, VarId, visit};
use crate::program::{Arg, Entry, Initial, Place, Port, Program, State, Step};
use crate::tensor::DType;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// A kernel to print.
#[derive(Debug)]
pub(super) struct Item<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) name: String,
    pub(super) native: Option<&'a Native>,
    /// The earlier item with the same native text and signature, which serves both.
    pub(super) shares: Option<usize>,
    pub(super) ranges: Ranges,
    /// Identifiers of parameters and of variables.
    pub(super) params: Vec<String>,
    pub(super) vars: Vec<String>,
    /// Variables that are read anywhere; the others are not printed.
    pub(super) read: BTreeSet<VarId>,
    pub(super) used_params: BTreeSet<usize>,
    pub(super) mutable: BTreeSet<VarId>,
}

/// Everything to print, in order.
#[derive(Debug)]
pub(super) struct Module<'a> {
    pub(super) program: &'a Program,
    pub(super) items: Vec<Item<'a>>,
    /// Where the items of a structure are, by its hash; the same for instructions and for native
    /// texts. Lists keep the order of the items, and equality decides.
    by_structure: BTreeMap<u64, Vec<usize>>,
    pub(super) instrs: Vec<(&'a Instr, String)>,
    /// Whether the core knows Thumb-1 alone.
    pub(super) thumb_1: bool,
    instrs_by_structure: BTreeMap<u64, Vec<usize>>,
    by_text: BTreeMap<(&'a str, &'a str), Vec<usize>>,
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    pub(super) states: Vec<String>,
    /// By constant; `None` where no step reads it.
    pub(super) constants: Vec<Option<String>>,
    pub(super) run: &'a Entry,
    pub(super) uses_float: bool,
    /// In which builds items and instructions are needed.
    pub(super) needs: Needs,
}

impl<'a> Module<'a> {
    pub(super) fn new(program: &'a Program, options: &EmitOptions) -> Result<Module<'a>> {
        let run = program
            .entries
            .iter()
            .find(|e| e.name == "run")
            .ok_or_else(|| Error::internal(Site::Whole, "the program has no entry `run`"))?;
        let mut module = Module {
            program,
            items: Vec::new(),
            by_structure: BTreeMap::new(),
            instrs: Vec::new(),
            thumb_1: options.thumb_1(),
            instrs_by_structure: BTreeMap::new(),
            by_text: BTreeMap::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            states: Vec::new(),
            constants: vec![None; program.constants.len()],
            run,
            uses_float: false,
            needs: Needs::default(),
        };
        // Names that every module has.
        let base = names::base_name(&program.name);
        let mut functions = Namespace::functions(&base);
        for fixed in ["run", "run_in_place", "init", "reset", "arena"] {
            functions.keep(fixed);
        }
        if program.shares_arena {
            functions.keep("state");
        }
        let names = names::names(program);
        (module.inputs, module.outputs, module.states) = (names.inputs, names.outputs, names.states);
        counts::distinct(&options.counts, &program.inputs, &module.inputs)?;
        for input in &module.inputs {
            functions.keep(&format!("quantize_{input}"));
            functions.keep(&format!("quantize_{input}_i16"));
            functions.keep(&format!("quantize_{input}_u16"));
            functions.keep(&format!("input_{input}"));
        }
        for output in &module.outputs {
            functions.keep(&format!("dequantize_{output}"));
            functions.keep(&format!("output_{output}"));
        }
        module.states.iter().for_each(|state| functions.keep(state));
        for step in &run.steps {
            module.add(&step.kernel, options, &mut functions)?;
        }
        let read = run.steps.iter().flat_map(|s| &s.args).filter_map(|a| match a {
            Arg::Constant { constant, .. } => Some(*constant),
            _ => None,
        });
        let used = read.chain(program.states.iter().filter_map(|s| match s.init {
            Initial::Constant(id) => Some(id),
            Initial::Bytes(_) => None,
        }));
        let used: BTreeSet<_> = used.collect();
        for id in used {
            let constant = program
                .constants
                .get(id.0 as usize)
                .ok_or_else(|| Error::internal(Site::Whole, "a step reads a constant that does not exist"))?;
            module.constants[id.0 as usize] = Some(functions.take(&constant.name));
        }
        module.apart()?;
        module.needs = Needs::of(&module);
        Ok(module)
    }

    /// Adds a kernel and, before it, all that it calls; its index.
    fn add(&mut self, kernel: &'a Kernel, options: &EmitOptions, functions: &mut Namespace) -> Result<usize> {
        if let Some(i) = self.find(kernel) {
            return Ok(i);
        }
        let mut failed = None;
        visit(&kernel.body, &mut |s| {
            if let Stmt::Call { kernel, .. } = s
                && let Err(e) = self.add(kernel, options, functions)
            {
                failed.get_or_insert(e);
            }
        });
        if let Some(e) = failed {
            return Err(e);
        }
        let mut locals = Namespace::locals();
        let params = kernel.params.iter().map(|p| locals.take(&p.name)).collect();
        let vars = kernel.vars.iter().map(|v| locals.take(&v.name)).collect();
        let native = kernel.native.iter().find(|n| options.features.contains(&n.feature));
        let name = match native {
            Some(_) => functions.take_external(&kernel.name, &names::base_name(&self.program.name)),
            None => functions.take(&kernel.name),
        };
        let shares = native.and_then(|native| {
            let same = |&i: &usize| alike(self.items[i].kernel, kernel);
            self.by_text.get(&(&*native.feature, &*native.text))?.iter().copied().find(same)
        });
        let mut item = Item {
            kernel,
            name,
            native,
            shares,
            ranges: Ranges::of(kernel),
            params,
            vars,
            read: BTreeSet::new(),
            used_params: BTreeSet::new(),
            mutable: BTreeSet::new(),
        };
        visit(&kernel.body, &mut |s| {
            match s {
                Stmt::Assign { var, .. } => drop(item.mutable.insert(*var)),
                Stmt::Store { buffer, .. } => drop(item.used_params.insert(buffer.0 as usize)),
                Stmt::Call { args, .. } => args.iter().for_each(|a| {
                    if let crate::kernel::CallArg::Slice { buffer, .. } = a {
                        item.used_params.insert(buffer.0 as usize);
                    }
                }),
                _ => {}
            }
            s.exprs(&mut |e| {
                e.visit(&mut |e| match e {
                    Expr::Var(v) => drop(item.read.insert(*v)),
                    Expr::Param(p) => drop(item.used_params.insert(p.0 as usize)),
                    Expr::Load { buffer, .. } => drop(item.used_params.insert(buffer.0 as usize)),
                    Expr::Call(instr, _) => self.add_instr(instr, functions),
                    _ => {}
                });
            });
        });
        self.uses_float |= kernel.vars.iter().any(|v| v.ty == Ty::F32)
            || kernel.params.iter().enumerate().any(|(i, _)| item.ranges.elems[i] == Some(DType::F32));
        visit(&kernel.body, &mut |s| {
            s.exprs(&mut |e| {
                e.visit(&mut |e| self.uses_float |= matches!(e, Expr::Float(_) | Expr::Cast(Ty::F32, _)));
            });
        });
        let index = self.items.len();
        if let (Some(native), None) = (native, shares) {
            self.by_text.entry((&native.feature, &native.text)).or_default().push(index);
        }
        self.by_structure.entry(hash(kernel)).or_default().push(index);
        self.items.push(item);
        Ok(index)
    }

    fn add_instr(&mut self, instr: &'a Arc<Instr>, names: &mut Namespace) {
        if self.find_instr(instr).is_some() {
            return;
        }
        instr.body.visit(&mut |e| {
            if let Expr::Call(inner, _) = e {
                self.add_instr(inner, names);
            }
        });
        self.uses_float |= instr.result == Ty::F32 || instr.params.iter().any(|p| p.ty == Ty::F32);
        let name = names.take(&instr.name);
        self.instrs_by_structure.entry(hash(instr.as_ref())).or_default().push(self.instrs.len());
        self.instrs.push((instr, name));
    }

    fn find_instr(&self, instr: &Instr) -> Option<usize> {
        let alike = self.instrs_by_structure.get(&hash(instr))?;
        alike.iter().copied().find(|&i| self.instrs[i].0 == instr)
    }

    fn find(&self, kernel: &Kernel) -> Option<usize> {
        let alike = self.by_structure.get(&hash(kernel))?;
        alike
            .iter()
            .copied()
            .find(|&i| std::ptr::eq(self.items[i].kernel, kernel) || self.items[i].kernel == kernel)
    }
    /// The number of a kernel's item.
    pub(super) fn index(&self, kernel: &Kernel) -> Option<usize> {
        self.find(kernel)
    }
    /// The item of a kernel that was added.
    pub(super) fn item(&self, kernel: &Kernel) -> Result<&Item<'a>> {
        self.find(kernel)
            .map(|i| &self.items[i])
            .ok_or_else(|| Error::internal(Site::Kernel(kernel.name.clone()), "a kernel was not collected"))
    }
    /// Whether a lesser or greater one is of near integers, where that is worth to know.
    pub(super) fn near(&self, op: BinOp, a: &Expr, b: &Expr, ranges: &Ranges) -> bool {
        let ty = ranges.ty(a);
        let chosen = matches!(op, BinOp::Min | BinOp::Max) && ty != Ty::F32 && self.thumb_1;
        chosen && fits(ranges.exact(BinOp::Sub, a, b), ty)
    }
    /// What is known inside an instruction. For Thumb-1 the bounds of all its calls, where the
    /// lesser of near numbers is cheaper.
    pub(super) fn instr_ranges(&self, instr: &Instr) -> Ranges {
        let types: Vec<Ty> = instr.params.iter().map(|p| p.ty).collect();
        let mut bounds: Vec<Option<Range>> = vec![None; types.len()];
        let mut inner = !self.thumb_1;
        for (other, _) in &self.instrs {
            other.body.visit(&mut |e| inner |= matches!(e, Expr::Call(called, _) if **called == *instr));
        }
        for item in self.items.iter().filter(|_| !inner) {
            visit(&item.kernel.body, &mut |s| {
                s.exprs(&mut |e| {
                    e.visit(&mut |e| match e {
                        Expr::Call(called, args) if **called == *instr => {
                            for (bound, arg) in bounds.iter_mut().zip(args) {
                                let (lo, hi) = item.ranges.range(arg);
                                *bound = Some(bound.map_or((lo, hi), |(l, h)| (l.min(lo), h.max(hi))));
                            }
                        }
                        _ => {}
                    });
                });
            });
        }
        let vars = bounds.iter().zip(&types).map(|(b, &ty)| b.unwrap_or(of_type(ty))).collect();
        Ranges { params: Vec::new(), vars, var_types: types, elems: Vec::new() }
    }
    pub(super) fn instr(&self, instr: &Instr) -> &str {
        self.find_instr(instr).map_or("?", |i| &self.instrs[i].1)
    }
    /// Byte offset of a buffer in the arena, and its element type.
    pub(super) fn place(&self, step: &Step, buffer: crate::program::BufferId) -> Result<(usize, DType)> {
        let site = || Site::Kernel(step.kernel.name.clone());
        let b = self
            .program
            .buffers
            .get(buffer.0 as usize)
            .ok_or_else(|| Error::internal(site(), "a step names a buffer that does not exist"))?;
        let (Place::Arena(at) | Place::State(at)) = b.place;
        let fits = at + b.len * b.elem.size() <= self.program.arena;
        if fits { Ok((at, b.elem)) } else { Err(Error::internal(site(), "a buffer is misplaced")) }
    }
    /// The states as ports are seen, row-major in their shapes, with their names and what they begin with.
    pub(super) fn kept(&self) -> Result<Vec<(Port, &str, &State)>> {
        let missing = || Error::internal(Site::Whole, "a state names what does not exist, or does not fit");
        let mut all = Vec::new();
        for (state, name) in self.program.states.iter().zip(&self.states) {
            let port = self.program.state_port(state).ok_or_else(missing)?;
            all.push((port, name.as_str(), state));
        }
        Ok(all)
    }
    /// The features whose native kernels the module uses, sorted.
    pub(super) fn features(&self) -> BTreeSet<&'a str> {
        self.items.iter().filter_map(|i| i.native).map(|n| n.feature.as_str()).collect()
    }
    /// Bytes of the arena that are kept between runs: its first ones.
    pub(super) fn state_bytes(&self) -> usize {
        let ends = self.program.states.iter().filter_map(|s| self.program.state(s));
        ends.map(|(buffer, at, _)| at + buffer.len * buffer.elem.size())
            .max()
            .unwrap_or(0)
            .next_multiple_of(8)
    }
    /// The bytes that lie apart from the arena, where that is shared: those of states.
    ///
    /// Errors: a port that stands where a state does, which a model has whose output is the state itself.
    fn apart(&self) -> Result<()> {
        let states = self.state_bytes();
        if !self.program.shares_arena {
            return Ok(());
        }
        match self.program.inputs.iter().chain(&self.program.outputs).find(|port| port.at < states) {
            Some(port) => {
                let why =
                    format!("`{}` stands where a state is kept, and not in the arena", printable(&port.name));
                Err(Error::option("arena", why).help("leave `--arena shared` out"))
            }
            None => Ok(()),
        }
    }
    /// Where a byte of the arena stands: in `state` or in `arena`, and at which place of it.
    pub(super) fn spot(&self, at: usize) -> (&'static str, usize) {
        let states = if self.program.shares_arena { self.state_bytes() } else { 0 };
        if at < states { ("state", at) } else { ("arena", at - states) }
    }
    /// Bytes of the arena, without those of states where they lie apart.
    pub(super) fn arena_bytes(&self) -> usize {
        let states = if self.program.shares_arena { self.state_bytes() } else { 0 };
        self.program.arena.saturating_sub(states)
    }
    /// Bytes of stack of the native kernel that takes most.
    pub(super) fn kernel_stack(&self) -> usize {
        self.items.iter().filter_map(|i| i.native).map(|n| n.stack as usize).max().unwrap_or(0)
    }
    /// Bytes of the constants that are emitted.
    pub(super) fn weight_bytes(&self) -> usize {
        let used = self.constants.iter().zip(&self.program.constants).filter(|(name, _)| name.is_some());
        used.map(|(_, c)| c.bytes.len()).sum()
    }
}

/// A hash of a structure, for this process alone.
fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// What a file is, and that we wrote it: in its first bytes, so that the next compilation knows it.
pub(crate) fn origin(what: &str, name: &str) -> String {
    format!("{what} of the model `{}`, compiled by Secateur {}.", printable(name), env!("CARGO_PKG_VERSION"))
}

/// Comment lines for the head of every emitted file, without comment marks.
pub(super) fn banner(program: &Program, options: &EmitOptions, what: &str) -> Vec<String> {
    vec![
        origin(what, &program.name),
        format!(
            "Digest of model and options: {}",
            if options.digest.is_empty() { "none" } else { &options.digest }
        ),
        "Do not edit: compile the model again. The generated code belongs to you.".to_string(),
    ]
}

/// A name out of a model, safe inside a comment: ASCII alone, so that nothing reads otherwise than
/// it stands, and nothing that ends, nests or continues a comment.
pub(crate) fn printable(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '\\' => out.push('?'),
            ' '..='~' => {
                // `/*`, `*/`, `//` and trigraphs.
                if (matches!(c, '/' | '*') && out.ends_with(['/', '*'])) || (c == '?' && out.ends_with('?')) {
                    out.push(' ');
                }
                out.push(c);
            }
            _ => out += &format!("{{U+{:04X}}}", u32::from(c)),
        }
    }
    out
}

/// What to say before a step: the layer it belongs to, once per layer.
pub(super) fn layer_comment(program: &Program, step: &Step, last: &mut Option<usize>) -> Option<String> {
    if last.replace(step.layer) == Some(step.layer) {
        return None;
    }
    let layer = program.layers.get(step.layer)?;
    Some(format!("{} {} {:?}", printable(&layer.op), printable(&layer.name), layer.output_shape))
}

/// Whether two kernels are called alike: parameters of the same kinds, whatever their lengths.
fn alike(a: &Kernel, b: &Kernel) -> bool {
    let kind = |k: &ParamKind| match *k {
        ParamKind::Buffer { elem, access, .. } => Some((elem, access == Access::Read)),
        ParamKind::Scalar { .. } => None,
    };
    a.params.len() == b.params.len()
        && a.params.iter().zip(&b.params).all(|(a, b)| kind(&a.kind) == kind(&b.kind))
}
