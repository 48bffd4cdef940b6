//! The plotters SVG backend, wrapped: what it draws becomes a picture that stands alone.
//!
//! plotters places marks on whole pixels; the canvas is drawn ten times as large and shown through a
//! `viewBox`, so curves are smooth. Afterwards each line of its output is rewritten: colours that stand for
//! a role become a light colour and a class for the dark one, a title and a description are added, fonts are
//! named once. The same drawing gives the same bytes.

use plotters::coord::Shift;
use plotters::prelude::{
    Circle, Color, DrawingArea, IntoDrawingArea, PathElement, Polygon, Rectangle, SVGBackend, ShapeStyle,
    Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontDesc, FontFamily, FontStyle, TextStyle};

use crate::theme::{FACES, Finish, Ink, style_sheet};

/// A place in the picture, in picture units from the upper left.
pub(crate) type Px = (f64, f64);

/// plotters' pixels in one picture unit.
const FINE: f64 = 10.0;

/// What a picture is called, and what it says to those who cannot see it.
pub(crate) struct Frame<'a> {
    /// Unique within a page; letters, digits and hyphens.
    pub(crate) name: &'a str,
    pub(crate) title: &'a str,
    pub(crate) description: &'a str,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

/// Draws with `paint` and gives the picture as SVG text.
pub(crate) fn picture(frame: &Frame<'_>, paint: impl FnOnce(&Canvas<'_>)) -> String {
    let mut raw = String::new();
    {
        let size = (fine(frame.width).unsigned_abs(), fine(frame.height).unsigned_abs());
        let canvas = Canvas { area: SVGBackend::with_string(&mut raw, size).into_drawing_area() };
        canvas.rectangle((0.0, 0.0), (frame.width, frame.height), Ink::Paper, 1.0);
        paint(&canvas);
        drawn(canvas.area.present());
    }
    finished(frame, &raw)
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stroke {
    pub(crate) ink: Ink,
    pub(crate) width: f64,
    pub(crate) finish: Finish,
    pub(crate) opacity: f64,
}

impl Stroke {
    pub(crate) const fn new(ink: Ink, width: f64) -> Self {
        Self { ink, width, finish: Finish::Plain, opacity: 1.0 }
    }

    pub(crate) const fn dashed(self) -> Self {
        Self { finish: Finish::Dashed, ..self }
    }

    pub(crate) const fn dotted(self) -> Self {
        Self { finish: Finish::Dotted, ..self }
    }

    pub(crate) const fn faded(self, opacity: f64) -> Self {
        Self { opacity, ..self }
    }
}

/// Which end of a text lies at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Middle,
    Right,
}

/// How a text is drawn; its place is on its baseline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Letters {
    pub(crate) ink: Ink,
    pub(crate) size: f64,
    pub(crate) align: Align,
    pub(crate) bold: bool,
    pub(crate) finish: Finish,
}

impl Letters {
    pub(crate) const fn new(ink: Ink, size: f64) -> Self {
        Self { ink, size, align: Align::Left, bold: false, finish: Finish::Plain }
    }

    pub(crate) const fn aligned(self, align: Align) -> Self {
        Self { align, ..self }
    }

    pub(crate) const fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub(crate) const fn rimmed(self) -> Self {
        Self { finish: Finish::Rimmed, ..self }
    }
}

/// Where charts draw, in picture units.
pub(crate) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

