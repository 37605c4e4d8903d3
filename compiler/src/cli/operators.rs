//! `secateur operators`: what is supported, as the compiler's own tables have it.

use super::{output, print_json, table};
use crate::error::Result;
use crate::operators::{self, Int8};
use crate::report::SCHEMA;
use serde_json::json;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What the words of the column mean.
const LEGEND: &[(Int8, &str)] = &[
    (Int8::Integers, "computes on integers"),
    (Int8::Table, "is a table of 256 bytes"),
    (Int8::TableOrFloats, "is such a table if all operands but one are single constants, else as `floats`"),
    (Int8::Floats, "computes in floats between values of eight bits"),
    (Int8::Unreal, "has bools and integers alone, as in a float model"),
    (Int8::Parts, "is written in other operators, and computes as they do"),
    (Int8::Scales, "says how values are stored"),
    (Int8::Folded, "is known at compile time, in float models too"),
];

pub(crate) fn main(args: &Args) -> Result<()> {
    let all = operators::all();
    if args.json {
        return print_json(&json!({ "schema": SCHEMA, "operators": all }));
    }
    let rows = all
        .into_iter()
        .map(|r| {
            let float = if r.float { "yes" } else { "folded" };
            vec![r.name.into(), r.domain.into(), float.into(), r.int8.name().into(), r.limits]
        })
        .collect();
    let mut text = table::table(&["operator", "domain", "float", "int8", "limits"], rows, usize::MAX);
    text += "In an int8 model an operator\n";
    for (how, means) in LEGEND {
        text += &format!("  {:<16} {means}\n", how.name());
    }
    output::print(&text)
}
