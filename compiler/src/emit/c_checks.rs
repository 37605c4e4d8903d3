//! What emitted C asks of the compiler's flags and of the processor that it runs on.
//!
//! Law: a build for other flags is warned of, and a debug build that meets another processor stops
//! before the first run; a release build pays nothing.

use super::EmitOptions;
use super::architecture::wrapping;
use super::c::Cx;
use super::module::printable;
use std::fmt::Write;

impl Cx<'_> {
    /// Warns where the flags leave out the native kernels unasked.
    pub(super) fn processor(&self, o: &mut String, options: &EmitOptions) {
        let features = self.module.features();
        if features.is_empty() {
            return;
        }
        if features.iter().any(|f| wrapping(f).check.is_some()) {
            o.push_str("#include \"secateur_core.h\"\n");
        }
        let conditions: Vec<&str> = features.iter().map(|f| wrapping(f).c).collect();
        let _ = writeln!(
            o,
            "\n/* Hosts run the portable loops; a processor without the instructions runs them slowly. */\n\
             #if !({}) && !defined(SECATEUR_PORTABLE) && \\\n    \
             !defined(__linux__) && !defined(__APPLE__) && !defined(_WIN32)\n\
             #warning \"{}: slow portable loops stand in for the kernels of {}: give its flags ({}), or define SECATEUR_PORTABLE\"\n#endif",
            conditions.join(" && "),
            self.name,
            printable(&options.core),
            printable(&options.flags),
        );
    }

    /// What a debug build asks before the first run.
    pub(super) fn checks(&self, o: &mut String, options: &EmitOptions) {
        let mut text = String::new();
        for feature in self.module.features() {
            let around = wrapping(feature);
            let Some(check) = around.check else { continue };
            let _ = writeln!(
                text,
                "#if !defined(SECATEUR_PORTABLE) && {}\n    if (secateur_{check}() == 0) {{\n        \
                 SECATEUR_STOP(\"{} was compiled for {}, this processor has no {}\");\n    }}\n#endif",
                around.c,
                self.name,
                printable(&options.core),
                around.lacks
            );
        }
        if self.module.uses_float {
            let _ = writeln!(
                text,
                "    if (secateur_rounds_twice() == 0) {{\n        \
                 SECATEUR_STOP(\"{}: the compiler fuses sums and products: build with -ffp-contract=off\");\n    }}",
                self.name
            );
        }
        if !text.is_empty() {
            let _ = write!(o, "#if !defined(NDEBUG)\n{text}#endif\n");
        }
    }
}
