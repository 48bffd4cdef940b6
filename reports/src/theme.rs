//! The colours, the type sizes and the style sheet of every chart.
//!
//! Colours are roles, not values: a chart says [`Ink::Main`], and the light or dark value is chosen when
//! the picture is shown. The hues are those of Okabe and Ito (*Color Universal Design*, 2008), darkened for
//! white paper and lightened for black, so that they are told apart with any kind of colour vision.
//!
//! plotters knows only colours. So each role is drawn in a colour that stands for it (see
//! [`Ink::stand_in`]), and `svg.rs` puts the real one in its place.

use plotters::style::RGBColor;

/// What a mark means, which decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    /// The background.
    Paper,
    /// Titles, and what must be read.
    Text,
    /// Units, methods, ticks.
    Muted,
    /// Grid lines and what is only context.
    Faint,
    /// The ground of a measured range, and of every second stage.
    Shade,
    /// The subject of a chart.
    Main,
    /// A second line beside the subject.
    Second,
    /// A third line.
    Third,
    /// A limit, a failure.
    Alarm,
    /// What holds: a capacity.
    Good,
    /// What is announced: an event.
    Event,
}

impl Ink {
    const ALL: [Self; 11] = [
        Self::Paper,
        Self::Text,
        Self::Muted,
        Self::Faint,
        Self::Shade,
        Self::Main,
        Self::Second,
        Self::Third,
        Self::Alarm,
        Self::Good,
        Self::Event,
    ];

    /// The colour on white paper.
    pub(crate) const fn light(self) -> &'static str {
        match self {
            Self::Paper => "#ffffff",
            Self::Text => "#1b2430",
            Self::Muted => "#5b6675",
            Self::Faint => "#dde2e8",
            Self::Shade => "#f3f6f9",
            Self::Main => "#0067a3",
            Self::Second => "#2f9fd8",
            Self::Third => "#a8487f",
            Self::Alarm => "#c74600",
            Self::Good => "#00795a",
            Self::Event => "#9a6700",
        }
    }

    /// The colour on a dark screen.
    pub(crate) const fn dark(self) -> &'static str {
        match self {
            Self::Paper => "#11161d",
            Self::Text => "#e8edf3",
            Self::Muted => "#9aa7b6",
            Self::Faint => "#2a333e",
            Self::Shade => "#19202a",
            Self::Main => "#58b4f0",
            Self::Second => "#8fd0f5",
            Self::Third => "#e29cc4",
            Self::Alarm => "#ff8a4c",
            Self::Good => "#35c79a",
            Self::Event => "#f0b840",
        }
    }

    /// The colour plotters is given in place of this role, drawn with `finish`.
    pub(crate) const fn stand_in(self, finish: Finish) -> RGBColor {
        RGBColor(self as u8, finish as u8, STAND_IN)
    }

    /// The role and finish that the colour `hex` (as plotters writes it, `#RRGGBB`) stands for.
    pub(crate) fn of_stand_in(hex: &str) -> Option<(Self, Finish)> {
        let digits = hex.strip_prefix('#')?;
        let byte = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        if byte(4)? != STAND_IN {
            return None;
        }
        let ink = Self::ALL.into_iter().find(|ink| Some(*ink as u8) == byte(0))?;
        let finish = Finish::ALL.into_iter().find(|finish| Some(*finish as u8) == byte(2))?;
        Some((ink, finish))
    }
}

/// The last byte of every colour that stands for a role.
const STAND_IN: u8 = 0x77;

/// How a line or a text is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// An unbroken line; a plain text.
    Plain,
    /// A broken line: extrapolated, ideal.
    Dashed,
    /// A dotted line: a border, a limit.
    Dotted,
    /// A text with a rim of paper around it, readable on top of lines.
    Rimmed,
}

impl Finish {
    const ALL: [Self; 4] = [Self::Plain, Self::Dashed, Self::Dotted, Self::Rimmed];
}

/// Type sizes, in picture units.
pub(crate) mod size {
    /// The finding.
    pub(crate) const TITLE: f64 = 19.0;
    /// Units and method, names of axes, labels of lines.
    pub(crate) const LABEL: f64 = 13.0;
    /// Numbers along the axes.
    pub(crate) const TICK: f64 = 12.0;
}

/// The type faces, best first. Each system has one of them, and all are as wide as Helvetica: what is placed
/// by its metrics (see `label.rs`) keeps its place.
pub(crate) const FACES: &str = "'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif";

/// The style sheet in each chart. Every chart carries the same, so charts in one page do not disturb each other.
pub(crate) fn style_sheet() -> String {
    let mut sheet = String::from(
        ".hw-chart{max-width:100%;height:auto;font-variant-numeric:tabular-nums}\
         .hw-chart polyline{stroke-linejoin:round;stroke-linecap:round}\n\
         @media screen and (prefers-color-scheme:dark){",
    );
    for ink in Ink::ALL {
        let number = ink as u8;
        let colour = ink.dark();
        sheet.push_str(&format!(".hw-f{number}{{fill:{colour}}}.hw-s{number}{{stroke:{colour}}}"));
    }
    sheet.push('}');
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_is_found_again_from_its_stand_in() {
        for ink in Ink::ALL {
            for finish in Finish::ALL {
                let RGBColor(red, green, blue) = ink.stand_in(finish);
                let hex = format!("#{red:02X}{green:02X}{blue:02X}");
                assert_eq!(Ink::of_stand_in(&hex), Some((ink, finish)));
            }
        }
        assert_eq!(Ink::of_stand_in("#FFFFFF"), None);
    }

    #[test]
    fn text_colours_have_contrast_on_their_paper() {
        for ink in [Ink::Text, Ink::Muted, Ink::Main, Ink::Third, Ink::Alarm, Ink::Good, Ink::Event] {
            let on_white = contrast(ink.light(), Ink::Paper.light());
            let on_black = contrast(ink.dark(), Ink::Paper.dark());
            assert!(on_white >= 4.5, "{ink:?} {on_white:.2}");
            assert!(on_black >= 4.5, "{ink:?} {on_black:.2}");
        }
    }

    /// The contrast ratio of WCAG 2.2.
    fn contrast(one: &str, other: &str) -> f64 {
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    fn luminance(hex: &str) -> f64 {
        let channel = |at: usize| {
            let share = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
            if share <= 0.040_45 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }
}
