//! Text from a file, or from standard input when the file is called `-`.

use std::io::Read;

use super::failure::Failure;

/// Reads the text.
///
/// # Errors
/// When it cannot be read or is not UTF-8.
pub fn read(file: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match file {
        "-" => std::io::stdin().lock().read_to_string(&mut text),
        file => std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text)),
    };
    read.map_err(|error| Failure::invalid(format!("cannot read `{file}`: {error}")))?;
    // Spreadsheets begin their files with a byte order mark.
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}
