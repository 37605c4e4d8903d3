//! The attribute's arguments: those of the table of options, each with the places it stands at.
//!
//! In: what stands in the parentheses. Out: the settings that it gives, the model's file and that of
//! more options. Law: an argument is refused where it stands, and a misspelt one with the nearest
//! that exists.

use proc_macro2::Span;
use secateur_compiler::options::{
    Form, Front, Place, Raw, Settings, Untyped, Wrong, declared, unknown_argument,
};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Error, Ident, Lit, LitStr, Result, Token, bracketed, parenthesized};

/// What stands in the parentheses of the attribute.
pub(crate) struct Arguments {
    pub(crate) model: LitStr,
    /// The file of options, where it is not the one beside the model.
    pub(crate) config: Option<LitStr>,
    pub(crate) settings: Settings,
    /// The span of each [`Place::Argument`].
    spans: Vec<Span>,
}

impl Arguments {
    /// Where a value was given; the file that gave it, or the model, if no argument did.
    pub(crate) fn span(&self, place: Option<&Place>) -> Span {
        match place {
            Some(Place::Argument(n)) => self.spans.get(*n).copied().unwrap_or_else(Span::call_site),
            Some(Place::Line { .. }) => self.config_span(),
            _ => self.model.span(),
        }
    }
    /// Where the file of options is named: the model, if it lies beside it.
    pub(crate) fn config_span(&self) -> Span {
        self.config.as_ref().map_or(self.model.span(), LitStr::span)
    }
    fn place(&mut self, span: Span) -> Place {
        self.spans.push(span);
        Place::Argument(self.spans.len() - 1)
    }
    fn wrong(&self, wrong: Wrong) -> Error {
        let help = wrong.help.map_or_else(String::new, |help| format!("\n{help}"));
        Error::new(self.span(Some(&wrong.place)), wrong.message + &help)
    }

    /// A literal, or a list of some.
    fn value(&mut self, input: ParseStream<'_>) -> Result<Raw> {
        if input.peek(syn::token::Bracket) {
            let content;
            let bracket = bracketed!(content in input);
            let place = self.place(bracket.span.join());
            let mut items = Vec::new();
            while !content.is_empty() {
                items.push(self.value(&content)?);
                if !content.is_empty() {
                    content.parse::<Token![,]>()?;
                }
            }
            return Ok(Raw { place, value: Untyped::List(items) });
        }
        let literal: Lit = input.parse()?;
        let place = self.place(literal.span());
        let value = match &literal {
            Lit::Str(text) => Untyped::Text(text.value()),
            Lit::Bool(b) => Untyped::Bool(b.value),
            Lit::Int(n) => match n.base10_parse() {
                Ok(n) => Untyped::Integer(n),
                Err(_) => Untyped::Other("an integer of more than 64 bits"),
            },
            Lit::Float(x) => Untyped::Fraction(x.base10_digits().to_owned()),
            _ => Untyped::Other("a literal of another kind"),
        };
        Ok(Raw { place, value })
    }

    /// `(key = value, ...)`, of which a key is an identifier, or any name as a string.
    fn table(&mut self, name: &Ident, input: ParseStream<'_>) -> Result<Raw> {
        let content;
        parenthesized!(content in input);
        let place = self.place(name.span());
        let key = |input: ParseStream<'_>| match input.peek(LitStr) {
            true => input.parse::<LitStr>().map(|s| s.value()),
            false => input.parse::<Ident>().map(|i| i.to_string()),
        };
        let mut entries = Vec::new();
        while !content.is_empty() {
            let key = key(&content)?;
            content.parse::<Token![=]>()?;
            entries.push((key, self.value(&content)?));
            if !content.is_empty() {
                content.parse::<Token![,]>()?;
            }
        }
        Ok(Raw { place, value: Untyped::Table(entries) })
    }

    /// One argument.
    fn argument(&mut self, name: &Ident, input: ParseStream<'_>) -> Result<()> {
        let spelled = name.unraw().to_string();
        let place = self.place(name.span());
        if spelled == "config" {
            input.parse::<Token![=]>()?;
            if self.config.replace(input.parse()?).is_some() {
                return Err(Error::new(name.span(), "`config` is given twice"));
            }
            return Ok(());
        }
        let known = declared(&spelled.replace('_', "-")).filter(|o| o.is_for(Front::Macro));
        let Some(option) = known else { return Err(self.wrong(unknown_argument(&spelled, &place))) };
        if self.settings.place(option.name).is_some() {
            return Err(Error::new(name.span(), format!("`{spelled}` is given twice")));
        }
        let form = option.shape.form;
        let tables = matches!(form, Form::Table | Form::Layers | Form::OneOrTable);
        let raw = if tables && input.peek(syn::token::Paren) {
            self.table(name, input)?
        } else if matches!(form, Form::Table | Form::Layers) {
            return Err(input.error(format!("`{spelled}` takes names with values: `{spelled}(\"a\" = ...)`")));
        } else {
            input.parse::<Token![=]>()?;
            self.value(input)?
        };
        let set = self.settings.set(option.name, &spelled, &raw);
        set.map_err(|wrong| self.wrong(wrong))
    }
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
            config: None,
            settings: Settings::default(),
            spans: Vec::new(),
        };
        while !input.is_empty() {
            input.parse::<Token![,]>()?;
            if input.is_empty() {
                break;
            }
            let name: Ident = input.call(Ident::parse_any)?;
            arguments.argument(&name, input)?;
        }
        let conflicts = arguments.settings.conflicts();
        conflicts.map_err(|wrong| arguments.wrong(wrong))?;
        Ok(arguments)
    }
}
