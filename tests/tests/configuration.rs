//! The page on `secateur.toml` and the macro's documentation say what is declared: each option, what
//! it takes, its default, and who reads it; and the page's examples are files that are read.

use secateur_compiler::Site;
use secateur_compiler::options::{self, DECLARED, Declared, Front, Reach, Settings};
use secateur_tests::mutate::Random;

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

/// Whatever stands in a file, it is read, or refused at a place inside of it.
#[test]
fn any_text_is_read_or_refused_at_a_place_in_it() {
    let sample: Vec<char> = "\u{feff}target = 'nrf52840' # \u{e9}\r\ndim = { 'N:0' = 0x10, b.c = 1 }\nemit = [ 'c', \
        \"rust\" ]\n[kernel]\n'*' = '''gemm'''\n[model.\"k w\".layer.'c*']\nkernel = \"\"\"x\"\"\"\n[[layer]]\n\
        ram = 1_0.5e3\nname = 1979-05-27T07:32:00Z\ncalibrate = { x = 'y' }\n"
        .chars()
        .collect();
    let mut random = Random::new(1);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..20_000 {
        // Some of its lines, which may be right, with a few changes.
        let end = random.below(sample.len()) + 1;
        let mut text = sample[random.below(end)..end].to_vec();
        for _ in 0..random.below(4) {
            let at = random.below(text.len() + 1);
            let from = random.below(sample.len());
            let more = &sample[from..(from + random.below(20)).min(sample.len())];
            let until = (at + random.below(6)).min(text.len());
            text.splice(at..until, more.iter().copied());
        }
        let text: String = text.into_iter().collect();
        match options::parse("secateur.toml", &text) {
            Ok(file) => {
                read += 1;
                let _ = file.of_model("k w", &|_| false).map(|(settings, _)| settings.options());
            }
            Err(error) => {
                refused += 1;
                for e in std::iter::once(&error).chain(&error.others) {
                    let Site::Line { line, column, .. } = e.site else { panic!("{e}: {text}") };
                    let there = text.split('\n').nth(line - 1).unwrap_or_else(|| panic!("{e}: {text}"));
                    assert!(column <= there.chars().count() + 1, "{e}: {text}");
                }
            }
        }
    }
    assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
}

#[test]
fn thousands_of_layers_have_their_sections() {
    let many: String = (0..8000).map(|i| format!("[layer.'l{i}']\nkernel = 'x'\n")).collect();
    assert!(many.len() < options::MAX_BYTES);
    let file = options::parse("secateur.toml", &many).expect("it is right");
    let (settings, _) = file.of_model("kws", &|_| false).expect("it is of the model");
    let kernels = settings.options().kernels;
    assert_eq!((kernels.len(), kernels[7999].layers.as_str()), (8000, "l7999"));
}
