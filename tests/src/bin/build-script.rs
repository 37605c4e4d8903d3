//! A build script as users write one, as a program of its own: suite `build_script` runs it with the variables that
//! Cargo sets. `build-script MODEL rust|c [OPTION=VALUE]...`

use secateur_compiler::build::Model;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, language, options @ ..] = &arguments[..] else { panic!("a model and a language") };
    let mut model = Model::new(path);
    for option in options {
        let (name, value) = option.split_once('=').expect("NAME=VALUE");
        model = match name {
            "config" => model.config(value),
            "target" => model.target(value),
            "calibrate" => model.calibrate(value),
            "name" => model.name(value),
            name => model.option(name, value),
        };
    }
    let model = if language == "c" { model.emit_c() } else { model.emit_rust() };
    model.compile();
}
