//! Turns `models/vocab.txt` and `models/classes.txt` into tables that lie in flash, and hands the linker its script.

use std::error::Error;
use std::path::Path;
use wordpiece::table::Table;

fn main() -> Result<(), Box<dyn Error>> {
    let read = |name: &str| {
        println!("cargo::rerun-if-changed={name}");
        std::fs::read_to_string(name).map_err(|e| format!("{name}: {e}"))
    };
    let table = Table::new(&read("models/vocab.txt")?).map_err(|e| format!("models/vocab.txt: {e}"))?;
    let intents = read("models/classes.txt")?;
    let intents: Vec<&str> = intents.lines().collect();
    let text = format!(
        "pub const VOCABULARY: ::wordpiece::Vocabulary<'static> = {};\npub const INTENTS: [&str; {}] = {intents:?};\n",
        table.rust(),
        intents.len()
    );
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("tables.rs"), text)?;
    println!("cargo::rerun-if-changed=link.ld");
    if std::env::var("CARGO_CFG_TARGET_OS")? == "none" {
        println!("cargo::rustc-link-arg-bins=-T{}/link.ld", std::env::var("CARGO_MANIFEST_DIR")?);
    }
    Ok(())
}
