//! Levels and files of options: which value holds, what is refused and where, and what prints.

use super::*;
use crate::error::Error;

fn none(_: &str) -> bool {
    false
}

/// What a file says of the model `kws`, over the defaults.
fn of_kws(text: &str) -> Settings {
    let (mut settings, warning) = parse("m/secateur.toml", text).unwrap().of_model("kws", &none).unwrap();
    assert_eq!(warning, None, "{text}");
    settings.over(Settings::defaults());
    settings
}

/// The same with flags over it.
fn with_flags(text: &str, flags: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::default();
    for (name, word) in flags {
        let raw = declared(name).unwrap().word(word, Place::Flag).unwrap();
        settings.set(name, name, &raw).unwrap();
    }
    settings.over(of_kws(text));
    settings
}

fn refusal(text: &str) -> Error {
    let read = parse("m/secateur.toml", text).and_then(|file| file.of_model("kws", &none));
    read.expect_err(text)
}

#[test]
fn the_defaults_are_those_of_the_compiler() {
    assert_eq!(Settings::defaults().options(), Options::default());
    let set: Vec<&str> =
        DECLARED.iter().map(|o| o.name).filter(|n| Settings::defaults().place(n).is_some()).collect();
    let declared: Vec<&str> = DECLARED.iter().filter(|o| !o.default.is_empty()).map(|o| o.name).collect();
    assert_eq!(set, declared);
    let target = Settings::defaults().target(&mut |_| unreachable!()).unwrap();
    assert_eq!(target, secateur_targets::find("host").unwrap());
}

#[test]
fn a_flag_goes_over_the_models_section_and_that_over_the_top() {
    let top = "optimize = 'size'\n";
    let section = "[model.kws]\noptimize = 'speed'\n";
    let other = "[model.other]\noptimize = 'balanced'\nquantize = 'none'\n";
    let optimize = |settings: Settings| settings.options().optimize;
    assert_eq!(optimize(of_kws("")), Optimize::Balanced);
    assert_eq!(optimize(of_kws(top)), Optimize::Size);
    assert_eq!(optimize(of_kws(&format!("{top}{section}{other}"))), Optimize::Speed);
    assert_eq!(of_kws(&format!("{top}{section}{other}")).options().quantize, Quantize::Int8);
    let flags = [("optimize", "balanced")];
    assert_eq!(optimize(with_flags(&format!("{top}{section}"), &flags)), Optimize::Balanced);
    // A switch that one level sets, a lower one cannot clear, and a higher one can.
    let text = "allow-overflow = true\n[model.kws]\nallow-overflow = false\n";
    assert!(!of_kws(text).options().allow_overflow);
    assert!(with_flags(text, &[("allow-overflow", "true")]).options().allow_overflow);
}

#[test]
fn lists_are_replaced_and_dimensions_join() {
    let text = "emit = ['rust', 'c', 'c']\ndim = { a = 1, b = 1 }\n[model.kws.dim]\nb = 2\nc = 2\n";
    let options = of_kws(text).options();
    assert_eq!(options.emit, [Language::C, Language::Rust]);
    let dims =
        |all: &[(&str, usize)]| all.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect::<BTreeMap<_, _>>();
    assert_eq!(options.dims, dims(&[("a", 1), ("b", 2), ("c", 2)]));
    let options =
        with_flags(text, &[("emit", "rust"), ("dim", "c=3"), ("dim", "d=3"), ("dim", "d=4")]).options();
    assert_eq!(options.emit, [Language::Rust]);
    assert_eq!(options.dims, dims(&[("a", 1), ("b", 2), ("c", 3), ("d", 4)]));
    assert_eq!(of_kws("dims = { a = 7 }").options().dims, dims(&[("a", 7)]));
}

#[test]
fn inputs_are_bound_by_name() {
    let text = "bind = { sr = 16000, gains = [1, -0.5] }\n[model.kws.bind]\nsr = 8000\n'on:0' = true\n";
    let shown = |settings: Settings| -> Vec<String> {
        settings.options().bind.iter().map(|(name, numbers)| format!("{name}={}", numbers.show())).collect()
    };
    assert_eq!(shown(of_kws(text)), ["gains=[1, -0.5]", "on:0=true", "sr=8000"]);
    let flags = with_flags(text, &[("bind", "sr=44100"), ("bind", "a=b=1,2")]);
    assert_eq!(print(&flags, "x").matches("\"a=b\" = [1, 2]  # flag --bind").count(), 1);
    assert_eq!(of_kws(&print(&flags, "x")).options(), flags.options());
    assert_eq!(shown(flags), ["a=b=[1, 2]", "gains=[1, -0.5]", "on:0=true", "sr=44100"]);
}

