//! Saved servers: `graphgate profile set|list|use|remove`.
//!
//! One JSON file in the user's configuration folder, readable by its owner only, because it holds keys. It is replaced
//! as a whole, so that a crash leaves the former one.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::connection::{Address, ConfigHome};
use super::failure::Failure;
use super::output::{Output, OutputOptions};

/// A saved server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Its MCP address.
    pub server: String,
    /// The key it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<String>,
}

/// All saved servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profiles {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

impl Profiles {
    /// Reads the file; one that does not exist holds no profiles.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn load(file: &Path) -> Result<Self, Failure> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                return Ok(Self::default());
            }
            Err(error) => return Err(Failure::new(format!("cannot read `{}`: {error}", file.display()))),
        };
        serde_json::from_str(&text).map_err(|error| {
            Failure::new(format!("`{}` is damaged: {error}", file.display())).hint("correct it or delete it")
        })
    }

    /// The profile named, or the one in use, or none.
    ///
    /// # Errors
    /// When the profile named does not exist.
    pub fn chosen(&self, name: Option<&str>) -> Result<Option<&Profile>, Failure> {
        match name.or(self.current.as_deref()) {
            Some(name) => self.named(name).map(Some),
            None => Ok(None),
        }
    }

    fn named(&self, name: &str) -> Result<&Profile, Failure> {
        let known = || match self.profiles.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "save one with `graphgate profile set NAME --server URL`".to_owned(),
            names => format!("saved: {names}"),
        };
        self.profiles.get(name).ok_or_else(|| Failure::invalid(format!("there is no profile `{name}`")).hint(known()))
    }

    fn save(&self, file: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).map_err(|error| Failure::new(error.to_string()))?;
        replace(file, &text).map_err(|error| Failure::new(format!("cannot write `{}`: {error}", file.display())))
    }
}

fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        crate::os::create_private_folder(folder)?;
    }
    let draft = file.with_extension(format!("{}.tmp", std::process::id()));
    let mut handle = crate::os::private_file().truncate(true).open(&draft)?;
    handle.write_all(format!("{text}\n").as_bytes())?;
    handle.sync_all()?;
    std::fs::rename(&draft, file)
}

/// `graphgate profile`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    config: ConfigHome,
    #[command(subcommand)]
    verb: Verb,
}

impl Args {
    /// The format asked for.
    pub fn format(&self) -> Option<super::output::Format> {
        self.output.output
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Save a server under a name; the first one saved is used by default
    #[command(
        after_help = "Examples:\n  graphgate profile set prod --server https://gate.example/mcp --api-key -\n  graphgate profile use prod"
    )]
    Set {
        /// Name to save it under
        name: String,
        /// MCP address
        #[arg(long, value_name = "URL")]
        server: String,
        /// Key the server asks for; `-` reads it from standard input
        #[arg(long, value_name = "KEY")]
        api_key: Option<String>,
    },
    /// List the saved servers; keys are not shown
    List,
    /// Use a saved server when no other is named
    Use {
        /// Name of the profile
        name: String,
    },
    /// Forget a saved server
    Remove {
        /// Name of the profile
        name: String,
    },
}

/// Runs the command.
///
/// # Errors
/// When the profile does not exist or the file cannot be read or written.
pub fn run(arguments: Args) -> anyhow::Result<()> {
    let output = Output::new(&arguments.output)?;
    let file = arguments.config.profiles_file()?;
    let mut profiles = Profiles::load(&file)?;
    match arguments.verb {
        Verb::List => return output.print(&listing(&profiles)),
        Verb::Set { name, server, api_key } => {
            let address = Address::parse(&server, key(api_key)?)?;
            profiles
                .profiles
                .insert(name.clone(), Profile { server: address.url.to_string(), api_key: address.api_key });
            profiles.current.get_or_insert(name);
        }
        Verb::Use { name } => {
            profiles.named(&name)?;
            profiles.current = Some(name);
        }
        Verb::Remove { name } => {
            profiles.named(&name)?;
            profiles.profiles.remove(&name);
            profiles.current = profiles.current.filter(|current| *current != name);
        }
    }
    profiles.save(&file)?;
    Ok(())
}

fn key(given: Option<String>) -> anyhow::Result<Option<String>> {
    if given.as_deref() != Some("-") {
        return Ok(given);
    }
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text)?;
    Ok(Some(text.trim().to_owned()))
}

fn listing(profiles: &Profiles) -> serde_json::Value {
    let row = |(name, profile): (&String, &Profile)| {
        json!({
            "name": name,
            "server": profile.server,
            "has_key": profile.api_key.is_some(),
            "current": profiles.current.as_ref() == Some(name),
        })
    };
    json!({ "profiles": profiles.profiles.iter().map(row).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved() -> Profiles {
        let profile = Profile { server: "https://gate.example/mcp".into(), api_key: Some("secret".into()) };
        Profiles { current: Some("prod".into()), profiles: [("prod".to_owned(), profile)].into() }
    }

    #[test]
    fn profile_file_is_private_and_round_trips() {
        let folder = std::env::temp_dir().join(format!("graphgate-profile-{}", std::process::id()));
        let file = folder.join("graphgate").join("profiles.json");
        saved().save(&file).unwrap();
        assert_eq!(Profiles::load(&file).unwrap(), saved());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn profile_list_shows_no_key() {
        assert!(!listing(&saved()).to_string().contains("secret"));
    }

    #[test]
    fn current_profile_is_the_default() {
        assert_eq!(saved().chosen(None).unwrap().unwrap().server, "https://gate.example/mcp");
        assert_eq!(saved().chosen(Some("test")).unwrap_err().to_string(), "there is no profile `test`");
        assert_eq!(Profiles::default().chosen(None), Ok(None));
    }
}
