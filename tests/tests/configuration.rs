//! The page on `secateur.toml` and the macro's documentation say what is declared: each option, what
//! it takes, its default, and who reads it; and the page's examples are files that are read.

use secateur_compiler::options::{self, DECLARED, Declared, Front, Reach, Settings};

const PAGE: &str = "docs/configuration.md";

fn text(path: &str) -> String {
    std::fs::read_to_string(secateur_tests::repository().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// An option as a row of the page's table.
fn row(option: &Declared) -> String {
    let default = match option.default {
        "" => "none".to_owned(),
        default => {
            let (shown, _) =
                Settings::defaults().print(option.name).map(|(p, place)| (p, place.clone())).unwrap();
            assert!(format!("{shown:?}").contains(default), "{shown:?}");
            let options::Printed::Value(shown) = shown else { panic!("{}: a table by default", option.name) };
            format!("`{shown}`")
        }
    };
    let readers = match option.reach {
        Reach::Everyone => "every command, macro",
        Reach::Compilers => "what compiles, macro",
        Reach::Commands => "what compiles",
        Reach::Compile => "`compile`",
    };
    let alias = if option.alias.is_empty() { String::new() } else { format!(" or `{}`", option.alias) };
    let help = option.help.trim();
    format!("| `{}`{alias} | {} | {default} | {readers} | {help} |\n", option.name, option.shape.words())
}

#[test]
fn the_page_lists_what_is_declared() {
    let page = text(PAGE);
    let begin = page.find("<!-- options").expect("the table has a beginning");
    let end = begin + page[begin..].find("<!-- end -->").expect("the table has an end");
    let listed: String = page[begin..end].lines().skip(3).map(|l| format!("{l}\n")).collect();
    let declared: String = DECLARED.iter().map(row).collect();
    assert_eq!(listed, declared, "the table of {PAGE} is to be:\n{declared}");
}

#[test]
fn the_macro_documents_its_arguments() {
    let source = text("macros/src/lib.rs");
    let documented = |name: &str| {
        ["`", ", "]
            .iter()
            .any(|before| [" =", "("].iter().any(|after| source.contains(&format!("{before}{name}{after}"))))
    };
    for option in DECLARED {
        let names = [option.argument(), option.alias.to_owned()];
        let found = names.iter().any(|name| !name.is_empty() && documented(name));
        assert_eq!(found, option.is_for(Front::Macro), "{}", option.name);
    }
}

#[test]
fn the_examples_of_the_page_are_read() {
    let page = text(PAGE);
    let blocks: Vec<&str> =
        page.split("```toml\n").skip(1).map(|b| b.split("```").next().unwrap_or_default()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let file = options::parse("models/secateur.toml", block).unwrap_or_else(|e| panic!("{e}"));
        let (settings, warning) = file.of_model("kws", &|_| false).expect("it is of the model");
        assert_eq!(warning, None);
        let options = settings.options();
        assert_eq!(options.kernels[0].layers, "conv*", "the example shows a layer");
    }
    // The refusals that are shown are ours.
    let shown = page.split("```text\n").nth(1).and_then(|b| b.split("```").next()).expect("refusals");
    let wrong = "target = 'host'\noptimise = 'size'\n\n\nemit = 'c'\n";
    let said = options::parse("models/secateur.toml", wrong).unwrap_err();
    let lines: String =
        std::iter::once(&said).chain(&said.others).map(|e| format!("{}\n", e.line())).collect();
    assert_eq!(lines, shown);
}
