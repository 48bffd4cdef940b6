//! Labels: how wide a text is, how it breaks into lines, and where it collides with nothing.
//!
//! No font is at hand when a picture is drawn, and the reader's is unknown. Widths are those of Helvetica
//! with a margin that covers the usual system faces; a label may have more room than it needs, never less.

/// The estimated width of `text` at `size`, in picture units.
pub(crate) fn width_of(text: &str, size: f64) -> f64 {
    const MARGIN: f64 = 1.06;
    text.chars().map(letter_width).sum::<f64>() * size * MARGIN
}

/// The width of a letter in ems. Source: the metrics of Helvetica (Adobe core fonts), rounded up by class.
fn letter_width(letter: char) -> f64 {
    match letter {
        'i' | 'j' | 'l' | '\'' | '|' => 0.23,
        ' ' | '.' | ',' | ':' | ';' | '!' | 'I' | 'f' | 't' | '/' | '[' | ']' | '·' => 0.28,
        '(' | ')' | '-' | 'r' | '*' | '°' => 0.34,
        'c' | 'k' | 's' | 'v' | 'x' | 'y' | 'z' | 'J' => 0.5,
        'm' | 'M' | '%' => 0.87,
        'w' | 'C' | 'D' | 'H' | 'N' | 'R' | 'U' => 0.73,
        'A' | 'B' | 'E' | 'K' | 'P' | 'S' | 'V' | 'X' | 'Y' | 'F' | 'T' | 'Z' | 'L' => 0.67,
        'G' | 'O' | 'Q' => 0.78,
        'W' | '@' | '—' | '…' => 1.0,
        _ if letter.is_ascii() => 0.56,
        '–' | '×' | '≤' | '≥' | '<' | '>' | '−' | 'µ' => 0.6,
        _ => 0.75,
    }
}

/// Breaks `text` between words into at most `most` lines of `room`; what is too much ends in an ellipsis.
pub(crate) fn lines_of(text: &str, size: f64, room: f64, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width_of(&format!("{line} {word}"), size) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            last.push('…');
        }
    }
    lines.iter().map(|line| cut_to(line, size, room)).collect()
}

/// The same, with lines of about equal length.
pub(crate) fn balanced_lines(text: &str, size: f64, room: f64, most: usize) -> Vec<String> {
    let widest = lines_of(text, size, room, most);
    if widest.len() < 2 || widest.iter().any(|line| line.ends_with('…')) {
        return widest;
    }
    let mut best = widest;
    let mut room = room;
    loop {
        room -= 12.0;
        let lines = lines_of(text, size, room, most);
        if room < 60.0 || lines.iter().any(|line| line.ends_with('…')) || lines.len() > best.len() {
            return best;
        }
        best = lines;
    }
}

/// `text`, cut to `room` with an ellipsis when it is wider.
pub(crate) fn cut_to(text: &str, size: f64, room: f64) -> String {
    if width_of(text, size) <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    for letter in text.chars() {
        if width_of(&kept, size) + (letter_width(letter) + 1.0) * size * 1.06 > room {
            break;
        }
        kept.push(letter);
    }
    kept.push('…');
    kept
}

/// Moves places apart so that neighbours have `gap` between them, all within `low` and `high`.
///
/// Keeps their order and moves each as little as pooling neighbours allows.
pub(crate) fn spread(wanted: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|&a, &b| wanted[a].total_cmp(&wanted[b]));
    // Isotonic regression on the places with the gaps taken off.
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for (rank, &at) in order.iter().enumerate() {
        let mut pool = (wanted[at] - rank as f64 * gap, 1_usize);
        while let Some(&(place, size)) = pools.last()
            && place > pool.0
        {
            pools.pop();
            pool = ((place * size as f64 + pool.0 * pool.1 as f64) / (size + pool.1) as f64, size + pool.1);
        }
        pools.push(pool);
    }
    let room = high - gap * wanted.len().saturating_sub(1) as f64;
    let mut places = vec![0.0; wanted.len()];
    let mut rank = 0;
    for (place, size) in pools {
        for _ in 0..size {
            places[order[rank]] = place.min(room).max(low) + rank as f64 * gap;
            rank += 1;
        }
    }
    places
}

/// A rectangle of the picture, upright.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Room {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) right: f64,
    pub(crate) bottom: f64,
}

