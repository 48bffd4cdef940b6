//! Remembers what became of header fields: traffic repeats most of them, and the policy decides the same way
//! every time.
//!
//! Bounded: so many fields of so many bytes; a new one takes the place of another.

use captures::Header;

use super::names::hash;

/// So many fields are remembered, of at most so many bytes.
const REMEMBERED: usize = 1_024;
const LONGEST: usize = 512;

/// What became of fields that were seen lately.
pub(super) struct Memory {
    fields: Vec<Option<Remembered>>,
    seed: u64,
}

struct Remembered {
    /// The name and the value, one after the other.
    text: Box<[u8]>,
    name: usize,
    /// The masked value, if it is another one.
    masked: Option<Box<[u8]>>,
}

/// The place of a field that is to be remembered.
pub(super) struct Place(usize);

/// What is known of a field.
pub(super) enum Known {
    /// It was seen before, and has been masked as it was then.
    Masked,
    /// It was not seen, and can be remembered.
    New(Place),
    /// It is too long to be remembered.
    TooLong,
}

impl Memory {
    /// Nothing yet. `seed` keeps strangers from choosing fields that push one another out.
    pub(super) fn new(seed: u64) -> Self {
        Self { fields: std::iter::repeat_with(|| None).take(REMEMBERED).collect(), seed }
    }

    /// Masks `field` as it was masked before, if it was.
    pub(super) fn recall(&self, field: &mut Header) -> Known {
        if field.name.len() + field.value.len() > LONGEST {
            return Known::TooLong;
        }
        let hash = hash(&field.value, hash(&field.name, self.seed));
        let at = usize::try_from(hash % REMEMBERED as u64).unwrap_or(0);
        match &self.fields[at] {
            Some(known)
                if known.name == field.name.len()
                    && known.text[known.name..] == *field.value
                    && known.text[..known.name] == *field.name =>
            {
                if let Some(masked) = &known.masked {
                    field.value.copy_from_slice(masked);
                }
                Known::Masked
            }
            _ => Known::New(Place(at)),
        }
    }

    /// Remembers that `before` became `after`.
    pub(super) fn remember(&mut self, place: Place, name: &[u8], before: &[u8], after: &[u8]) {
        self.fields[place.0] = Some(Remembered {
            text: [name, before].concat().into(),
            name: name.len(),
            masked: (before != after).then(|| after.into()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value: &str) -> Header {
        Header { name: name.into(), value: value.into() }
    }

    #[test]
    fn a_field_is_masked_as_it_was_before_and_others_are_not() {
        let mut memory = Memory::new(7);
        let Known::New(place) = memory.recall(&mut field("X-Key", "abc")) else { panic!("nothing is known") };
        memory.remember(place, b"X-Key", b"abc", b"xyz");

        let mut same = field("X-Key", "abc");
        assert!(matches!(memory.recall(&mut same), Known::Masked));
        assert_eq!(same, field("X-Key", "xyz"));
        for mut other in
            [field("X-Ke", "yabc"), field("X-Keya", "bc"), field("x-key", "abc"), field("X-Key", "abd")]
        {
            let as_it_was = other.clone();
            assert!(matches!(memory.recall(&mut other), Known::New(_)));
            assert_eq!(other, as_it_was);
        }
        assert!(matches!(memory.recall(&mut field("X-Key", &"a".repeat(LONGEST))), Known::TooLong));
    }
}