#[test]
fn a_flag_finds_where_the_name_of_a_sensor_ends() {
    let all = [("sensor", "x=i16,scale=0.5,axis=1"), ("sensor", "a=b=u16,scale=2:3,offset=-1")];
    let sensors = with_flags("", &all).options().sensors;
    let said: Vec<String> = sensors.iter().map(|(port, sensor)| format!("{port} {sensor}")).collect();
    assert_eq!(said, ["a=b u16,scale=2:3,offset=-1", "x i16,scale=0.5,axis=1"]);
    let option = declared("sensor").unwrap();
    let raw = option.word("x=i8,scale=1", Place::Flag).unwrap();
    let wrong = Settings::default().set("sensor", "sensor", &raw).unwrap_err();
    assert!(wrong.message.contains("`i8` is no type of counts"), "{}", wrong.message);
}

#[test]
fn outputs_are_tied_to_inputs_by_name() {
    let text = "state = { h = 'h_out', c = 'c_out' }\n[model.kws.state]\nh = 'other'\n";
    let shown = |settings: Settings| -> Vec<String> {
        settings.options().states.iter().map(|(input, output)| format!("{input}={output}")).collect()
    };
    assert_eq!(shown(of_kws(text)), ["c=c_out", "h=other"]);
    let flags = with_flags(text, &[("state", "h=h_new"), ("state", "a=b")]);
    assert_eq!(of_kws(&print(&flags, "x")).options(), flags.options());
    assert_eq!(shown(flags), ["c=c_out", "h=h_new", "a=b"]);
    // What one level ties twice stays for the compiler to refuse.
    let twice = with_flags(text, &[("state", "h=h_new"), ("state", "h=h_out")]);
    assert_eq!(shown(twice), ["c=c_out", "h=h_new", "h=h_out"]);
}

/// The variant that each level of sections gives, by which of several patterns holds.
#[test]
fn of_a_layers_sections_the_most_specific_holds_and_within_one_the_last() {
    let variant = |settings: &Settings, layer: &str| {
        let options = settings.options();
        options.kernels.iter().rev().find(|w| w.wants(layer)).map(|w| w.variant.clone())
    };
    let is = |text: &str, layer: &str, want: &str| {
        assert_eq!(variant(&of_kws(text), layer).as_deref(), Some(want), "{text}");
    };
    // The last that matches, however narrow, and whichever way it is written.
    is("[layer.'conv1']\nkernel = 'a'\n[layer.'conv*']\nkernel = 'b'\n", "conv1", "b");
    is("[layer.'conv*']\nkernel = 'b'\n[layer.'conv1']\nkernel = 'a'\n", "conv1", "a");
    is("[layer.'conv*']\nkernel = 'a'\n[kernel]\nconv1 = 'b'\n[layer.'*1']\nkernel = 'c'\n", "conv1", "c");
    is("[layer.'*1']\nkernel = 'a'\n[kernel]\nconv1 = 'b'\n[layer.'x']\nkernel = 'c'\n", "conv1", "b");
    // The order of the file, not that of the alphabet.
    is("kernel = { 'z*' = 'a', 'zz' = 'b', '?z' = 'c' }\n", "zz", "c");
    is("kernel = { 'z*' = 'a', '?z' = 'c', 'zz' = 'b' }\n", "zz", "b");
    // A model's section goes over the top level, wherever it stands and however wide it is.
    let text = "[model.kws.layer.'*']\nkernel = 'm'\n[layer.'conv1']\nkernel = 't'\n";
    is(text, "conv1", "m");
    is("[model.other.layer.'*']\nkernel = 'm'\n[layer.'conv1']\nkernel = 't'\n", "conv1", "t");
    is("[model.kws.kernel]\n'pool' = 'm'\n[layer.'conv1']\nkernel = 't'\n", "conv1", "t");
    let flags = with_flags(text, &[("kernel", "c*=f"), ("kernel", "conv?=g")]);
    assert_eq!(variant(&flags, "conv1").as_deref(), Some("g"));
    assert_eq!(variant(&flags, "pool").as_deref(), Some("m"));
}

