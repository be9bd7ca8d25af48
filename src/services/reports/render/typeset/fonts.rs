//! The fonts a PDF is set in: Fira Sans in two weights for Latin, Greek and Cyrillic is part of the program; what
//! else people write needs a folder of fonts.

use std::path::Path;

use typst::foundations::Bytes;
use typst::text::Font;

/// Fira Sans, reduced to what reports need; SIL Open Font License, beside the files.
const EMBEDDED: [&[u8]; 2] =
    [include_bytes!("fonts/FiraSans-Regular.ttf"), include_bytes!("fonts/FiraSans-SemiBold.ttf")];
/// The family of the embedded fonts.
pub const FAMILY: &str = "Fira Sans";

/// Fonts at hand.
pub struct Fonts {
    /// The embedded ones first.
    pub fonts: Vec<Font>,
    /// The families, in the order they are tried.
    pub families: Vec<String>,
}

impl Fonts {
    /// The embedded fonts and those in a folder; what cannot be read there is passed over, with a word in the log.
    pub fn load(folder: Option<&Path>) -> Self {
        let mut fonts: Vec<Font> = EMBEDDED.into_iter().flat_map(|face| Font::iter(Bytes::new(face))).collect();
        for path in folder.map(files).unwrap_or_default() {
            match std::fs::read(&path) {
                Ok(content) => fonts.extend(Font::iter(Bytes::new(content))),
                Err(error) => tracing::warn!(path = %path.display(), %error, "a font cannot be read"),
            }
        }
        let mut families: Vec<String> = Vec::new();
        for font in &fonts {
            if !families.contains(&font.info().family) {
                families.push(font.info().family.clone());
            }
        }
        Self { fonts, families }
    }

    /// Whether some font has a glyph for a character.
    pub fn cover(&self, c: char) -> bool {
        self.fonts.iter().any(|font| font.info().coverage.contains(u32::from(c)))
    }
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "the folder of fonts cannot be read");
            return Vec::new();
        }
    };
    let is_font = |path: &std::path::PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        ["ttf", "otf", "ttc", "otc"].contains(&extension.to_lowercase().as_str())
    };
    let mut paths: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).filter(is_font).collect();
    paths.sort();
    paths
}
