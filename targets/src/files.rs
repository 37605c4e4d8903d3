//! The data files, embedded: a new chip or core is one file and one line here.

macro_rules! files {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../", $folder, "/", $name, ".toml")))),+]
    };
}

/// Name and text of every core, smallest first.
pub(crate) const CORES: &[(&str, &str)] = files!("cores":
    "cortex-m0plus",
    "cortex-m3",
    "cortex-m4",
    "cortex-m33",
    "cortex-m7",
    "cortex-m55",
    "cortex-m85",
    "rv32imc",
    "rv32imcv",
    "hexagon-v67",
    "host",
);

/// Name and text of every chip.
pub(crate) const CHIPS: &[(&str, &str)] = files!("chips":
    "alif-e3",
    "apollo3-blue",
    "apollo4-plus",
    "apollo510",
    "da14706",
    "esp32-c3",
    "esp32-c6",
    "host",
    "max32666",
    "nrf52832",
    "nrf52840",
    "nrf5340",
    "nrf54l15",
    "ra8d1",
    "rp2040",
    "rp2350",
    "rp2350-riscv",
    "sf32lb52",
    "snapdragon-wear",
    "stm32h7a3",
    "stm32l4r5",
    "stm32l4s5",
    "stm32u575",
    "stm32u5a9",
    "stm32wb55",
);