#[test]
fn what_is_pruned_is_said_for_all_layers_and_for_some() {
    let text = "prune = { sparsity = 0.5, pattern = '2x4' }\nkeep = ['head*']\n[layer.'c*']\nsparsity = 0\npattern = '1:4'\n\
        [layer.'conv2']\nsparsity = 0.75\n";
    let options = of_kws(text).options();
    assert_eq!(options.prune.unwrap().show(), "\"pattern=2x4,sparsity=0.5\"");
    assert_eq!(options.keep, Some(vec![Glob("head*".into())]));
    let shares: Vec<(&str, f64)> =
        options.sparsities.iter().map(|w| (w.layers.0.as_str(), w.value.0)).collect();
    assert_eq!(shares, [("c*", 0.0), ("conv2", 0.75)]);
    assert_eq!(options.patterns[0].value, Pattern::Of { keep: 1, of: 4 });
    let options = with_flags("prune = 0.25", &[("sparsity", "a=b=0.5"), ("keep", "x,y")]).options();
    assert_eq!((options.prune.unwrap().show(), options.keep.unwrap().len()), ("0.25".to_owned(), 2));
    assert_eq!(options.sparsities[0].layers.0, "a=b");
    assert!(!of_kws("").options().prunes());
}

#[test]
fn a_chip_of_one_level_replaces_that_of_those_below() {
    let sizes = "core = 'cortex-m4'\nflash = '512K'\nram = 65536\n";
    let target = |settings: Settings| settings.target(&mut |_| unreachable!()).unwrap();
    let by_sizes = target(of_kws(sizes));
    assert_eq!((by_sizes.core.name.as_str(), by_sizes.ram()), ("cortex-m4", 65536));
    let named = target(of_kws(&format!("{sizes}[model.kws]\ntarget = 'nrf52840'\n")));
    assert_eq!(named.name, "nrf52840");
    let text = format!("target = 'nrf52840'\n[model.kws]\n{sizes}");
    assert_eq!(target(of_kws(&text)).core.name, "cortex-m4");
    assert_eq!(target(with_flags(&text, &[("ram", "8K")])).ram(), 8192);
    assert_eq!(target(with_flags(&text, &[("target", "host")])).name, "host");
    let said = |settings: Settings| settings.target(&mut |_| unreachable!()).unwrap_err().to_string();
    let ram = || with_flags("target = 'nrf52840'", &[("ram", "8K")]);
    assert_eq!(said(ram()), "give `target` or `ram`, not both");
    assert_eq!(said(of_kws("ram = 4096")), "option `ram`: `core`, `flash` and `ram` are given together");
    let wrong = of_kws("\n target = 'nrf5284'");
    let error = wrong.located(wrong.target(&mut |_| unreachable!()).unwrap_err());
    assert_eq!(
        error.to_string(),
        "m/secateur.toml:2:11: option `target`: there is no chip or core called `nrf5284`; did you mean `nrf52840`?"
    );
}

#[test]
fn files_are_beside_the_file_that_names_them() {
    let settings = of_kws("calibrate = 'data/x.npy'\ntarget = 'chips/mine.toml'");
    let mut asked = Vec::new();
    let _ = settings.target(&mut |file| {
        asked.push(file.to_owned());
        Err(Error::option("target", "is not read here"))
    });
    assert_eq!(asked, ["m/chips/mine.toml"]);
    let files = |settings: &Settings| -> Vec<(String, String)> {
        let all = &settings.calibrate.as_ref().unwrap().value.0;
        all.iter().map(|(name, file)| (name.clone(), file.value.0.clone())).collect()
    };
    assert_eq!(files(&settings), [(String::new(), "m/data/x.npy".to_owned())]);
    let several = of_kws("[calibrate]\nx = 'x.npy'\ny = '/y.npy'");
    let want = [("x".to_owned(), "m/x.npy".to_owned()), ("y".to_owned(), "/y.npy".to_owned())];
    assert_eq!(files(&several), want);
    assert_eq!(files(&with_flags("", &[("calibrate", "x.npy")])), [(String::new(), "x.npy".to_owned())]);
}