impl Canvas<'_> {
    pub(crate) fn line(&self, points: &[Px], stroke: Stroke) {
        if points.len() < 2 {
            return;
        }
        let mut path: Vec<(i32, i32)> = points.iter().map(|&at| fine_at(at)).collect();
        path.dedup();
        drawn(self.area.draw(&PathElement::new(path, stroke_style(stroke))));
    }

    pub(crate) fn polygon(&self, points: &[Px], ink: Ink, opacity: f64) {
        if points.len() < 3 {
            return;
        }
        let path: Vec<(i32, i32)> = points.iter().map(|&at| fine_at(at)).collect();
        drawn(self.area.draw(&Polygon::new(path, fill_style(ink, opacity))));
    }

    pub(crate) fn rectangle(&self, upper_left: Px, lower_right: Px, ink: Ink, opacity: f64) {
        let corners = [fine_at(upper_left), fine_at(lower_right)];
        drawn(self.area.draw(&Rectangle::new(corners, fill_style(ink, opacity))));
    }

    pub(crate) fn dot(&self, at: Px, radius: f64, ink: Ink) {
        drawn(self.area.draw(&Circle::new(fine_at(at), fine(radius), fill_style(ink, 1.0))));
    }

    pub(crate) fn ring(&self, at: Px, radius: f64, ink: Ink) {
        self.dot(at, radius, Ink::Paper);
        drawn(self.area.draw(&Circle::new(fine_at(at), fine(radius), stroke_style(Stroke::new(ink, 1.8)))));
    }

    pub(crate) fn text(&self, at: Px, text: &str, letters: Letters) {
        let h_pos = match letters.align {
            Align::Left => HPos::Left,
            Align::Middle => HPos::Center,
            Align::Right => HPos::Right,
        };
        let weight = if letters.bold { FontStyle::Bold } else { FontStyle::Normal };
        // The backend divides by 1.24 again.
        let font = FontDesc::new(FontFamily::SansSerif, letters.size * FINE * 1.24, weight);
        let colour = letters.ink.stand_in(letters.finish);
        let style = TextStyle::from(font).color(&colour).pos(Pos::new(h_pos, VPos::Bottom));
        drawn(self.area.draw(&Text::new(plain(text), fine_at(at), style)));
    }
}

fn stroke_style(stroke: Stroke) -> ShapeStyle {
    stroke.ink.stand_in(stroke.finish).mix(stroke.opacity).stroke_width(fine(stroke.width).unsigned_abs())
}

fn fill_style(ink: Ink, opacity: f64) -> ShapeStyle {
    ink.stand_in(Finish::Plain).mix(opacity).filled()
}

fn fine(length: f64) -> i32 {
    // Saturates: a picture is a few thousand units wide.
    (length * FINE).round() as i32
}

fn fine_at((x, y): Px) -> (i32, i32) {
    (fine(x), fine(y))
}

fn drawn<E: std::error::Error + Send + Sync>(result: Result<(), plotters::drawing::DrawingAreaErrorKind<E>>) {
    result.expect("drawing into a string cannot fail");
}

/// Text that keeps to its line: control characters become spaces.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// Escapes `text` for XML and HTML.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in plain(text).chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

fn finished(frame: &Frame<'_>, raw: &str) -> String {
    let Frame { name, width, height, .. } = frame;
    let (title, description) = (escaped(frame.title), escaped(frame.description));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"hw-chart\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"hw-{name}-title hw-{name}-desc\" \
         font-family=\"{FACES}\">\n\
         <title id=\"hw-{name}-title\">{title}</title>\n<desc id=\"hw-{name}-desc\">{description}</desc>\n\
         <style>{}</style>\n",
        fine(*width),
        fine(*height),
        style_sheet(),
    );
    let mut in_text = false;
    for line in raw.lines().skip(1) {
        if line == "</text>" {
            in_text = false;
            out.push_str("</text>\n");
        } else if in_text {
            out.push_str(line);
        } else if line.starts_with("<text") {
            in_text = true;
            push_element(&mut out, line);
        } else if line.starts_with("</") {
            out.push_str(line);
            out.push('\n');
        } else {
            push_element(&mut out, line);
            out.push('\n');
        }
    }
    out
}

