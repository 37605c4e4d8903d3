//! Settings -> TOML that says what holds, and in comments where each value comes from. What is
//! printed is itself a `secateur.toml`.

use super::kind::Printed;
use super::value::{Place, quoted};
use super::{DECLARED, Declared, Settings};

/// `title` stands in the first line.
pub fn print(settings: &Settings, title: &str) -> String {
    let mut values = format!("# {}\n", title.replace(|c: char| c.is_control(), " "));
    let mut tables = String::new();
    for option in DECLARED {
        match settings.print(option.name) {
            Some((Printed::Value(value), place)) => {
                values += &format!("{} = {value}  # {}\n", option.name, source(option, place));
            }
            Some((Printed::Table(entries), _)) if !entries.is_empty() => {
                tables += &format!("\n[{}]\n", option.name);
                for (key, value, place) in entries {
                    tables += &format!("{} = {value}  # {}\n", quoted(&key), source(option, &place));
                }
            }
            _ => values += &format!("# {}: not given\n", option.name),
        }
    }
    values + &tables
}

fn source(option: &Declared, place: &Place) -> String {
    match place {
        Place::Default => "default".to_owned(),
        Place::Line { file, line, .. } => {
            format!("{}:{line}", file.replace(|c: char| c.is_control(), " "))
        }
        Place::Argument(_) => format!("argument {}", option.argument()),
        Place::Flag => format!("flag --{}", option.name),
    }
}
