//! Lanes: the runs of elements along one axis, or along all axes from one on.

/// Calls `f` with every lane of a row-major tensor along `axis`, or along `axis` and all after it.
pub(crate) fn for_each(
    data: &mut [f32],
    shape: &[usize],
    axis: usize,
    to_the_end: bool,
    mut f: impl FnMut(&mut [f32]),
) {
    let inner: usize = if to_the_end { 1 } else { shape[axis + 1..].iter().product() };
    let len: usize = if to_the_end { shape[axis..].iter().product() } else { shape[axis] };
    if len * inner == 0 {
        return;
    }
    let mut lane = vec![0.0; len];
    for block in data.chunks_mut(len * inner) {
        for i in 0..inner {
            lane.iter_mut().zip(block[i..].iter().step_by(inner)).for_each(|(l, &v)| *l = v);
            f(&mut lane);
            block[i..].iter_mut().step_by(inner).zip(&lane).for_each(|(v, &l)| *v = l);
        }
    }
}
