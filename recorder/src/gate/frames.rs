//! Counts the frames of a WebSocket in the bytes that pass, wherever they are cut.

/// One direction of a WebSocket.
///
/// Source: RFC 6455, section 5.2. Nothing is judged here: whatever the bytes are, they are counted as the
/// lengths in them say.
#[derive(Debug, Default)]
pub(crate) struct FrameCounter {
    frames: u64,
    place: Place,
    /// Whether a mask follows the length.
    masked: bool,
    /// The bytes left of the frame, or of its length what has been read.
    left: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Opcode,
    Length,
    /// So many bytes of a longer length are to come.
    MoreLength(u8),
    Payload,
}

impl FrameCounter {
    /// The frames that began.
    pub(crate) const fn frames(&self) -> u64 {
        self.frames
    }

    /// Takes the next bytes.
    pub(crate) fn on_bytes(&mut self, mut bytes: &[u8]) {
        const MASK: u64 = 4;
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.place == Place::Payload {
                let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= skipped as u64;
                bytes = &bytes[skipped..];
            } else {
                bytes = rest;
                self.on_head(byte);
            }
            if self.place == Place::MoreLength(0) {
                self.place = Place::Payload;
                self.left = self.left.saturating_add(if self.masked { MASK } else { 0 });
            }
            if self.place == Place::Payload && self.left == 0 {
                self.place = Place::Opcode;
            }
        }
    }

    fn on_head(&mut self, byte: u8) {
        match self.place {
            Place::Opcode => {
                self.frames += 1;
                self.place = Place::Length;
            }
            Place::Length => {
                self.masked = byte & 0x80 != 0;
                let length = byte & 0x7f;
                self.left = if length < 126 { u64::from(length) } else { 0 };
                self.place = Place::MoreLength(match length {
                    126 => 2,
                    127 => 8,
                    _ => 0,
                });
            }
            Place::MoreLength(count) => {
                self.left = self.left << 8 | u64::from(byte);
                self.place = Place::MoreLength(count.saturating_sub(1));
            }
            Place::Payload => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut bytes = vec![0x82];
        match length {
            0..126 => bytes.push(mask | u8::try_from(length).unwrap()),
            126..65_536 => {
                bytes.push(mask | 126);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(mask | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.resize(bytes.len() + length + if masked { 4 } else { 0 }, 0xff);
        bytes
    }

    proptest! {
        #[test]
        fn frames_are_counted_wherever_the_bytes_are_cut(
            lengths in proptest::collection::vec(prop_oneof![0..200_usize, 65_500..65_600_usize], 0..6),
            masked: bool,
            step in 1..5_000_usize,
        ) {
            let bytes: Vec<u8> = lengths.iter().flat_map(|&length| frame(length, masked)).collect();
            let mut counter = FrameCounter::default();

            bytes.chunks(step).for_each(|piece| counter.on_bytes(piece));

            prop_assert_eq!(counter.frames(), lengths.len() as u64);
        }

        #[test]
        fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            FrameCounter::default().on_bytes(&bytes);
        }
    }
}
