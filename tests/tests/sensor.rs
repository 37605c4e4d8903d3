//! Counts of a sensor in, the codes of an input out: emitted C and Rust on every count, against the conversion of floats.

use secateur_compiler::artifact::{Artifact, compile};
use secateur_compiler::observe::Silent;
use secateur_compiler::options::{Language, Sensor};
use secateur_compiler::tensor::Samples;
use secateur_compiler::{Error, Options, targets};
use secateur_tests::{host, npy, repository, tools};
use std::fmt::Write;

/// The watch's acceleration and rotation, 1x6x128, from counts of so much each.
fn watch(sensor: Sensor, language: Language) -> Result<Artifact, Error> {
    let bundled = repository().join("compiler/models/watch_cnn1d");
    let model = std::fs::read(bundled.join("model.onnx")).unwrap();
    let mut samples = Samples::default();
    samples.arrays.insert(String::new(), npy(&bundled.join("calib.npy")));
    let mut options = Options { name: "watch".into(), emit: vec![language], ..Options::default() };
    options.sensors.insert("imu".into(), sensor);
    compile(&model, &targets::find("cortex-m0plus").unwrap(), Some(&samples), &options, &mut Silent)
}

/// Sensors of both types, with numbers for all channels and for each, lines and steps among them.
fn sensors() -> [Sensor; 4] {
    let scale = vec![0.000_488_281_25, 0.000_5, 0.000_061, 0.0175, -0.0175, 0.001];
    let sensor = Sensor { signed: true, scale, offset: Vec::new(), axis: None };
    [
        Sensor { offset: vec![0.0, 0.1, -1.0, 0.0, 3.5, 0.25], signed: false, ..sensor.clone() },
        Sensor { scale: vec![0.002_392_578], axis: Some(1), ..sensor.clone() },
        Sensor { scale: vec![0.01], offset: vec![-1.5], signed: false, axis: None },
        sensor,
    ]
}

/// The function's suffix, the type of counts in C, and the least count.
fn words(sensor: &Sensor) -> (&'static str, &'static str, i32) {
    if sensor.signed { ("i16", "int16_t", -32768) } else { ("u16", "uint16_t", 0) }
}

/// Where the count of channel `c` at time `t` stands in a frame of counts.
fn at(sensor: &Sensor, c: &str, t: &str) -> String {
    match sensor.channels() == 1 && sensor.axis.is_none() {
        true => format!("{c} * 128 + {t}"),
        false => format!("{t} * 6 + {c}"),
    }
}

/// Numbers for each channel.
fn numbers(sensor: &Sensor, language: Language) -> String {
    let mut all = [String::new(), String::new()];
    for c in 0..6 {
        let (scale, offset) = sensor.channel(c);
        let suffix = if language == Language::C { "f" } else { "" };
        let _ = write!(all[0], "{scale:e}{suffix}, ");
        let _ = write!(all[1], "{offset:e}{suffix}, ");
    }
    let [scale, offset] = all;
    match language {
        Language::C => format!("static const float scale[6] = {{{scale}}}, offset[6] = {{{offset}}};"),
        Language::Rust => format!("const SCALE: [f32; 6] = [{scale}];\nconst OFFSET: [f32; 6] = [{offset}];"),
    }
}

#[test]
fn every_count_gives_the_code_of_its_real_number_in_c() {
    for sensor in sensors() {
        let files = watch(sensor.clone(), Language::C).unwrap().files;
        let (word, ty, least) = words(&sensor);
        let main = format!(
            "#include \"watch.h\"\n#include <stdio.h>\n{}\n\
             int main(void) {{\n    static {ty} counts[768];\n    static float real[768];\n    \
             static int8_t want[768], got[768];\n    long wrong = 0, codes = 0;\n    int n, c, t;\n    \
             for (n = 0; n < 65536; n += 128) {{\n        for (c = 0; c < 6; c++) {{\n            \
             for (t = 0; t < 128; t++) {{\n                const int v = n + t + ({least});\n                \
             counts[{}] = ({ty})v;\n                real[c * 128 + t] = (float)v * scale[c] + offset[c];\n            \
             }}\n        }}\n        watch_quantize_imu(real, want);\n        watch_quantize_imu_{word}(counts, got);\n        \
             for (t = 0; t < 768; t++) {{\n            wrong += want[t] != got[t];\n            \
             codes += got[t] > -128 && got[t] < 127;\n        }}\n    }}\n    \
             printf(\"%ld wrong, %d\", wrong, codes > 3000);\n    return 0;\n}}\n",
            numbers(&sensor, Language::C),
            at(&sensor, "c", "t"),
        );
        for cc in host::c_compilers() {
            for language in ["c", "c++"] {
                let said = host::build_and_run_c(cc, &files, &main, language, &[]);
                assert_eq!(String::from_utf8(said).unwrap(), "0 wrong, 1", "{cc} {language} {sensor}");
            }
        }
    }
}

