//! The typesetter: typst as a library, over files in memory. It sees no disk, no network and no packages, and text of
//! people reaches it as data, never as markup.

mod fonts;
mod paper;

use std::path::Path;

use typst::diag::{FileError, FileResult, SourceDiagnostic};
use typst::foundations::{Bytes, Datetime, Duration};
use typst::syntax::{FileId, RootedPath, Source, VirtualPath, VirtualRoot};
use typst::text::{Font, FontBook};
use typst::utils::LazyHash;
use typst::{Library, LibraryExt, World};
use typst_layout::PagedDocument;

use self::fonts::Fonts;
use crate::services::reports::model::Report;

const TEMPLATE: &str = include_str!("report.typ");

/// Why a report was not set.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The report holds something JSON does not.
    #[error("the report cannot be handed over")]
    Data(#[from] serde_json::Error),
    /// The template and the data do not fit together.
    #[error("the document cannot be set: {0}")]
    Document(String),
}

/// Sets a report as PDF: tagged, with bookmarks and embedded fonts. `folder` holds further fonts.
///
/// # Errors
/// When the document cannot be set; no report of this program should do that.
pub fn typeset(report: &Report, folder: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let fonts = Fonts::load(folder);
    let paper = paper::lay_out(report, &fonts);
    let desk = Desk::new(fonts, paper)?;
    let set = typst::compile::<PagedDocument>(&desk);
    for warning in &set.warnings {
        tracing::warn!(warning = %warning.message, "while a PDF was set");
    }
    let document = set.output.map_err(|errors| refused(&errors))?;
    typst_pdf::pdf(&document, &typst_pdf::PdfOptions::default()).map_err(|errors| refused(&errors))
}

fn refused(errors: &[SourceDiagnostic]) -> Failure {
    Failure::Document(errors.iter().map(|error| error.message.to_string()).collect::<Vec<_>>().join("; "))
}

/// All the typesetter sees: the template, the data, the charts and the fonts.
struct Desk {
    library: LazyHash<Library>,
    book: LazyHash<FontBook>,
    fonts: Vec<Font>,
    main: Source,
    files: Vec<(FileId, Bytes)>,
}

fn file(name: &str) -> Result<FileId, Failure> {
    let path = VirtualPath::new(name).map_err(|error| Failure::Document(format!("{name}: {error:?}")))?;
    Ok(FileId::new(RootedPath::new(VirtualRoot::Project, path)))
}

impl Desk {
    fn new(fonts: Fonts, paper: paper::Paper) -> Result<Self, Failure> {
        let mut files = vec![(file("/report.json")?, Bytes::new(serde_json::to_vec(&paper.data)?))];
        for (name, svg) in paper.pictures {
            files.push((file(&name)?, Bytes::from_string(svg)));
        }
        Ok(Self {
            library: LazyHash::new(Library::default()),
            book: LazyHash::new(FontBook::from_fonts(&fonts.fonts)),
            fonts: fonts.fonts,
            main: Source::new(file("/report.typ")?, TEMPLATE.to_owned()),
            files,
        })
    }
}

impl World for Desk {
    fn library(&self) -> &LazyHash<Library> {
        &self.library
    }

    fn book(&self) -> &LazyHash<FontBook> {
        &self.book
    }

    fn main(&self) -> FileId {
        self.main.id()
    }

    fn source(&self, id: FileId) -> FileResult<Source> {
        if id == self.main.id() { Ok(self.main.clone()) } else { Err(FileError::NotSource) }
    }

    fn file(&self, id: FileId) -> FileResult<Bytes> {
        let found = self.files.iter().find(|(known, _)| *known == id);
        found.map(|(_, content)| content.clone()).ok_or(FileError::AccessDenied)
    }

    fn font(&self, index: usize) -> Option<Font> {
        self.fonts.get(index).cloned()
    }

    fn today(&self, _offset: Option<Duration>) -> Option<Datetime> {
        None // the date comes with the data
    }
}
