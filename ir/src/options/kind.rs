//! The types of options: what an option's value is made of, and how levels and repeated words of one
//! option come together.
//!
//! Law: an option's line in the table names a type of this file, and has all of its behaviour by it.

use super::value::{Given, Leaf, Place, Raw, Untyped, Wrong, quoted, text};
use std::collections::BTreeSet;

/// What an option's value is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Yes or no: a flag without a value.
    Switch,
    /// One leaf.
    One,
    /// Leaves in a list: a flag with commas, or given again and again.
    List,
    /// One leaf, or several by name where there is no flag.
    OneOrTable,
    /// Leaves by name: a flag with `=`, given again and again.
    Table,
    /// Leaves by patterns of layers' names; keys of a section `[layer.'GLOB']` too.
    Layers,
}

/// A form and its leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub form: Form,
    pub what: &'static str,
    pub choices: &'static [(&'static str, &'static str)],
    pub starts: &'static [&'static str],
}

impl Shape {
    const fn of<T: Leaf>(form: Form) -> Shape {
        Shape { form, what: T::WHAT, choices: T::CHOICES, starts: T::STARTS }
    }
    /// What an option takes, in words.
    pub fn words(&self) -> String {
        let words: Vec<String> = self.choices.iter().map(|(word, _)| quoted(word)).collect();
        let leaf = match words.split_last() {
            None => self.what.to_owned(),
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
        };
        match self.form {
            Form::Switch | Form::One => leaf,
            Form::List => format!("a list, each {leaf}"),
            Form::OneOrTable => format!("{leaf}, or a table with {leaf} for each name"),
            Form::Table => format!("a table with {leaf} for each name"),
            Form::Layers => format!("a table with {leaf} for each pattern of layers' names"),
        }
    }
}

/// What an option's value prints as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Printed {
    Value(String),
    /// Key, value and place of each entry.
    Table(Vec<(String, String, Place)>),
}

/// The type of an option.
pub trait Kind: Sized {
    const SHAPE: Shape;
    /// `key` is how the front spells the option.
    fn read(key: &str, raw: &Raw) -> Result<Self, Wrong>;
    /// Takes in what the same level says later.
    fn add(&mut self, later: Self);
    /// Takes in what a lower level says and this one does not.
    fn over(&mut self, below: Self);
    /// Names and places, of a table.
    fn entries(&self) -> Vec<(&str, &Place)> {
        Vec::new()
    }
    fn print(&self) -> Printed;
}

fn wrong(key: &str, raw: &Raw, shape: &Shape) -> Wrong {
    let mut message = format!("`{key}` takes {}, not {}", shape.words(), raw.value);
    let known: Vec<String> = shape.choices.iter().map(|(word, _)| (*word).to_owned()).collect();
    if let Some(near) = text(raw).and_then(|t| secateur_targets::nearest(t, &known))
        && shape.form == Form::One
    {
        message += &format!("; did you mean {}?", quoted(&near));
    }
    Wrong::new(&raw.place, message)
}

fn leaf<T: Leaf>(key: &str, raw: &Raw) -> Result<T, Wrong> {
    T::read(raw).ok_or_else(|| {
        let mut wrong = wrong(key, raw, &Shape::of::<T>(Form::One));
        wrong.message += &T::why(raw).map_or_else(String::new, |why| format!(": {why}"));
        wrong
    })
}

type Entries<T> = Vec<(String, Given<T>)>;

fn entries<T: Leaf>(key: &str, raw: &Raw, shape: &Shape) -> Result<Entries<T>, Wrong> {
    let Untyped::Table(table) = &raw.value else { return Err(wrong(key, raw, shape)) };
    let (mut found, mut seen) = (Entries::with_capacity(table.len()), BTreeSet::new());
    for (name, raw) in table {
        let refused = |why: &str| Err(Wrong::new(&raw.place, format!("`{key}` {why}")));
        if name.is_empty() {
            return refused("has a value for an empty name");
        }
        if !seen.insert(name) {
            return refused(&format!("has two values for `{name}`"));
        }
        let value = leaf(&format!("{key}.{name}"), raw)?;
        found.push((name.clone(), Given { value, place: raw.place.clone() }));
    }
    Ok(found)
}

fn places<T>(entries: &Entries<T>) -> Vec<(&str, &Place)> {
    entries.iter().map(|(name, given)| (name.as_str(), &given.place)).collect()
}

fn printed<T: Leaf>(entries: &Entries<T>) -> Printed {
    let entry = |(name, given): &(String, Given<T>)| (name.clone(), given.value.show(), given.place.clone());
    Printed::Table(entries.iter().map(entry).collect())
}

