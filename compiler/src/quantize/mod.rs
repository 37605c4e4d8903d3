//! Calibration, schemes, rounding: graph -> graph with `Quant` on every integer value.
