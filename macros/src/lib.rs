//! `#[secateur::model("kws.onnx", target = "nrf52840")]`.
#![forbid(unsafe_code)]
