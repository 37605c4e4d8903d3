//! Which sizes are pipelined, and where groups overlap.

use super::*;

/// Where pixels follow each other, of any number of channels and inputs.
#[test]
fn many_pixels_are_pipelined() {
    for (run, outputs, pixels, slack) in [
        (8, 16, 48, false),
        (7, 13, 112, false),
        (64, 64, 125, false),
        (144, 16, 32, true),
        (16, 136, 60, true),
    ] {
        let gemm = Gemm {
            operand: DType::I8,
            weights: DType::I8,
            result: DType::I8,
            outputs,
            pixels,
            x_step: run.min(64),
            y_step: outputs,
            runs: 1,
            run,
            run_pitch: 0,
            slack,
            four: false,
            sh: Some(5),
            zp: -128,
            lo: -128,
            hi: 127,
        };
        for (operand, result) in [(DType::I8, DType::I8), (DType::I16, DType::I8), (DType::I16, DType::I16)] {
            let (zp, (lo, hi)) = (if result == DType::I16 { 0 } else { -128 }, range(result));
            let gemm = Gemm { operand, result, zp, lo, hi, ..gemm };
            // Few enough chunks to be spelled out.
            if run.div_ceil(gemm.lanes()) > 18 {
                continue;
            }
            let plain = gemm.block().native().unwrap().cycles;
            let piped = gemm.pipelined().map(|b| b.native().unwrap().cycles);
            assert!(piped.is_some_and(|c| c < plain), "{gemm:?}: {piped:?} against {plain}");
        }
    }
}

/// Groups overlap where inputs and results would both want the predicate, and nowhere else.
#[test]
fn groups_overlap_where_that_saves_a_predicate() {
    let gemm = |run, outputs, pixels, slack| Gemm {
        operand: DType::I8,
        weights: DType::I8,
        result: DType::I8,
        outputs,
        pixels,
        x_step: run,
        y_step: outputs,
        runs: 1,
        run,
        run_pitch: 0,
        slack,
        four: false,
        sh: None,
        zp: 3,
        lo: -128,
        hi: 127,
    };
    for (of, common) in [
        (gemm(7, 13, 112, false), 3),
        (gemm(15, 27, 2, false), 1),
        (gemm(1, 6, 3, false), 2),
        (gemm(7, 12, 112, false), 0),
        (gemm(7, 3, 112, false), 0),
        (gemm(7, 13, 1, false), 0),
        (gemm(7, 13, 112, true), 0),
        (gemm(16, 13, 112, false), 0),
        (Gemm { y_step: 128, ..gemm(7, 13, 112, false) }, 0),
        (Gemm { lo: 3, ..gemm(7, 13, 112, false) }, 0),
    ] {
        assert_eq!(of.common(), common, "{of:?}");
        // Only this way computes such groups.
        assert!(common == 0 || of.pipelined().is_some(), "{of:?}");
    }
    let text = gemm(7, 13, 112, false).pipelined().map(|b| b.native().unwrap().text).unwrap_or_default();
    assert_eq!(text.matches("vctp").count(), 1, "{text}");
}
