//! The one table from which an option's flag, help, macro argument, key in `secateur.toml`, type and
//! default follow.
//!
//! In: the lines of `declare!` in the room's first file. Out: [`Declared`] of each, and
//! `Settings`, which holds what one level or all of them say. Law: fronts go through the table and
//! name no option, so that a new one is a line there and its use.

use super::kind::{Form, Shape};
use super::value::{Place, Raw, Untyped, Wrong};

/// What an option is to its users.
#[derive(Debug)]
pub struct Declared {
    /// The flag without dashes, the key in a file, and with `_` for `-` the macro's argument.
    pub name: &'static str,
    /// Another name that files and the macro take, or nothing.
    pub alias: &'static str,
    pub help: &'static str,
    /// What stands for the flag's value in its help.
    pub value: &'static str,
    /// As a flag would give it; nothing: there is none.
    pub default: &'static str,
    pub shape: Shape,
    pub reach: Reach,
    /// Options that say the same in another way: one level gives one of them, and it replaces those
    /// of the levels below.
    pub instead: &'static [&'static str],
}

/// Who takes an option; a file may hold any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Every command with a model, and the macro.
    Everyone,
    /// Every command that compiles. The macro knows it by other ways.
    Commands,
    /// `compile` alone.
    Compile,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// `inspect`.
    Inspect,
    /// A command that compiles, and keeps nothing of it.
    Command,
    /// `compile`.
    Compile,
    Macro,
}

impl Declared {
    /// Whether a front takes the option.
    pub fn is_for(&self, front: Front) -> bool {
        match self.reach {
            Reach::Everyone => true,
            Reach::Commands => [Front::Command, Front::Compile].contains(&front),
            Reach::Compile => front == Front::Compile,
        }
    }
    /// The macro's argument.
    pub fn argument(&self) -> String {
        self.name.replace('-', "_")
    }
    /// Whether a section `[layer.'GLOB']` takes it.
    pub fn is_for_layers(&self) -> bool {
        self.shape.form == Form::Layers
    }
    /// The parts of `NAME=VALUE`: names may hold `=`, and values only where it is known how they begin.
    fn name_and_value<'a>(&self, text: &'a str) -> Option<(&'a str, &'a str)> {
        let starts = self.shape.starts;
        let begun = starts.iter().filter_map(|start| text.rfind(&format!("={start}"))).max();
        match (begun, starts) {
            (Some(at), _) => Some((text.get(..at)?, text.get(at + 1..)?)),
            (None, []) => text.rsplit_once('='),
            (None, _) => text.split_once('='),
        }
    }
    /// A word of the command line as the option's value.
    pub fn word(&self, text: &str, place: Place) -> Result<Raw, Wrong> {
        let word = |text: &str| Raw { place: place.clone(), value: Untyped::Word(text.to_owned()) };
        let value = match self.shape.form {
            Form::Switch | Form::One | Form::OneOrTable => Untyped::Word(text.to_owned()),
            Form::List => Untyped::List(text.split(',').map(word).collect()),
            Form::Table | Form::Layers => match self.name_and_value(text) {
                Some((name, value)) if !name.is_empty() && !value.is_empty() => {
                    Untyped::Table(vec![(name.to_owned(), word(value))])
                }
                _ => {
                    let message = format!("`--{}` takes {}, not {text}", self.name, self.value);
                    return Err(Wrong::new(&place, message));
                }
            },
        };
        Ok(Raw { place, value })
    }
}

/// The option of that name in a file; the macro's arguments have `_` for `-`.
pub fn declared(key: &str) -> Option<&'static Declared> {
    let known = |d: &&Declared| d.name == key || (d.alias == key && !key.is_empty());
    super::DECLARED.iter().find(known)
}

/// Refuses a key that is not known; `kind` is what it would be one of: `keys`.
pub(super) fn unknown(place: &Place, kind: &str, key: &str, known: &[String]) -> Wrong {
    let message = format!("`{key}` is none of the {kind}");
    match secateur_targets::nearest(key, known) {
        Some(near) => Wrong::new(place, format!("{message}; did you mean `{near}`?")),
        None => {
            Wrong { help: Some(format!("the {kind} are {}", known.join(", "))), ..Wrong::new(place, message) }
        }
    }
}

/// Refuses an argument that the macro does not have.
pub fn unknown_argument(key: &str, place: &Place) -> Wrong {
    let mut known: Vec<String> =
        super::DECLARED.iter().filter(|d| d.is_for(Front::Macro)).map(Declared::argument).collect();
    known.push("config".to_owned());
    unknown(place, "arguments", key, &known)
}

/// `NAME: TYPE, "flag" (also "alias"), "VALUE", default "text", Reach, instead of [...];` for each.
macro_rules! declare {
    ($(
        $(#[doc = $help:literal])+
        $field:ident: $kind:ty, $name:literal $(also $alias:literal)?, $value:literal,
        default $default:literal, $reach:ident $(, instead of [$($other:literal),+])?;
    )+) => {
        /// Every option, in the order in which help and docs list them.
        pub const DECLARED: &[Declared] = &[$(Declared {
            name: $name,
            alias: concat!($($alias)?),
            help: concat!($($help),+),
            value: $value,
            default: $default,
            shape: <$kind as Kind>::SHAPE,
            reach: Reach::$reach,
            instead: &[$($($other),+)?],
        }),+];

        /// What one level says of the options, or all of them together.
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct Settings {
            $($(#[doc = $help])+ pub $field: Option<Given<$kind>>,)+
        }

        impl Settings {
            /// Takes in a value of an option, by its name in the table; `key` is how the front
            /// spells that.
            pub fn set(&mut self, name: &str, key: &str, raw: &Raw) -> Result<(), Wrong> {
                match name {
                    $($name => {
                        let value = <$kind as Kind>::read(key, raw)?;
                        match &mut self.$field {
                            Some(given) => given.value.add(value),
                            none => *none = Some(Given { value, place: raw.place.clone() }),
                        }
                    })+
                    _ => return Err(Wrong::new(&raw.place, format!("there is no option `{name}`"))),
                }
                Ok(())
            }
            fn forget(&mut self, name: &str) {
                match name {
                    $($name => self.$field = None,)+
                    _ => {}
                }
            }
            /// Takes in what a level below says and this one does not.
            pub fn over(&mut self, mut below: Settings) {
                for option in DECLARED.iter().filter(|o| self.place(o.name).is_some()) {
                    option.instead.iter().for_each(|other| below.forget(other));
                }
                $(match (&mut self.$field, below.$field) {
                    (Some(above), Some(below)) => above.value.over(below.value),
                    (none @ None, given) => *none = given,
                    (Some(_), None) => {}
                })+
            }
            /// Where an option was given.
            pub fn place(&self, name: &str) -> Option<&Place> {
                match name {
                    $($name => self.$field.as_ref().map(|g| &g.place),)+
                    _ => None,
                }
            }
            /// Names of a table's entries and their places.
            pub fn entries(&self, name: &str) -> Vec<(&str, &Place)> {
                match name {
                    $($name => self.$field.iter().flat_map(|g| g.value.entries()).collect(),)+
                    _ => Vec::new(),
                }
            }
            /// An option's value and place as they print.
            pub fn print(&self, name: &str) -> Option<(Printed, &Place)> {
                match name {
                    $($name => self.$field.as_ref().map(|g| (g.value.print(), &g.place)),)+
                    _ => None,
                }
            }
        }
    };
}
pub(super) use declare;
