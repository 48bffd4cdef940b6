//! Labels beside dots: each where a reader takes it for the label of its own dot.
//!
//! Dots that nearly coincide share a label. A place that lies nearer to a dot of another label is no place,
//! however free it is, as long as there is any other.

use super::Dot;
use crate::label::{Placer, Room, width_of};
use crate::plot::Plot;
use crate::svg::{Letters, Px};
use crate::theme::{Ink, size};

/// Dots as near as this share a label: between them no label would have room.
const NEAR: f64 = 18.0;

/// More labels than this are not read one by one; some are left out, evenly.
const MOST_LABELS: usize = 40;

/// Dots with one label.
struct Group<'d> {
    dots: Vec<(&'d Dot, Px)>,
}

/// Writes the labels of `points`, all of which lie in `plot`.
pub(super) fn paint(plot: &Plot<'_, '_>, points: &[&Dot], placer: &mut Placer) {
    let groups = groups(plot, points);
    let letters = Letters::new(Ink::Text, size::TICK).rimmed();
    let every = groups.len().div_ceil(MOST_LABELS).max(1);
    for (at, group) in groups.iter().enumerate().step_by(every) {
        let text = group.text();
        let others = groups.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, group)| group);
        let others: Vec<Px> = others.flat_map(|group| group.dots.iter().map(|dot| dot.1)).collect();
        let mut candidates = group.candidates(width_of(&text, size::TICK));
        if candidates.iter().any(|room| group.owns(room, &others)) {
            candidates.retain(|room| group.owns(room, &others));
        }
        if let Some(best) = placer.place(&candidates) {
            plot.canvas.text((candidates[best].left, candidates[best].bottom - 3.0), &text, letters);
        }
    }
}

/// The dots that have a label, those near each other together.
fn groups<'d>(plot: &Plot<'_, '_>, points: &[&'d Dot]) -> Vec<Group<'d>> {
    let labelled = points.iter().filter(|point| !point.label.is_empty());
    let mut dots: Vec<(&Dot, Px)> = labelled.map(|&point| (point, plot.at(point.x, point.y))).collect();
    dots.sort_by(|one, other| one.1.0.total_cmp(&other.1.0));
    let mut groups: Vec<Group<'d>> = Vec::new();
    for dot in dots {
        let near = |group: &&mut Group<'_>| {
            let (_, first) = group.dots[0];
            (dot.1.0 - first.0).hypot(dot.1.1 - first.1) < NEAR
        };
        match groups.iter_mut().rev().take(8).find(near) {
            Some(group) => group.dots.push(dot),
            None => groups.push(Group { dots: vec![dot] }),
        }
    }
    groups
}

impl Group<'_> {
    /// The labels of its dots, from left to right; only the first and the last of many.
    fn text(&self) -> String {
        let mut labels: Vec<&str> = self.dots.iter().map(|(dot, _)| dot.label.as_str()).collect();
        labels.dedup();
        match labels[..] {
            [first, _, _, .., last] => format!("{first} … {last}"),
            _ => labels.join(", "),
        }
    }

    /// Where a label of `width` may stand, the best first.
    fn candidates(&self, width: f64) -> Vec<Room> {
        let edge = |of: fn(&Px) -> f64, pick: fn(f64, f64) -> f64| {
            self.dots.iter().map(|(_, place)| of(place)).reduce(pick).unwrap_or_default()
        };
        let (left, right) = (edge(|place| place.0, f64::min), edge(|place| place.0, f64::max));
        let (top, bottom) = (edge(|place| place.1, f64::min), edge(|place| place.1, f64::max));
        let (x, y) = (f64::midpoint(left, right), f64::midpoint(top, bottom));
        let around =
            |left: f64, base: f64| Room { left, top: base - 10.0, right: left + width, bottom: base + 3.0 };
        vec![
            around(right + 9.0, bottom + 18.0),
            around(x - width / 2.0, bottom + 22.0),
            around(left - width - 9.0, top - 9.0),
            around(x - width / 2.0, top - 13.0),
            around(right + 10.0, y + 4.0),
            around(left - width - 10.0, y + 4.0),
            around(right + 9.0, top - 9.0),
            around(left - width - 9.0, bottom + 18.0),
            around(x - width / 2.0, bottom + 34.0),
        ]
    }

    /// Whether a label in `room` is taken for that of this group and not for one of `others`.
    fn owns(&self, room: &Room, others: &[Px]) -> bool {
        let nearest = |places: &mut dyn Iterator<Item = Px>| {
            places.map(|place| room.distance_to(place)).fold(f64::INFINITY, f64::min)
        };
        let own = nearest(&mut self.dots.iter().map(|dot| dot.1));
        own + 3.0 < nearest(&mut others.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(label: &str) -> Dot {
        Dot { label: label.to_owned(), ..Dot::default() }
    }

    #[test]
    fn dots_that_nearly_coincide_share_a_label() {
        let dots = [dot("10×"), dot("11×"), dot("11×"), dot("12×"), dot("13×")];
        let text = |count: usize| {
            Group { dots: dots.iter().map(|dot| (dot, (0.0, 0.0))).take(count).collect() }.text()
        };

        assert_eq!(text(1), "10×");
        assert_eq!(text(3), "10×, 11×");
        assert_eq!(text(5), "10× … 13×");
    }

    #[test]
    fn a_place_nearer_to_another_dot_is_not_owned() {
        let own = dot("10×");
        let group = Group { dots: vec![(&own, (100.0, 100.0))] };
        let left_of_both = Room { left: 60.0, top: 90.0, right: 75.0, bottom: 103.0 };

        assert!(group.owns(&left_of_both, &[(120.0, 100.0)]));
        assert!(!group.owns(&left_of_both, &[(80.0, 100.0)]));
    }
}
