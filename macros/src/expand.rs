//! Arguments and struct -> the compiled model's code.
//!
//! In: the attribute's arguments, the struct under it, the folder that paths are relative to.
//! Out: a module with the text of `secateur compile --emit rust`, and a `use` under the struct's
//! own name. Law: through the same entry as the command line; errors stand on the argument at
//! fault.

use crate::arguments::Arguments;
use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use secateur_compiler::artifact::compile;
use secateur_compiler::emit::names;
use secateur_compiler::error::Fault;
use secateur_compiler::options::{KernelWish, Language, Optimize, Quantize};
use secateur_compiler::targets::{self, Target};
use secateur_compiler::tensor::Samples;
use secateur_compiler::{Options, Silent, Site, Warning, npy, onnx};
use std::path::Path;
use syn::{Attribute, Error, Fields, ItemStruct, LitStr, Result};

pub(crate) fn expand(arguments: TokenStream, item: TokenStream, root: &Path) -> Result<TokenStream> {
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
    let mut files = Files { root, read: Vec::new() };
    let target = target(&arguments, &mut files)?;
    let model = files.model(&arguments.model)?;
    let mut calibration = Samples::default();
    for (key, file) in &arguments.calibrate {
        let bytes = files.bytes(file)?;
        let array = npy::read(&bytes).map_err(|e| {
            let hint = if bytes.starts_with(b"PK") {
                "\nan .npz is given array by array: `calibrate(x = \"x.npy\", y = \"y.npy\")`"
            } else {
                ""
            };
            Error::new(file.span(), format!("{e}{hint}"))
        })?;
        calibration.arrays.insert(key.clone(), array);
    }
    let name = names::module_name(&item.ident.to_string());
    let mut options = Options { name: name.clone(), emit: vec![Language::Rust], ..Options::default() };
    if let Some(text) = arguments.text("quantize") {
        options.quantize = match text.value().as_str() {
            "int8" => Quantize::Int8,
            "none" => Quantize::None,
            other => {
                return Err(Error::new(
                    text.span(),
                    format!("`{other}` is no kind of quantization; there are \"int8\" and \"none\""),
                ));
            }
        };
    }
    if let Some(text) = arguments.text("optimize") {
        options.optimize = match text.value().as_str() {
            "speed" => Optimize::Speed,
            "balanced" => Optimize::Balanced,
            "size" => Optimize::Size,
            other => {
                return Err(Error::new(
                    text.span(),
                    format!(
                        "nothing is optimized for `{other}`; there are \"speed\", \"balanced\" and \"size\""
                    ),
                ));
            }
        };
    }
    for (dim, size) in &arguments.dims {
        let n = size.base10_parse::<usize>()?;
        if n == 0 {
            return Err(Error::new(size.span(), "the size of a dimension is at least 1"));
        }
        options.dims.insert(dim.clone(), n);
    }
    options.kernels = arguments
        .kernel
        .iter()
        .map(|(layers, variant)| KernelWish { layers: layers.clone(), variant: variant.value() })
        .collect();
    options.allow_overflow = arguments.allow_overflow;
    let samples = (!calibration.arrays.is_empty()).then_some(&calibration);
    let artifact = compile(&model, &target, samples, &options, &mut Silent).map_err(|e| {
        let span = match (&e.site, e.fault) {
            (Site::Option(option), _) => arguments.span(option),
            (_, Fault::Data) => arguments.span("calibrate"),
            (_, Fault::Target) => arguments.span("target"),
            _ => arguments.model.span(),
        };
        Error::new(span, in_arguments(&e.to_string()))
    })?;
    let text =
        &artifact.files.first().ok_or_else(|| Error::new(Span::call_site(), "no Rust was emitted"))?.text;
    let code: TokenStream = text
        .parse()
        .map_err(|e| Error::new(Span::call_site(), format!("the emitted Rust does not parse: {e}")))?;

    let (ident, vis, attrs) = (&item.ident, &item.vis, &item.attrs);
    let module = format_ident!("__secateur_{name}", span = Span::call_site());
    let ty = format_ident!("{}", names::type_name(&name), span = Span::call_site());
    let named = if *ident == ty { quote!(#ty) } else { quote!(#ty as #ident) };
    let read = files.read;
    let warnings = artifact.report.warnings.iter().map(|w| warning(w, &arguments, attrs));
    Ok(quote! {
        #( #warnings )*
        #[doc(hidden)]
        mod #module {
            // Cargo rebuilds when one of these files changes.
            #( const _: &[u8] = include_bytes!(#read); )*
            #code
        }
        #( #attrs )*
        #vis use #module::#named;
    })
}

/// The words of the command line as the attribute's arguments.
fn in_arguments(text: &str) -> String {
    text.replace("`--calibrate X.npy`", "`calibrate = \"x.npy\"`")
        .replace("`--quantize none`", "`quantize = \"none\"`")
        .replace("`--optimize size`", "`optimize = \"size\"`")
        .replace("`--allow-overflow`", "`allow_overflow = true`")
}

/// A warning of the compiler as rustc shows one: stable Rust has no other way for a macro than a
/// deprecated item whose note is the text. `#[allow(deprecated)]` on the struct silences it.
fn warning(warning: &Warning, arguments: &Arguments, attrs: &[Attribute]) -> TokenStream {
    let span = match &warning.site {
        Site::Option(option) => arguments.span(option),
        _ => arguments.model.span(),
    };
    let levels = attrs.iter().filter(|a| ["allow", "expect"].iter().any(|l| a.path().is_ident(l)));
    let text = in_arguments(&warning.to_string());
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
}

impl Files<'_> {
    /// The model in one piece, with the tensors that lie in files beside it.
    fn model(&mut self, file: &LitStr) -> Result<Vec<u8>> {
        let bytes = self.bytes(file)?;
        let folder = Path::new(&file.value()).parent().map(Path::to_path_buf).unwrap_or_default();
        let mut beside = |name: &str| self.external(&folder, name);
        let whole = onnx::embed(&bytes, &mut beside).map_err(|e| Error::new(file.span(), e.to_string()))?;
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

    fn bytes(&mut self, file: &LitStr) -> Result<Vec<u8>> {
        let path = file.value();
        let full = self.root.join(&path);
        let bytes = std::fs::read(&full).map_err(|e| {
            Error::new(
                file.span(),
                format!(
                    "file `{path}` cannot be read: {}\nit is looked for relative to the crate's Cargo.toml",
                    reason(&e)
                ),
            )
        })?;
        self.track(Path::new(&path));
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

fn target(arguments: &Arguments, files: &mut Files<'_>) -> Result<Target> {
    let [core, flash, ram] = ["core", "flash", "ram"].map(|name| arguments.text(name));
    let size = |text: &LitStr| {
        targets::parse_size(&text.value()).map_err(|e| Error::new(text.span(), e.to_string()))
    };
    match (arguments.text("target"), core, flash, ram) {
        (Some(target), None, None, None) => {
            let name = target.value();
            let refused = |e: targets::TargetError| Error::new(target.span(), e.to_string());
            if name.ends_with(".toml") {
                let text = String::from_utf8(files.bytes(target)?)
                    .map_err(|_| Error::new(target.span(), "the file is not UTF-8 text"))?;
                targets::parse(&text).map_err(refused)
            } else {
                targets::find(&name).map_err(refused)
            }
        }
        (None, Some(core), Some(flash), Some(ram)) => {
            targets::core_only(&core.value(), size(flash)?, size(ram)?)
                .map_err(|e| Error::new(core.span(), e.to_string()))
        }
        (None, None, None, None) => {
            targets::find("host").map_err(|e| Error::new(arguments.model.span(), e.to_string()))
        }
        (Some(_), ..) => Err(Error::new(
            arguments.span("target"),
            "give `target`, or `core` with `flash` and `ram`, not both",
        )),
        _ => {
            let given =
                ["core", "flash", "ram"].into_iter().find(|n| arguments.text(n).is_some()).unwrap_or("core");
            Err(Error::new(arguments.span(given), "`core`, `flash` and `ram` are given together"))
        }
    }
}