#[test]
fn what_is_wrong_is_refused_at_its_line_and_column() {
    let names: Vec<&str> = DECLARED.iter().map(|o| o.name).collect();
    let keys = format!("\n  help: the keys are {}, layer", names.join(", "));
    let top = format!("{keys}, model");
    let layer = "\n  help: the keys of a layer are kernel, sparsity, pattern";
    let mut wrong = Vec::new();
    for (text, place, want, help) in [
        ("optimise = 'size'", "1:1", "`optimise` is none of the keys; did you mean `optimize`?", ""),
        ("\n  zzz = 1", "2:3", "`zzz` is none of the keys", top.as_str()),
        (
            "allow_overflow = true",
            "1:1",
            "`allow_overflow` is none of the keys; did you mean `allow-overflow`?",
            "",
        ),
        ("[models.kws]\n", "1:2", "`models` is none of the keys; did you mean `model`?", ""),
        ("[model.x]\nrom = 1", "2:1", "`rom` is none of the keys; did you mean `ram`?", ""),
        ("[model.x.model.y]\n", "1:10", "`model` is none of the keys", &keys),
        (
            "[frontend]\nkind = 'mel'",
            "1:2",
            "`frontend` is reserved for a later version; this one reads none",
            "",
        ),
        (
            "[model.kws.frontend]",
            "1:12",
            "`frontend` is reserved for a later version; this one reads none",
            "",
        ),
        (
            "optimize = 'sped'",
            "1:12",
            "`optimize` takes \"speed\", \"balanced\" or \"size\", not \"sped\"; did you mean \"speed\"?",
            "",
        ),
        ("quantize = 8", "1:12", "`quantize` takes \"int8\", \"w4a8\" or \"none\", not 8", ""),
        (
            "quantize = 'größer'; emit",
            "1:20",
            "this is no TOML: unexpected key or value, expected newline, `#`",
            "",
        ),
        (
            "name = 'é' # é\nram = '12Q'",
            "2:7",
            "`ram` takes a size, as 65536, \"64K\" or \"2M\", not \"12Q\"",
            "",
        ),
        ("ram = -1", "1:7", "`ram` takes a size, as 65536, \"64K\" or \"2M\", not -1", ""),
        (
            "ram = 64.5",
            "1:7",
            "`ram` takes a size, as 65536, \"64K\" or \"2M\", not a number with a fraction",
            "",
        ),
        (
            "flash = 99999999999999999999",
            "1:9",
            "`flash` takes a size, as 65536, \"64K\" or \"2M\", not an integer of more than 64 bits",
            "",
        ),
        ("keep-zeros = 'yes'", "1:14", "`keep-zeros` takes true or false, not \"yes\"", ""),
        (
            "layout = 'crate'",
            "1:10",
            "`layout` takes \"files\", \"make\", \"cmake\" or \"cargo\", not \"crate\"",
            "",
        ),
        ("name = 2026-01-01", "1:8", "`name` takes a text, not a date", ""),
        ("emit = 'c'", "1:8", "`emit` takes a list, each \"c\", \"rust\" or \"onnx\", not \"c\"", ""),
        (
            "emit = [ 'c', 'rst' ]",
            "1:15",
            "`emit` takes \"c\", \"rust\" or \"onnx\", not \"rst\"; did you mean \"rust\"?",
            "",
        ),
        ("dim = { 'é' = 3, n = 0 }", "1:22", "`dim.n` takes a whole number from 1, not 0", ""),
        ("dim = 3", "1:7", "`dim` takes a table with a whole number from 1 for each name, not 3", ""),
        (
            "bind.sr = '16000'",
            "1:11",
            "`bind.sr` takes a number, true or false, or a list of those, not \"16000\"",
            "",
        ),
        (
            "bind = { sr = [] }",
            "1:15",
            "`bind.sr` takes a number, true or false, or a list of those, not a list: it is empty",
            "",
        ),
        (
            "bind.sr = inf",
            "1:11",
            "`bind.sr` takes a number, true or false, or a list of those, not a number with a fraction: that is inf",
            "",
        ),
        ("dim = { '' = 3 }", "1:14", "`dim` has a value for an empty name", ""),
        ("dim.a = 1\ndims.b = 1", "2:1", "`dims` is `dim` once more", ""),
        (
            "kernel = 'gemm'",
            "1:10",
            "`kernel` takes a table with a text for each pattern of layers' names, not \"gemm\"",
            "",
        ),
        (
            "calibrate = ['x.npy']",
            "1:13",
            "`calibrate` takes a file, or a table with a file for each name, not a list",
            "",
        ),
        (
            "calibrate = ''",
            "1:13",
            "`calibrate` takes a file, or a table with a file for each name, not \"\"",
            "",
        ),
        (
            "prune = 1.5",
            "1:9",
            "`prune` takes a share of zeros, as 0.6, or \"pattern=4x4,sparsity=0.6,score=obs\", not a number with a fraction: that is 1.5",
            "",
        ),
        (
            "prune = { sparsity = 0.5, pattern = '4x' }",
            "1:9",
            "`prune` takes a share of zeros, as 0.6, or \"pattern=4x4,sparsity=0.6,score=obs\", not a table: `4x` is no pattern: blocks are as 1x4 and 4x4, N of M as 2:4, or channels",
            "",
        ),
        (
            "[layer.'c*']\nsparsity = nan",
            "2:12",
            "`sparsity.c*` takes a share of zeros, from 0 to below 1, not a number with a fraction: that is nan",
            "",
        ),
        ("target = true", "1:10", "`target` takes a chip's name or TOML file, not true", ""),
        ("core = 'cortex-m4'\ntarget = 'host'", "2:10", "give `target` or `core`, not both", ""),
        ("target = 'host'\nram = 1", "2:7", "give `target` or `ram`, not both", ""),
        ("layer = 3", "1:9", "`layer` holds sections, as `[layer.NAME]`, not 3", ""),
        ("layer.kernel = 'gemm'", "1:16", "`[layer.kernel]` is a section, not \"gemm\"", ""),
        ("[layer.'']\nkernel = 'x'", "1:8", "a section `[layer.NAME]` has no name", ""),
        (
            "[layer.'c*']\nkernal = 'x'",
            "2:1",
            "`kernal` is none of the keys of a layer; did you mean `kernel`?",
            "",
        ),
        ("[layer.'c*']\nquantize = 'none'", "2:1", "`quantize` is none of the keys of a layer", layer),
        ("[layer.'c*']\nkernel = 3", "2:10", "`kernel.c*` takes a text, not 3", ""),
        ("[[model]]\nname = 'x'", "1:1", "`model` holds sections, as `[model.NAME]`, not a list", ""),
        ("name = 'a'\nname = 'b'", "2:1", "`name` is given twice", ""),
        ("[model.a]\n[model.a]\n", "2:8", "`a` is given twice", ""),
        ("name = 'a", "1:10", "this is no TOML: invalid literal string, expected `'`", ""),
    ] {
        let (said, want) = (refusal(text).to_string(), format!("m/secateur.toml:{place}: {want}{help}"));
        if said != want {
            wrong.push(format!("{text}\n  says {said}\n  not  {want}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_that_is_wrong_is_said_at_once_in_the_order_of_the_file() {
    let text = "[model.other]\nram = 1\nzzz = 1\n[layer.x]\nkernel = 1\n[model.third]\nemit = 1\n";
    let lines: Vec<String> =
        refusal(text).to_string().lines().filter_map(|l| Some(l.split(": ").next()?.to_owned())).collect();
    let want = ["m/secateur.toml:3:1", "m/secateur.toml:5:10", "m/secateur.toml:7:8", "  help"];
    assert_eq!(lines, want);
}

#[test]
fn a_section_that_may_be_meant_for_the_model_is_not_passed_over() {
    let file =
        |name: &str| parse("m/secateur.toml", &format!("optimize = 'size'\n[model.{name}]\n")).unwrap();
    for name in ["KWS", "'kws.onnx'", "k_w_s"] {
        let said = file(name).of_model("kws", &none).unwrap_err().to_string();
        let want = format!(
            "m/secateur.toml:2:8: `{}` is nearly this model's name, `kws`\n  help: a model's section has the \
             name of its file without the ending: `[model.kws]`",
            name.trim_matches('\'')
        );
        assert_eq!(said, want);
        // It is another model's.
        file(name).of_model("kws", &|model| file_stem(name) == model).unwrap();
    }
    let (_, warning) = file("kwss").of_model("kws", &none).unwrap();
    assert_eq!(
        warning.unwrap().to_string(),
        "m/secateur.toml:2:8: no section is for the model `kws`; this one is for `kwss`\n  help: a model's \
         section has the name of its file without the ending: `[model.kws]`"
    );
    for (section, model) in [("kwss", "kwss"), ("vww", "")] {
        let (settings, warning) = file(section).of_model("kws", &|name| name == model).unwrap();
        assert_eq!((settings.options().optimize, warning), (Optimize::Size, None));
    }
    // Two that are alike but for signs are told apart once each is there.
    let both = parse("m/secateur.toml", "[model.k-ws]\nram = 1\n[model.kws]\nname = 'a'\n").unwrap();
    assert_eq!(both.of_model("kws", &none).unwrap().0.options().name, "a");
}

fn file_stem(name: &str) -> &str {
    let name = name.trim_matches('\'');
    name.strip_suffix(".onnx").unwrap_or(name)
}

#[test]
fn what_prints_is_a_file_that_says_the_same() {
    let text = "optimize = 'size'\nflash = '1M'\nram = 1000\ncore = 'cortex-m4'\ncalibrate = '/x \u{e9}.npy'\n\
        dim = { 'N:0' = 3 }\n[model.kws]\ndump-after = ['import']\nemit = ['rust']\nlayout = 'cargo'\n\
        [layer.\"a\\\"\\\\\"]\nkernel = 'x'\n[layer.'*']\nkernel = 'y'\n";
    let settings = with_flags(text, &[("kernel", "conv=z"), ("name", "net")]);
    let printed = print(&settings, "What holds.\nname = 'not this'");
    assert_eq!(
        printed,
        "# What holds. name = 'not this'\n\
         # target: not given\n\
         core = \"cortex-m4\"  # m/secateur.toml:4\n\
         flash = \"1024K\"  # m/secateur.toml:2\n\
         ram = \"1000\"  # m/secateur.toml:3\n\
         allow-overflow = false  # default\n\
         # max-flash: not given\n\
         # max-ram: not given\n\
         # max-latency: not given\n\
         # max-energy: not given\n\
         name = \"net\"  # flag --name\n\
         quantize = \"int8\"  # default\n\
         optimize = \"size\"  # m/secateur.toml:1\n\
         calibrate = \"/x \u{e9}.npy\"  # m/secateur.toml:5\n\
         # labels-column: not given\n\
         # prune: not given\n\
         # keep: not given\n\
         # sparsity: not given\n\
         # pattern: not given\n\
         keep-zeros = false  # default\n\
         # augment: not given\n\
         # int4: not given\n\
         # int16: not given\n\
         # range: not given\n\
         # bind: not given\n\
         # state: not given\n\
         # sensor: not given\n\
         # rename: not given\n\
         arena = \"own\"  # default\n\
         # section: not given\n\
         emit = [\"rust\"]  # m/secateur.toml:9\n\
         layout = \"cargo\"  # m/secateur.toml:10\n\
         dump-after = [\"import\"]  # m/secateur.toml:8\n\
         \n[kernel]\n\
         \"a\\\"\\\\\" = \"x\"  # m/secateur.toml:12\n\
         \"*\" = \"y\"  # m/secateur.toml:14\n\
         \"conv\" = \"z\"  # flag --kernel\n\
         \n[dim]\n\
         \"N:0\" = 3  # m/secateur.toml:6\n"
    );
    let again = of_kws(&printed);
    assert_eq!(again.options(), settings.options());
    let target = |s: &Settings| s.target(&mut |_| unreachable!()).unwrap();
    assert_eq!(target(&again), target(&settings));
    let plain = print(&Settings::defaults(), "x");
    assert_eq!(of_kws(&plain).options(), Options::default());
}

#[test]
fn wishes_are_for_layers_by_pattern() {
    let wants =
        |layers: &str, name: &str| KernelWish { layers: layers.into(), variant: "gemm".into() }.wants(name);
    let yes = [
        ("*", ""),
        ("*", "a"),
        ("conv1", "conv1"),
        ("conv?", "conv1"),
        ("conv*", "conv"),
        ("*1", "conv11"),
        ("*a*b", "xaybab"),
        ("c*v?", "conv1"),
        ("**", "x"),
    ];
    let no = [("", "a"), ("conv", "conv1"), ("conv?", "conv"), ("*1", "conv12"), ("a*b", "ab1"), ("?", "")];
    yes.iter().for_each(|(layers, name)| assert!(wants(layers, name), "{layers} {name}"));
    no.iter().for_each(|(layers, name)| assert!(!wants(layers, name), "{layers} {name}"));
}
