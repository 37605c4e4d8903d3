//! Every file parses, has sources, and says sane things.

use crate::*;

#[test]
fn every_file_parses_under_its_own_name_and_names_its_sources() {
    for (name, text) in files::CHIPS {
        let target = parse(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(&target.name, name);
        assert!(!target.description.is_empty(), "{name}");
        if target.is_host() {
            continue;
        }
        assert!(target.sources.iter().all(|s| s.len() > 10), "{name}");
        let silent = target.clock.is_none() && target.flash() == 0 && target.ram() == 0;
        if silent {
            assert!(text.contains("# No clock and no memories: "), "{name} does not say why");
        } else {
            assert!(target.flash() >= 256 << 10 && target.ram() >= 64 << 10, "{name}");
            assert!(target.clock.as_ref().is_some_and(|c| (16_000_000..2_000_000_000).contains(&c.hz)));
        }
        let power = target.power.as_ref().unwrap_or_else(|| panic!("{name} says nothing of power"));
        assert!(!power.conditions.is_empty(), "{name}");
        assert_eq!(power.active_ua_per_mhz.is_some(), power.volts.is_some(), "{name}");
        assert!(target.boot.is_some(), "{name} does not say how it starts");
    }
    for (name, _) in files::CORES {
        let core = core(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(&core.name, name);
        let tools = core.toolchain.as_ref().unwrap_or_else(|| panic!("{name}: no toolchain"));
        if core.name == "host" {
            continue;
        }
        assert!(!core.sources.is_empty(), "{name}");
        // Rust links the C of cores whose assembly it does not know.
        let foreign = core.features.iter().any(|f| f == "hvx");
        assert!(!tools.clang.is_empty() && tools.rust_triple.is_empty() == foreign, "{name}");
        assert!(core.emulator.is_some() && core.cost.is_some(), "{name}");
    }
}

#[test]
fn costs_agree_with_features() {
    for (name, _) in files::CORES {
        let core = core(name).expect("parses");
        let Some(cost) = core.cost else { continue };
        let has = |f: &str| core.features.iter().any(|x| x == f);
        assert_eq!(cost.dsp.is_some(), has("dsp"), "{name}");
        assert_eq!(cost.mul_long.is_some(), has("mul64"), "{name}");
        assert_eq!(cost.mla.is_some(), has("mla"), "{name}");
        assert_eq!(cost.div.is_some(), has("div"), "{name}");
        assert_eq!(cost.float.is_some(), has("fpu"), "{name}");
        assert!(cost.issue >= 1 && cost.alu > 0.0 && cost.load > 0.0, "{name}");
    }
}

#[test]
fn names_are_forgiving_and_slips_are_answered() {
    assert_eq!(find("NRF52840").expect("found").name, "nrf52840");
    assert_eq!(find("apollo4_plus").expect("found").name, "apollo4-plus");
    assert_eq!(find("cortex-m4").expect("found").core.name, "cortex-m4");
    let said = |name: &str| find(name).expect_err("unknown").to_string();
    assert!(said("nrf52480").contains("did you mean `nrf52840`?"), "{}", said("nrf52480"));
    assert!(said("nrf52").contains("did you mean `nrf52832`?"), "{}", said("nrf52"));
    assert!(said("cortexm4").contains("did you mean `cortex-m4`?"), "{}", said("cortexm4"));
    assert!(!said("toaster").contains("did you mean"), "{}", said("toaster"));
    assert!(!said("").contains("did you mean"));
    let wrong = core_only("cortex-m5", 1, 1).expect_err("unknown").to_string();
    assert!(wrong.contains("the cores are cortex-m0plus"), "{wrong}");
}

#[test]
fn a_hand_made_core_has_the_memories_it_was_given() {
    let target = core_only("cortex-m0plus", 256 << 10, 64 << 10).expect("valid");
    assert_eq!((target.flash(), target.ram()), (256 << 10, 64 << 10));
    assert!(!target.has("dsp") && find("nrf52840").expect("found").has("dsp"));
}

#[test]
fn bad_descriptions_are_refused_in_words() {
    let good = files::CHIPS.iter().find(|(n, _)| *n == "nrf52840").expect("listed").1;
    let refused = |from: &str, to: &str| {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "`{from}` is not in the file");
        parse(&text).expect_err("refused").to_string()
    };
    assert!(refused("description", "descripton").contains("unknown field `descripton`"));
    assert!(refused("cortex-m4", "cortex-m4f").contains("did you mean `cortex-m4`?"));
    assert!(refused("\"256K\"", "\"256 bananas\"").contains("is not a size"));
    assert!(refused("\"256K\"", "0").contains("must have a size"));
    assert!(refused("hz = 64_000_000", "hz = 0").contains("clock.hz"));
    assert!(refused("0x20000000", "0x00000400").contains("overlap"));
    assert!(refused("image = \"vectors\"", "").contains("`boot` has an `image`"));
    assert!(
        refused("image = \"vectors\"", "image = \"vectors\"\nrefused = \"no\"").contains("`boot` has an")
    );
    assert!(refused("ram = [\"ram\"]", "ram = [\"rom\"]").contains("`rom`, which is no RAM"));
    assert!(refused("ram = [\"ram\"]", "").contains("names in `ram`"));
    for odd in ["inf", "-inf", "nan", "-1.0", "0.0", "1e30"] {
        assert!(refused("volts = 3.0", &format!("volts = {odd}")).contains("power.volts"), "{odd}");
        let said = refused("active-ua-per-mhz = 52", &format!("active-ua-per-mhz = {odd} # "));
        assert!(said.contains("power.active-ua-per-mhz"), "{odd}: {said}");
    }
    for odd in ["inf", "nan", "-64", "6.4e7", "99999999999999999999999"] {
        let said = refused("hz = 64_000_000", &format!("hz = {odd}"));
        assert!(said.contains("hz"), "{odd}: {said}");
        let said = refused("size = \"256K\"", &format!("size = {odd}"));
        assert!(said.contains("size"), "{odd}: {said}");
    }
}

#[test]
fn sizes_read_as_people_write_them() {
    for (text, bytes) in [("512", 512), ("256K", 262_144), ("64 KiB", 65_536), ("2mb", 2 << 20)] {
        assert_eq!(parse_size(text), Ok(bytes));
    }
    for text in ["", "K", "-1", "1.5M", "99999999999999999999", "20000000000000M"] {
        assert!(parse_size(text).is_err(), "{text}");
    }
}
