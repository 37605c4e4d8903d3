//! Two models in one arena, in turn: each answers as it does in an arena of its own.
#![deny(warnings)]

use secateur::{Arena, Model, largest};

#[secateur::model("models/watch.onnx", target = "cortex-m4", calibrate = "models/calib.npy", arena = "shared")]
pub struct Watch;

#[secateur::model("models/several.onnx", quantize = "none", arena = "shared")]
#[derive(Copy, Clone)]
struct Image;

#[secateur::model("models/watch.onnx", target = "cortex-m4", calibrate = "models/calib.npy")]
struct WatchAlone;

#[secateur::model("models/several.onnx", quantize = "none")]
struct ImageAlone;

static ARENA: std::sync::Mutex<Arena<{ largest(&[Watch::ARENA_BYTES, Image::ARENA_BYTES]) }>> =
    std::sync::Mutex::new(Arena::new());

fn any<M: Model>(model: &mut M) -> usize {
    model.run_in_place();
    if M::SHARES_ARENA { M::ARENA_BYTES } else { 0 }
}

fn main() {
    let (mut watch, mut image) = (Watch::new(), Image::new());
    let (mut watch_alone, mut image_alone) = (WatchAlone::new(), ImageAlone::new());
    let arena = &mut *ARENA.lock().unwrap();
    for turn in 0..5 {
        let mut scores = [[0; Watch::LOGITS_LEN]; 2];
        let window = core::array::from_fn(|i| (i * (31 + turn)) as i8);
        watch.on(arena).run(&window, &mut scores[0]);
        watch_alone.run(&window, &mut scores[1]);
        assert_eq!(scores[0], scores[1]);

        let mut runner: ImageRunner<'_> = image.on(arena);
        *runner.x_mut() = core::array::from_fn(|i| (i * (7 + turn) % 100) as f32 / 50.0 - 1.0);
        *image_alone.x_mut() = *runner.x_mut();
        assert_eq!(any(&mut runner), Image::ARENA_BYTES);
        assert_eq!(any(&mut image_alone), 0);
        assert_eq!((runner.y1(), runner.y2(), runner.r()), (image_alone.y1(), image_alone.y2(), image_alone.r()));
        assert_eq!(format!("{runner:?}"), "ImageRunner { .. }");
    }
    assert_eq!((size_of::<Watch>(), Watch::STATE_BYTES), (0, 0));
    assert_eq!(Watch::ARENA_BYTES, WatchAlone::ARENA_BYTES);
}
