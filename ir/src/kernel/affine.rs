//! Affine forms: `constant + sum of coefficient * symbol`, with symbols numbered by the user.
//!
//! Law: terms are sorted by symbol and no coefficient is zero, so equal forms are equal values;
//! what does not fit 64 bits is refused, never wrapped.

/// An affine form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Affine {
    /// Symbol, coefficient.
    pub terms: Vec<(usize, i64)>,
    pub constant: i64,
}

impl Affine {
    pub fn constant(v: i64) -> Self {
        Affine { terms: Vec::new(), constant: v }
    }
    pub fn symbol(symbol: usize) -> Self {
        Affine { terms: vec![(symbol, 1)], constant: 0 }
    }
    pub fn scaled(&self, k: i64) -> Option<Self> {
        if k == 0 {
            return Some(Affine::default());
        }
        let terms = self.terms.iter().map(|&(s, c)| Some((s, c.checked_mul(k)?))).collect::<Option<_>>()?;
        Some(Affine { terms, constant: self.constant.checked_mul(k)? })
    }
    pub fn plus(&self, other: &Affine) -> Option<Self> {
        let mut terms = Vec::with_capacity(self.terms.len() + other.terms.len());
        let (mut a, mut b) = (self.terms.iter().peekable(), other.terms.iter().peekable());
        loop {
            let term = match (a.peek(), b.peek()) {
                (None, None) => break,
                (Some(&&(s, c)), Some(&&(t, d))) if s == t => {
                    a.next();
                    b.next();
                    (s, c.checked_add(d)?)
                }
                (Some(&&(s, c)), other) if other.is_none_or(|&&(t, _)| s < t) => {
                    a.next();
                    (s, c)
                }
                (_, Some(&&term)) => {
                    b.next();
                    term
                }
                (Some(&&term), None) => {
                    a.next();
                    term
                }
            };
            if term.1 != 0 {
                terms.push(term);
            }
        }
        Some(Affine { terms, constant: self.constant.checked_add(other.constant)? })
    }
    pub fn minus(&self, other: &Affine) -> Option<Self> {
        self.plus(&other.scaled(-1)?)
    }
}