/// Rewrites one element of plotters' output: what it says about colours becomes ours.
fn push_element(out: &mut String, line: &str) {
    let mut parts = line.split("=\"");
    let Some(mut key) = parts.next() else { return };
    let tag;
    (tag, key) = key.split_once(' ').unwrap_or((key, ""));
    out.push_str(tag);
    let mut rest = ">";
    for part in parts {
        let (value, tail) = part.split_once('"').unwrap_or((part, ""));
        push_attribute(out, key.trim(), value);
        key = tail.trim_start();
        rest = tail;
    }
    out.push_str(if rest.ends_with("/>") { "/>" } else { ">" });
}

fn push_attribute(out: &mut String, key: &str, value: &str) {
    let is_text = out.rfind('<').is_some_and(|at| out[at..].starts_with("<text"));
    match (key, value) {
        ("opacity", "1") | ("stroke", "none") | ("text-anchor", "start") | ("dy" | "font-family", _) => {}
        ("font-weight", _) => out.push_str(" font-weight=\"600\""),
        ("font-size", size) => {
            let size = size.parse::<f64>().unwrap_or_default();
            out.push_str(&format!(" font-size=\"{size:.0}\""));
        }
        ("points", points) => out.push_str(&format!(" points=\"{}\"", points.trim_end())),
        ("fill" | "stroke", colour) => match Ink::of_stand_in(colour) {
            Some((ink, finish)) => push_colour(out, key, ink, finish, is_text),
            None => out.push_str(&format!(" {key}=\"{value}\"")),
        },
        _ => out.push_str(&format!(" {key}=\"{value}\"")),
    }
}

fn push_colour(out: &mut String, key: &str, ink: Ink, finish: Finish, is_text: bool) {
    let letter = if key == "fill" { 'f' } else { 's' };
    let number = ink as u8;
    out.push_str(&format!(" {key}=\"{}\" class=\"hw-{letter}{number}", ink.light()));
    match finish {
        Finish::Rimmed if is_text => {
            let paper = Ink::Paper;
            out.push_str(&format!(
                " hw-s{}\" stroke=\"{}\" stroke-width=\"40\" stroke-linejoin=\"round\" paint-order=\"stroke\"",
                paper as u8,
                paper.light()
            ));
        }
        Finish::Dashed => out.push_str("\" stroke-dasharray=\"60 60\""),
        Finish::Dotted => out.push_str("\" stroke-dasharray=\"10 40\""),
        Finish::Plain | Finish::Rimmed => out.push('"'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(text: &str) -> String {
        let frame = Frame { name: "a", title: text, description: text, width: 100.0, height: 50.0 };
        picture(&frame, |canvas| {
            canvas.line(&[(1.0, 2.0), (3.04, 4.0)], Stroke::new(Ink::Main, 1.5).dashed());
            canvas.text((10.0, 10.0), text, Letters::new(Ink::Alarm, 13.0).bold().rimmed());
        })
    }

    #[test]
    fn roles_become_a_light_colour_and_a_class() {
        let svg = sample("a");

        assert!(
            svg.contains(
                "<polyline fill=\"none\" stroke=\"#0067a3\" class=\"hw-s5\" stroke-dasharray=\"60 60\" \
             stroke-width=\"15\" points=\"10,20 30,40\"/>"
            ),
            "{svg}"
        );
        assert!(svg.contains("font-size=\"130\" fill=\"#c74600\" class=\"hw-f8 hw-s0\""), "{svg}");
    }

    #[test]
    fn text_is_escaped_and_kept_on_one_line() {
        let svg = sample("<script>alert('1')</script>\n&\"");

        assert!(!svg.contains("<script"));
        assert!(
            svg.contains("&lt;script&gt;alert(&apos;1&apos;)&lt;/script&gt; &amp;&quot;</text>"),
            "{svg}"
        );
        assert!(
            svg.contains(">&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp;&quot;</title>"),
            "{svg}"
        );
    }

    #[test]
    fn the_same_drawing_gives_the_same_bytes() {
        assert_eq!(sample("a"), sample("a"));
    }
}
