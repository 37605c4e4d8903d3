//! Arguments and struct -> the compiled model's code.
//!
//! In: the attribute's arguments, the struct under it, the folder that paths are relative to.
//! Out: a module with the text of `secateur compile --emit rust`, and a `use` under the struct's
//! own name. Law: through the same entry as the command line; errors stand on the argument at
//! fault.

use crate::arguments::Arguments;
use crate::cache::{self, Cache, Compiled};
use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{format_ident, quote, quote_spanned};
use secateur_compiler::artifact::compile;
use secateur_compiler::emit::names;
use secateur_compiler::error::Fault;
use secateur_compiler::options::{
    self, Arena, FILE_NAME, FilePath, Given, Language, Layout, MAX_BYTES, Place, Settings,
};
use secateur_compiler::report::Report;
use secateur_compiler::targets::Target;
use secateur_compiler::tensor::Samples;
use secateur_compiler::{Options, Silent, Site, Warning, data, onnx};
use std::path::{Path, PathBuf};
use syn::punctuated::Punctuated;
use syn::{Attribute, Error, Fields, ItemStruct, LitStr, Result, Token};

/// What the attribute becomes.
#[derive(Debug)]
pub(crate) struct Expansion {
    pub(crate) code: TokenStream,
    /// What the model takes of its chip, in a line for the build's log.
    pub(crate) note: String,
}

impl std::fmt::Display for Expansion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.code.fmt(f)
    }
}