impl<T: Leaf> Kind for T {
    const SHAPE: Shape = Shape::of::<T>(Form::One);
    fn read(key: &str, raw: &Raw) -> Result<T, Wrong> {
        leaf(key, raw)
    }
    fn add(&mut self, later: T) {
        *self = later;
    }
    fn over(&mut self, _: T) {}
    fn print(&self) -> Printed {
        Printed::Value(self.show())
    }
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch(pub bool);

impl Kind for Switch {
    const SHAPE: Shape = Shape::of::<bool>(Form::Switch);
    fn read(key: &str, raw: &Raw) -> Result<Switch, Wrong> {
        leaf(key, raw).map(Switch)
    }
    fn add(&mut self, later: Switch) {
        *self = later;
    }
    fn over(&mut self, _: Switch) {}
    fn print(&self) -> Printed {
        Printed::Value(self.0.show())
    }
}

impl<T: Leaf> Kind for Vec<T> {
    const SHAPE: Shape = Shape::of::<T>(Form::List);
    fn read(key: &str, raw: &Raw) -> Result<Vec<T>, Wrong> {
        let Untyped::List(list) = &raw.value else { return Err(wrong(key, raw, &Self::SHAPE)) };
        list.iter().map(|item| leaf(key, item)).collect()
    }
    fn add(&mut self, later: Vec<T>) {
        self.extend(later);
    }
    fn over(&mut self, _: Vec<T>) {}
    fn print(&self) -> Printed {
        Printed::Value(format!("[{}]", self.iter().map(Leaf::show).collect::<Vec<_>>().join(", ")))
    }
}

/// A leaf under no name (one entry with an empty name), or some by name.
#[derive(Debug, Clone, PartialEq)]
pub struct OneOrNamed<T>(pub Entries<T>);

impl<T: Leaf> Kind for OneOrNamed<T> {
    const SHAPE: Shape = Shape::of::<T>(Form::OneOrTable);
    fn read(key: &str, raw: &Raw) -> Result<OneOrNamed<T>, Wrong> {
        if let Some(value) = T::read(raw) {
            return Ok(OneOrNamed(vec![(String::new(), Given { value, place: raw.place.clone() })]));
        }
        entries(key, raw, &Self::SHAPE).map(OneOrNamed)
    }
    fn add(&mut self, later: OneOrNamed<T>) {
        *self = later;
    }
    fn over(&mut self, _: OneOrNamed<T>) {}
    fn entries(&self) -> Vec<(&str, &Place)> {
        places(&self.0)
    }
    fn print(&self) -> Printed {
        match self.0.as_slice() {
            [(name, only)] if name.is_empty() => Printed::Value(only.value.show()),
            _ => printed(&self.0),
        }
    }
}

/// Leaves by name: a level gives some, those below the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Named<T>(pub Entries<T>);

impl<T: Leaf> Kind for Named<T> {
    const SHAPE: Shape = Shape::of::<T>(Form::Table);
    fn read(key: &str, raw: &Raw) -> Result<Named<T>, Wrong> {
        entries(key, raw, &Self::SHAPE).map(Named)
    }
    fn add(&mut self, later: Named<T>) {
        self.0.retain(|(name, _)| later.0.iter().all(|(n, _)| n != name));
        self.0.extend(later.0);
    }
    fn over(&mut self, mut below: Named<T>) {
        std::mem::swap(&mut self.0, &mut below.0);
        self.add(below);
    }
    fn entries(&self) -> Vec<(&str, &Place)> {
        places(&self.0)
    }
    fn print(&self) -> Printed {
        printed(&self.0)
    }
}

/// Leaves by name, all of which a level gives: a name that it gives twice is for the compiler to refuse.
#[derive(Debug, Clone, PartialEq)]
pub struct Pairs<T>(pub Entries<T>);

impl<T: Leaf> Kind for Pairs<T> {
    const SHAPE: Shape = Shape::of::<T>(Form::Table);
    fn read(key: &str, raw: &Raw) -> Result<Pairs<T>, Wrong> {
        entries(key, raw, &Self::SHAPE).map(Pairs)
    }
    fn add(&mut self, later: Pairs<T>) {
        self.0.extend(later.0);
    }
    fn over(&mut self, mut below: Pairs<T>) {
        below.0.retain(|(name, _)| self.0.iter().all(|(n, _)| n != name));
        self.0.splice(0..0, below.0);
    }
    fn entries(&self) -> Vec<(&str, &Place)> {
        places(&self.0)
    }
    fn print(&self) -> Printed {
        printed(&self.0)
    }
}

/// Leaves by patterns of layers' names: of those that match a layer, the last holds. A pattern
/// stands once, at its last place.
#[derive(Debug, Clone, PartialEq)]
pub struct Layers<T>(pub Entries<T>);

impl<T: Leaf> Kind for Layers<T> {
    const SHAPE: Shape = Shape::of::<T>(Form::Layers);
    fn read(key: &str, raw: &Raw) -> Result<Layers<T>, Wrong> {
        entries(key, raw, &Self::SHAPE).map(Layers)
    }
    fn add(&mut self, later: Layers<T>) {
        // One section after the other, each for another pattern: there is nothing to put in order.
        if let ([(name, first)], Some((_, last))) = (later.0.as_slice(), self.0.last())
            && last.place < first.place
            && self.0.iter().all(|(known, _)| known != name)
        {
            return self.0.extend(later.0);
        }
        self.0.extend(later.0);
        // A table and sections may take turns in a file; the order of a command line stays.
        self.0.sort_by(|(_, a), (_, b)| a.place.cmp(&b.place));
        self.last_of_each();
    }
    fn over(&mut self, below: Layers<T>) {
        self.0.splice(0..0, below.0);
        self.last_of_each();
    }
    fn entries(&self) -> Vec<(&str, &Place)> {
        places(&self.0)
    }
    fn print(&self) -> Printed {
        printed(&self.0)
    }
}

impl<T> Layers<T> {
    fn last_of_each(&mut self) {
        let mut seen = BTreeSet::new();
        self.0.reverse();
        self.0.retain(|(name, _)| seen.insert(name.clone()));
        self.0.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(entries: &[(&str, &str)]) -> Layers<String> {
        let given = |value: &str| Given { value: value.to_owned(), place: Place::Flag };
        Layers(entries.iter().map(|(name, value)| ((*name).to_owned(), given(value))).collect())
    }

    #[test]
    fn a_pattern_stands_at_its_last_place() {
        let mut top = layers(&[("*", "a")]);
        top.add(layers(&[("conv", "b")]));
        top.add(layers(&[("*", "c")]));
        assert_eq!(top, layers(&[("conv", "b"), ("*", "c")]));
        top.over(layers(&[("pool", "d"), ("conv", "e")]));
        assert_eq!(top, layers(&[("pool", "d"), ("conv", "b"), ("*", "c")]));
    }
}