impl Room {
    /// The area that both have.
    fn overlap(&self, other: &Self) -> f64 {
        let across = self.right.min(other.right) - self.left.max(other.left);
        let down = self.bottom.min(other.bottom) - self.top.max(other.top);
        if across > 0.0 && down > 0.0 { across * down } else { 0.0 }
    }

    /// How far the nearest place in this is from `(x, y)`.
    pub(crate) fn distance_to(&self, (x, y): (f64, f64)) -> f64 {
        let across = (self.left - x).max(x - self.right).max(0.0);
        let down = (self.top - y).max(y - self.bottom).max(0.0);
        across.hypot(down)
    }

    /// The area of this that is not in `whole`.
    fn outside(&self, whole: &Self) -> f64 {
        (self.right - self.left) * (self.bottom - self.top) - self.overlap(whole)
    }
}

/// Finds room for labels among what is drawn already.
pub(crate) struct Placer {
    whole: Room,
    taken: Vec<Room>,
}

impl Placer {
    /// All of `whole` is free.
    pub(crate) fn new(whole: Room) -> Self {
        Self { whole, taken: Vec::new() }
    }

    /// `room` is not free.
    pub(crate) fn take(&mut self, room: Room) {
        self.taken.push(room);
    }

    /// The line through `points` is not free.
    pub(crate) fn take_line(&mut self, points: &[(f64, f64)]) {
        const STEP: f64 = 6.0;
        for pair in points.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let length = (to.0 - from.0).hypot(to.1 - from.1);
            let steps = (length / STEP).ceil().clamp(1.0, 400.0);
            for at in 0..steps as u32 {
                let share = f64::from(at) / steps;
                let (x, y) = (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share);
                self.take(Room { left: x - 2.0, top: y - 2.0, right: x + 2.0, bottom: y + 2.0 });
            }
        }
    }

    /// The band through `steps`, each a place from the left with its lower and upper border, is not free.
    pub(crate) fn take_band(&mut self, steps: &[(f64, f64, f64)]) {
        for pair in steps.windows(2) {
            let ((left, bottom, top), (right, next_bottom, next_top)) = (pair[0], pair[1]);
            self.take(Room { left, top: top.min(next_top), right, bottom: bottom.max(next_bottom) });
        }
    }

    /// The first of `candidates` that is free, or the one that covers least; taken from now on.
    pub(crate) fn place(&mut self, candidates: &[Room]) -> Option<usize> {
        let cost = |room: &Room| {
            let covered: f64 = self.taken.iter().map(|taken| room.overlap(taken)).sum();
            covered + 10.0 * room.outside(&self.whole)
        };
        let best =
            (0..candidates.len()).min_by(|&a, &b| cost(&candidates[a]).total_cmp(&cost(&candidates[b])))?;
        self.take(candidates[best]);
        Some(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_spread_in_order_and_within_bounds() {
        let places = spread(&[50.0, 52.0, 51.0, 200.0], 16.0, 0.0, 190.0);

        assert_eq!(places, [35.0, 67.0, 51.0, 190.0]);
        assert_eq!(spread(&[5.0, 5.0], 10.0, 0.0, 100.0), [0.0, 10.0]);
        assert!(spread(&[], 10.0, 0.0, 100.0).is_empty());
    }

    #[test]
    fn a_label_goes_where_it_covers_nothing() {
        let room = |left: f64, top: f64| Room { left, top, right: left + 10.0, bottom: top + 10.0 };
        let mut placer = Placer::new(room(0.0, 0.0));
        assert_eq!(placer.place(&[room(-5.0, 0.0), room(0.0, 0.0)]), Some(1));
        let whole = Room { left: 0.0, top: 0.0, right: 100.0, bottom: 100.0 };
        let mut placer = Placer::new(whole);
        placer.take_line(&[(0.0, 5.0), (100.0, 5.0)]);
        assert_eq!(placer.place(&[room(0.0, 0.0), room(0.0, 20.0)]), Some(1));
        assert_eq!(placer.place(&[room(0.0, 15.0), room(40.0, 20.0)]), Some(1));
    }

    #[test]
    fn text_breaks_between_words_and_ends_in_an_ellipsis() {
        assert_eq!(lines_of("one two three", 10.0, 60.0, 2), ["one two", "three"]);
        assert_eq!(lines_of("one two three four five", 10.0, 60.0, 2).len(), 2);
        assert!(cut_to("a very long name of a route", 10.0, 60.0).ends_with('…'));
    }
}