#[test]
fn every_count_gives_the_code_of_its_real_number_in_rust() {
    for sensor in sensors() {
        let files = watch(sensor.clone(), Language::Rust).unwrap().files;
        let (word, _, least) = words(&sensor);
        let main = format!(
            "{}\nuse model::Watch;\nfn main() {{\n    let (mut wrong, mut codes) = (0, 0);\n    \
             for n in (0..65536).step_by(128) {{\n        let mut counts = [0{word}; 768];\n        \
             let mut real = [0f32; 768];\n        for c in 0..6 {{\n            for t in 0..128 {{\n                \
             let v = n + t as i32 + {least};\n                counts[{}] = v as {word};\n                \
             real[c * 128 + t] = v as f32 * SCALE[c] + OFFSET[c];\n            }}\n        }}\n        \
             let (mut want, mut got) = ([0i8; 768], [0i8; 768]);\n        Watch::quantize_imu(&real, &mut want);\n        \
             Watch::quantize_imu_{word}(&counts, &mut got);\n        \
             wrong += want.iter().zip(&got).filter(|(a, b)| a != b).count();\n        \
             codes += got.iter().filter(|&&q| q > -128 && q < 127).count();\n    }}\n    \
             let mut model = Watch::new();\n    let mut out = [0; 7];\n    model.run(&[0; 768], &mut out);\n    \
             print!(\"{{wrong}} wrong, {{}}\", u8::from(codes > 3000));\n}}\n",
            numbers(&sensor, Language::Rust),
            at(&sensor, "c", "t"),
        );
        let said = host::build_and_run_rust(&files, &main, "1", &[]);
        assert_eq!(String::from_utf8(said).unwrap(), "0 wrong, 1", "{sensor}");
    }
}

/// What a firmware without floats links of the compiler's library.
#[test]
fn no_float_is_in_the_object() {
    tools::require(&["arm-none-eabi-gcc", "arm-none-eabi-nm"]);
    for sensor in sensors() {
        let dir = tempfile::tempdir().unwrap();
        host::write(dir.path(), &watch(sensor.clone(), Language::C).unwrap().files);
        let (word, ty, _) = words(&sensor);
        let main = format!(
            "#define WATCH_NO_FLOAT\n#include \"watch.h\"\nvoid convert(const {ty} *counts, int8_t *imu);\n\
             void convert(const {ty} *counts, int8_t *imu) {{ watch_quantize_imu_{word}(counts, imu); }}\n"
        );
        std::fs::write(dir.path().join("main.c"), main).unwrap();
        for (core, flags) in [("cortex-m0plus", ""), ("cortex-m4", "-DSECATEUR_PORTABLE")] {
            let mut gcc = tools::command("arm-none-eabi-gcc");
            gcc.args([
                &format!("-mcpu={core}"),
                "-mthumb",
                "-Os",
                "-Wall",
                "-Wextra",
                "-Wconversion",
                "-Werror",
                "-c",
            ]);
            gcc.args(flags.split_whitespace()).args(["main.c", "-o", "main.o"]).current_dir(dir.path());
            let out = gcc.output().unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            let mut nm = tools::command("arm-none-eabi-nm");
            let out = nm.args(["-u", "main.o"]).current_dir(dir.path()).output().unwrap();
            let linked = String::from_utf8(out.stdout).unwrap();
            for part in ["_f", "_d", "float", "div"] {
                assert!(!linked.contains(part), "{core} {sensor}: {linked}");
            }
        }
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let sensor = Sensor { signed: true, scale: vec![0.01], offset: Vec::new(), axis: None };
    let said = |sensor: &Sensor| match watch(sensor.clone(), Language::C) {
        Ok(_) => panic!("{sensor} is taken"),
        Err(error) => format!("{error}"),
    };
    for (sensor, why) in [
        (
            Sensor { scale: vec![0.01, 0.1], ..sensor.clone() },
            "input `imu` of shape [1, 6, 128] has no axis of 2 channels",
        ),
        (Sensor { scale: vec![1e-12], ..sensor.clone() }, "all counts of channel 0 become the one integer"),
        (Sensor { axis: Some(7), ..sensor }, "input `imu` has no axis 7"),
    ] {
        assert!(said(&sensor).contains(why), "{}", said(&sensor));
    }
}
