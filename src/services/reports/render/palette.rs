//! Colours. They differ in lightness as well as in hue, so that they survive a grey printer and colour blindness; where
//! text stands on one, the pair has a contrast of at least 4.5.

use crate::services::reports::model::Tone;

/// A colour, the text on it, and the class under which a style sheet may choose another.
pub struct Colour {
    pub fill: &'static str,
    pub text: &'static str,
    pub class: &'static str,
}

const fn colour(fill: &'static str, text: &'static str, class: &'static str) -> Colour {
    Colour { fill, text, class }
}

const DARK: &str = "#14202b";
const LIGHT: &str = "#ffffff";

static PLAIN: Colour = colour("#5b6b7b", LIGHT, "plain");
static WAITING: Colour = colour("#c3cad4", DARK, "waiting");
static MOVING: Colour = colour("#4c9ed9", DARK, "moving");
static DONE: Colour = colour("#00664b", LIGHT, "done");
static BAD: Colour = colour("#b84500", LIGHT, "bad");
static HUES: [Colour; 7] = [
    colour("#1b4f8a", LIGHT, "hue0"),
    colour("#4c9ed9", DARK, "hue1"),
    colour("#00664b", LIGHT, "hue2"),
    colour("#6cc9a6", DARK, "hue3"),
    colour("#e0a100", DARK, "hue4"),
    colour("#8c3a7b", LIGHT, "hue5"),
    colour("#dd9cc8", DARK, "hue6"),
];

/// The colour of a tone.
pub fn of(tone: Tone) -> &'static Colour {
    match tone {
        Tone::Plain => &PLAIN,
        Tone::Waiting => &WAITING,
        Tone::Moving => &MOVING,
        Tone::Done => &DONE,
        Tone::Bad => &BAD,
        Tone::Hue(hue) => HUES.get(usize::from(hue) % HUES.len()).unwrap_or(&PLAIN),
    }
}

/// The style sheet's rules for all colours on a dark page.
pub fn on_dark() -> String {
    let lighter = [
        ("plain", "#a9b6c3"),
        ("waiting", "#7c8896"),
        ("done", "#2f9e7d"),
        ("bad", "#d9702b"),
        ("hue0", "#5b8fd0"),
        ("hue2", "#2f9e7d"),
        ("hue5", "#c07fb3"),
    ];
    let rule = |(class, fill): (&str, &str)| format!(".c-{class}{{fill:{fill}}}.s-{class}{{stroke:{fill}}}");
    format!("{}.on{{fill:{DARK}}}", lighter.map(rule).concat())
}
