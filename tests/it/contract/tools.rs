//! Every tool is called by a test of its toolset.

use std::path::{Path, PathBuf};

use graphgate::toolsets;

/// The sources below a file `name.rs` or a folder `name`, without their white space: calls are broken as `cargo fmt` likes.
fn sources(folder: &Path, name: &str) -> String {
    let mut files: Vec<PathBuf> = vec![folder.join(format!("{name}.rs"))];
    if let Ok(entries) = std::fs::read_dir(folder.join(name)) {
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    let texts = files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
    texts.flat_map(|text| text.chars().filter(|letter| !letter.is_whitespace()).collect::<Vec<_>>()).collect()
}

#[test]
fn every_tool_is_called_by_a_test_of_its_toolset() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/toolsets");
    let untested: Vec<String> = toolsets::tools()
        .iter()
        .filter(|tool| !sources(&folder, tool.toolset).contains(&format!(".ok(\"{}\",", tool.name)))
        .map(|tool| format!("`{}`: no test in tests/it/toolsets/{} calls it", tool.name, tool.toolset))
        .collect();
    assert!(untested.is_empty(), "{}", untested.join("\n"));
}