pub(crate) fn expand(
    arguments: TokenStream,
    item: TokenStream,
    root: &Path,
    kept: &Cache,
) -> Result<Expansion> {
    // Places of warnings are counted in it.
    let spelled = arguments.to_string();
    let arguments: Arguments = syn::parse2(arguments)?;
    let item: ItemStruct = syn::parse2(item).map_err(|e| {
        Error::new(e.span(), "the attribute stands on a struct without fields, as in `pub struct Kws;`")
    })?;
    if !matches!(item.fields, Fields::Unit) || !item.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &item,
            "the struct has neither fields nor generics: `pub struct Kws;`",
        ));
    }
    let mut files = Files { root, read: Vec::new(), beside: Vec::new() };
    let attributes = Attributes::of(&item.attrs)?;
    let (settings, said) = settings(&arguments, &mut files)?;
    // What an option's error stands on, and its words: those of a file name its line.
    let alone = |e: secateur_compiler::Error| {
        let place = settings.place_of(&e.site).or_else(|| match e.fault {
            Fault::Data => settings.place("calibrate"),
            Fault::Target => settings.place("target"),
            _ => None,
        });
        Error::new(arguments.span(place), in_arguments(&settings.located(e).to_string()))
    };
    // Each error on its own argument; those of the model together, as they were found.
    let refused = |mut e: secateur_compiler::Error| {
        let place = |e: &secateur_compiler::Error| settings.place_of(&e.site);
        if e.others.iter().all(|other| place(other).is_none() || place(other) == place(&e)) {
            return alone(e);
        }
        let (help, others) = (e.help.clone(), std::mem::take(&mut e.others));
        let mut refusal = alone(e);
        for other in others {
            let help = if other.help == help { None } else { other.help.clone() };
            refusal.combine(alone(secateur_compiler::Error { help, ..other }));
        }
        refusal
    };
    let target = target(&arguments, &settings, &mut files, &refused)?;
    let model = files.bytes(&arguments.model.value(), arguments.model.span())?;
    let given = settings.calibrate.iter().flat_map(|given| &given.value.0);
    let mut calibration: Vec<(String, Vec<u8>)> = Vec::new();
    for (key, file) in given.clone() {
        let span = arguments.span(Some(&file.place));
        for path in data::sources(&root.join(&file.value.0)).map_err(|e| within(root, e, span))? {
            let path = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            let bytes = files.bytes(&path, span)?;
            calibration.push((format!("{key}={path}"), bytes));
        }
    }
    let column = settings.labels_column.as_ref().map(|given| given.value.as_str());
    let name = names::module_name(&item.ident.to_string());
    // The struct names the module, and the macro reads one file of Rust, whatever a file says.
    let options = Options {
        name: name.clone(),
        emit: vec![Language::Rust],
        layout: Layout::Files,
        dump_after: Vec::new(),
        ..settings.options()
    };
    let decides = [spelled, format!("{options:?}"), format!("{target:?}"), format!("{column:?}")];
    let mut parts: Vec<&[u8]> = decides.iter().map(String::as_bytes).collect();
    parts.push(&model);
    for (from, bytes) in &calibration {
        parts.extend([from.as_bytes(), bytes]);
    }
    let key = cache::key(&parts);
    let compiled = match kept.get(key, &|path| Some(cache::hash(&[&std::fs::read(root.join(path)).ok()?]))) {
        Some(compiled) => {
            compiled.beside.iter().for_each(|(path, _)| files.track(path));
            compiled
        }
        None => {
            let model = files.whole(&arguments.model, &model)?;
            let mut samples = Samples::default();
            for (key, file) in given {
                let path = FilePath(root.join(&file.value.0).display().to_string());
                let one = [(key.clone(), Given { value: path, place: file.place.clone() })];
                let span = arguments.span(Some(&file.place));
                let read = data::read_all(&one, column).map_err(|e| within(root, e, span))?;
                samples.arrays.extend(read.arrays);
                samples.flat.extend(read.flat);
            }
            let samples = (!samples.arrays.is_empty()).then_some(&samples);
            let mut artifact = compile(&model, &target, samples, &options, &mut Silent).map_err(refused)?;
            let none = || Error::new(Span::call_site(), "no Rust was emitted");
            let code = artifact.files.pop().ok_or_else(none)?.text;
            let warnings = artifact.report.warnings.iter();
            let warnings = warnings
                .map(|w| (settings.place_of(&w.site).cloned(), in_arguments(&w.to_string())))
                .collect();
            let (note, beside) = (note(&name, &artifact.report), std::mem::take(&mut files.beside));
            let compiled = Compiled { code, note, warnings, beside };
            kept.put(key, &compiled);
            compiled
        }
    };
    let code: TokenStream = compiled
        .code
        .parse()
        .map_err(|e| Error::new(Span::call_site(), format!("the emitted Rust does not parse: {e}")))?;

    let code = attributes.on_struct(code);
    let (ident, vis, attrs) = (&item.ident, &item.vis, attributes.others.as_slice());
    let module = format_ident!("__secateur_{name}", span = Span::call_site());
    let ty = format_ident!("{}", names::type_name(&name), span = Span::call_site());
    let named = if *ident == ty { quote!(#ty) } else { quote!(#ty as #ident) };
    // What a shared arena is lent to.
    let runner = (options.arena == Arena::Shared).then(|| {
        let (own, theirs) = (format_ident!("{ty}Runner"), format_ident!("{ident}Runner"));
        let named = if *ident == ty { quote!(#own) } else { quote!(#own as #theirs) };
        quote!(#[allow(unused_imports)] #vis use #module::#named;)
    });
    let read = files.read;
    let said = said.iter().map(|w| warning(&in_arguments(&w.to_string()), arguments.config_span(), attrs));
    let found = compiled.warnings.iter();
    let warnings = said.chain(found.map(|(place, w)| warning(w, arguments.span(place.as_ref()), attrs)));
    let code = quote! {
        #( #warnings )*
        #[doc(hidden)]
        mod #module {
            // Cargo rebuilds when one of these files changes.
            #( const _: &[u8] = include_bytes!(#read); )*
            #code
        }
        #( #attrs )*
        #vis use #module::#named;
        #runner
    };
    Ok(Expansion { code, note: compiled.note })
}

/// What a model takes of its chip: memory with the code and the run as predicted.
fn note(name: &str, report: &Report) -> String {
    let (total, memory) = (&report.total, &report.memory);
    let (ram, flash) = (total.arena + total.native_stack, total.weights + total.known_code());
    let kib = |bytes: f64| format!("{:.1}", bytes / 1024.0);
    let mut parts = vec![match memory.ram {
        Some(all) => format!("{} of {} KiB RAM", kib(ram as f64), all / 1024),
        None => format!("{} KiB RAM", kib(ram as f64)),
    }];
    parts.push(match memory.flash {
        Some(all) => format!("{:.1} % of flash", flash as f64 * 100.0 / all as f64),
        None => format!("{} KiB flash", kib(flash as f64)),
    });
    parts.extend(total.seconds.map(options::seconds));
    parts.extend(total.joules.map(options::joules));
    format!("{name}: {}", parts.join(", "))
}

/// The words of the command line as the attribute's arguments.
fn in_arguments(text: &str) -> String {
    // `--state INPUT=OUTPUT`, whatever the names.
    let mut tied = String::new();
    for (i, part) in text.split("`--state ").enumerate() {
        let (pair, rest) = if i > 0 { part.split_once('`').unwrap_or((part, "")) } else { ("", part) };
        if let Some((input, output)) = pair.rsplit_once('=') {
            tied += &format!("`state({input:?} = {output:?})`");
        }
        tied += rest;
    }
    // `--prune 0.6`, or `--prune pattern=4x4,sparsity=0.6`.
    let mut said = String::new();
    for (i, part) in tied.split("`--prune ").enumerate() {
        let (value, rest) = if i > 0 { part.split_once('`').unwrap_or((part, "")) } else { ("", part) };
        if i > 0 {
            let number = value.parse::<f64>().is_ok();
            said += &if number { format!("`prune = {value}`") } else { format!("`prune = {value:?}`") };
        }
        said += rest;
    }
    said.replace("`--state`", "`state`")
        .replace("`--calibrate X.npy`", "`calibrate = \"x.npy\"`")
        .replace("`--quantize none`", "`quantize = \"none\"`")
        .replace("`--optimize size`", "`optimize = \"size\"`")
        .replace("`--arena shared`", "`arena = \"shared\"`")
        .replace("`--allow-overflow`", "`allow_overflow = true`")
        .replace("`--optimize balanced`", "`optimize = \"balanced\"`")
        .replace("`--optimize speed`", "`optimize = \"speed\"`")
        .replace("`--prune`", "`prune`")
        .replace("`--quantize w4a8`", "`quantize = \"w4a8\"`")
        .replace("`--labels-column NAME`", "`labels_column = \"NAME\"`")
        .replace("`--dim NAME=N`", "`dims(NAME = N)`")
        .replace("`--bind NAME=A,B,...`", "`bind(NAME = [A, B, ...])`")
}

/// The attributes on the user's struct.
struct Attributes {
    /// Those for its definition.
    own: Vec<TokenStream>,
    /// Those for its name, docs and lints among them.
    others: Vec<Attribute>,
}

impl Attributes {
    fn of(all: &[Attribute]) -> Result<Attributes> {
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for attribute in all {
            if attribute.path().is_ident("derive") {
                let paths =
                    attribute.parse_args_with(Punctuated::<syn::Path, Token![,]>::parse_terminated)?;
                let asked = paths.iter().map(derived).collect::<Result<Vec<_>>>()?;
                let asked: Vec<&syn::Path> = asked.into_iter().flatten().collect();
                if !asked.is_empty() {
                    own.push(quote!(#[derive(#(#asked),*)]));
                }
            } else if ["repr", "must_use", "non_exhaustive"].iter().any(|own| attribute.path().is_ident(own))
            {
                own.push(quote!(#attribute));
            } else {
                others.push(attribute.clone());
            }
        }
        Ok(Attributes { own, others })
    }

    /// The code with the attributes on its struct.
    fn on_struct(&self, code: TokenStream) -> TokenStream {
        let mut tokens = code.into_iter().peekable();
        let (mut out, mut found) = (TokenStream::new(), false);
        while let Some(token) = tokens.next() {
            let word = |token: Option<&TokenTree>, word: &str| matches!(token, Some(TokenTree::Ident(i)) if i == word);
            if !found && word(Some(&token), "pub") && word(tokens.peek(), "struct") {
                found = true;
                out.extend(self.own.iter().cloned());
            }
            out.extend([token]);
        }
        out
    }
}

/// What is asked of a derive; `None` for what each model has.
fn derived(path: &syn::Path) -> Result<Option<&syn::Path>> {
    let first = path.segments.first().map(|s| s.ident.to_string()).unwrap_or_default();
    let last = path.segments.last().map(|s| s.ident.to_string()).unwrap_or_default();
    let standard = path.segments.len() == 1 || ["core", "std"].contains(&first.as_str());
    match last.as_str() {
        "Debug" | "Clone" | "Default" if standard => Ok(None),
        "PartialEq" | "Eq" | "PartialOrd" | "Ord" | "Hash" if standard => Err(Error::new_spanned(
            path,
            format!(
                "`{last}` cannot be derived for a model: what an instance holds is working memory, which means nothing \
                 between runs\nleave it out; compare outputs, or the states that the struct gives access to"
            ),
        )),
        _ => Ok(Some(path)),
    }
}

/// A warning of the compiler as rustc shows one: stable Rust has no other way for a macro than a
/// deprecated item whose note is the text. `#[allow(deprecated)]` on the struct silences it.
fn warning(text: &str, span: Span, attrs: &[Attribute]) -> TokenStream {
    let levels = attrs.iter().filter(|a| ["allow", "expect"].iter().any(|l| a.path().is_ident(l)));
    let used = quote_spanned!(span=> model_warning);
    quote! {
        #( #levels )*
        const _: () = {
            #[deprecated(note = #text)]
            #[allow(non_upper_case_globals)]
            const model_warning: () = ();
            #used
        };
    }
}

/// Files that were read, as `include_bytes!` names them.
struct Files<'a> {
    root: &'a Path,
    read: Vec<TokenStream>,
    /// Those with tensors of the model, and their hashes.
    beside: Vec<(PathBuf, cache::Hash)>,
}

/// An error of a file of samples on the argument that names it, by the file's path in the crate.
fn within(root: &Path, e: secateur_compiler::Error, span: Span) -> Error {
    let site = match &e.site {
        Site::File(path) => {
            Site::File(Path::new(path).strip_prefix(root).unwrap_or(Path::new(path)).display().to_string())
        }
        site => site.clone(),
    };
    Error::new(span, in_arguments(&secateur_compiler::Error { site, ..e }.to_string()))
}

impl Files<'_> {
    /// The model in one piece, with the tensors that lie in files beside it.
    fn whole(&mut self, file: &LitStr, bytes: &[u8]) -> Result<Vec<u8>> {
        let folder = Path::new(&file.value()).parent().map(Path::to_path_buf).unwrap_or_default();
        let mut beside = |name: &str| self.external(&folder, name);
        let whole = onnx::embed(bytes, &mut beside).map_err(|e| Error::new(file.span(), e.to_string()))?;
        Ok(whole.into_owned())
    }

    /// A file of tensors below the model's folder, links included.
    fn external(&mut self, folder: &Path, name: &str) -> secateur_compiler::Result<Vec<u8>> {
        let path = folder.join(name);
        let refused = |why: String| {
            secateur_compiler::Error::new(Fault::Environment, Site::File(path.display().to_string()), why)
                .help("the model keeps tensors in this file: put the file itself beside the model")
        };
        let failed = |e: std::io::Error| refused(format!("cannot be read: {}", reason(&e)));
        let full = self.root.join(&path).canonicalize().map_err(failed)?;
        if !full.starts_with(self.root.join(folder).canonicalize().map_err(failed)?) {
            return Err(refused("is a link out of the model's folder".into()));
        }
        if !full.is_file() {
            return Err(refused("is no plain file".into()));
        }
        let bytes = std::fs::read(&full).map_err(failed)?;
        self.track(&path);
        self.beside.push((path, cache::hash(&[&bytes])));
        Ok(bytes)
    }

    /// Lets Cargo rebuild when a file changes. The text stays the same on every machine: Cargo
    /// fills in where the crate is.
    fn track(&mut self, path: &Path) {
        let text = path.display().to_string();
        self.read.push(if path.is_absolute() {
            quote!(#text)
        } else {
            let text = format!("/{text}");
            quote!(concat!(env!("CARGO_MANIFEST_DIR"), #text))
        });
    }

    fn bytes(&mut self, path: &str, span: Span) -> Result<Vec<u8>> {
        let full = self.root.join(path);
        let bytes = std::fs::read(&full).map_err(|e| {
            Error::new(
                span,
                format!(
                    "file `{path}` cannot be read: {}\nit is looked for relative to the crate's Cargo.toml",
                    reason(&e)
                ),
            )
        })?;
        self.track(Path::new(path));
        Ok(bytes)
    }
}

/// The operating system's words without its number.
fn reason(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::NotFound => "it does not exist".to_string(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_string(),
        std::io::ErrorKind::IsADirectory => "it is a folder".to_string(),
        _ => e.to_string(),
    }
}

/// All levels together: arguments, the file of options, defaults; and a warning.
fn settings(arguments: &Arguments, files: &mut Files<'_>) -> Result<(Settings, Option<Warning>)> {
    let (mut settings, model) = (arguments.settings.clone(), PathBuf::from(arguments.model.value()));
    let beside = model.with_file_name(FILE_NAME);
    // A link to nowhere is there, and is refused as what cannot be read.
    let file = match &arguments.config {
        Some(file) => Some(file.value()),
        None if files.root.join(&beside).symlink_metadata().is_ok() => Some(beside.display().to_string()),
        None => None,
    };
    let mut warning = None;
    if let Some(file) = file {
        let span = arguments.config_span();
        let refused = |e: secateur_compiler::Error| Error::new(span, e.to_string());
        let bytes = files.bytes(&file, span)?;
        if bytes.len() > MAX_BYTES {
            let why =
                format!("file `{file}` holds more than {MAX_BYTES} bytes, which no file of options takes");
            return Err(Error::new(span, why));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::new(span, format!("file `{file}` is not UTF-8 text")))?;
        let stem = model.file_stem().unwrap_or_default().to_string_lossy();
        let is_model = |name: &str| files.root.join(model.with_file_name(format!("{name}.onnx"))).is_file();
        let read = options::parse(&file, &text).and_then(|f| f.of_model(&stem, &is_model));
        let (of_file, said) = read.map_err(refused)?;
        settings.over(of_file);
        warning = said;
    }
    settings.over(Settings::defaults());
    Ok((settings, warning))
}

fn target(
    arguments: &Arguments,
    settings: &Settings,
    files: &mut Files<'_>,
    refused: &dyn Fn(secateur_compiler::Error) -> Error,
) -> Result<Target> {
    let span = arguments.span(settings.place("target"));
    let mut unread = None;
    let mut read = |file: &str| {
        let read = files.bytes(file, span).and_then(|bytes| {
            String::from_utf8(bytes).map_err(|_| Error::new(span, "the file is not UTF-8 text"))
        });
        read.map_err(|e| {
            let message = e.to_string();
            unread = Some(e);
            secateur_compiler::Error::new(Fault::Target, Site::Option("target".into()), message)
        })
    };
    let found = settings.target(&mut read);
    match unread {
        Some(e) => Err(e),
        None => found.map_err(|e| {
            let refusal = refused(e.clone());
            // An argument's own span says which option it is.
            match settings.place_of(&e.site) {
                Some(Place::Argument(_)) => Error::new(refusal.span(), e.message),
                _ => refusal,
            }
        }),
    }
}
