//! The attribute's arguments, each with the place it stands at.
//!
//! Law: an argument is refused where it stands, and a misspelt one with the nearest that exists.

use proc_macro2::Span;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Ident, LitInt, LitStr, Result, Token};

/// Arguments that take a text.
const TEXTS: [&str; 6] = ["target", "core", "flash", "ram", "quantize", "optimize"];
const ALL: [&str; 10] = [
    "target",
    "core",
    "flash",
    "ram",
    "quantize",
    "optimize",
    "calibrate",
    "dims",
    "kernel",
    "allow_overflow",
];

/// What stands in the parentheses of the attribute.
pub(crate) struct Arguments {
    pub(crate) model: LitStr,
    texts: Vec<(Ident, LitStr)>,
    /// Key (empty for a single array) and file.
    pub(crate) calibrate: Vec<(String, LitStr)>,
    pub(crate) dims: Vec<(String, LitInt)>,
    /// Pattern of layers' names and kernel variant.
    pub(crate) kernel: Vec<(String, LitStr)>,
    pub(crate) allow_overflow: bool,
    names: Vec<Ident>,
}

impl Arguments {
    pub(crate) fn text(&self, name: &str) -> Option<&LitStr> {
        self.texts.iter().find(|(n, _)| n == name).map(|(_, t)| t)
    }
    /// Where an argument stands: its value, or its name; the model's file if it was not given.
    pub(crate) fn span(&self, name: &str) -> Span {
        let name = if name == "dim" { "dims" } else { name };
        if let Some(text) = self.text(name) {
            return text.span();
        }
        if let ("calibrate", [(_, file)]) = (name, self.calibrate.as_slice()) {
            return file.span();
        }
        self.names.iter().find(|n| *n == name).map_or(self.model.span(), Ident::span)
    }
}

/// A key of `calibrate(...)` or `dims(...)`: an identifier, or any name as a string.
fn key(input: ParseStream<'_>) -> Result<String> {
    if input.peek(LitStr) {
        input.parse::<LitStr>().map(|s| s.value())
    } else {
        input.parse::<Ident>().map(|i| i.to_string())
    }
}

fn pairs<T: Parse>(input: ParseStream<'_>) -> Result<Vec<(String, T)>> {
    let content;
    syn::parenthesized!(content in input);
    let pair = |input: ParseStream<'_>| {
        let key = key(input)?;
        input.parse::<Token![=]>()?;
        Ok((key, input.parse::<T>()?))
    };
    Ok(Punctuated::<(String, T), Token![,]>::parse_terminated_with(&content, pair)?.into_iter().collect())
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if !input.peek(LitStr) {
            return Err(
                input.error("the first argument is the path of the ONNX file, as in `\"models/kws.onnx\"`")
            );
        }
        let mut arguments = Arguments {
            model: input.parse()?,
            texts: Vec::new(),
            calibrate: Vec::new(),
            dims: Vec::new(),
            kernel: Vec::new(),
            allow_overflow: false,
            names: Vec::new(),
        };
        while !input.is_empty() {
            input.parse::<Token![,]>()?;
            if input.is_empty() {
                break;
            }
            let name: Ident = input.parse()?;
            if arguments.names.contains(&name) {
                return Err(Error::new(name.span(), format!("`{name}` is given twice")));
            }
            let text = name.to_string();
            match text.as_str() {
                "dims" => arguments.dims = pairs(input)?,
                "kernel" => arguments.kernel = pairs(input)?,
                "allow_overflow" => {
                    input.parse::<Token![=]>()?;
                    arguments.allow_overflow = input.parse::<syn::LitBool>()?.value;
                }
                "calibrate" if input.peek(syn::token::Paren) => arguments.calibrate = pairs(input)?,
                "calibrate" => {
                    input.parse::<Token![=]>()?;
                    arguments.calibrate = vec![(String::new(), input.parse()?)];
                }
                t if TEXTS.contains(&t) => {
                    input.parse::<Token![=]>()?;
                    arguments.texts.push((name.clone(), input.parse()?));
                }
                t => {
                    let nearest = ALL.iter().copied().min_by_key(|known| edits(t, known));
                    let hint = match nearest {
                        Some(known) if edits(t, known) <= 2 => format!("; did you mean `{known}`?"),
                        _ => String::new(),
                    };
                    return Err(Error::new(
                        name.span(),
                        format!("there is no argument `{t}`{hint}\nthe arguments are: {}", ALL.join(", ")),
                    ));
                }
            }
            arguments.names.push(name);
        }
        Ok(arguments)
    }
}

/// Levenshtein distance over bytes.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
