//! The folder that the demo writes: its own, an earlier demo's, or an empty one; never a stranger's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::complain::{Complaint, Exit};

/// Its presence says that a demo made the folder.
const MARKER: &str = ".highwater-demo";
/// More runs than a check takes.
const CHECK_RUNS: usize = 9;

/// The demo's folder.
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Makes the folder, or takes over an earlier demo's.
    ///
    /// # Errors
    /// When it holds somebody else's files, or cannot be written.
    pub(crate) fn claim(root: &Path) -> Result<Self, Complaint> {
        let cannot_write = |error: io::Error| Complaint::cannot_write(root, &error);
        fs::create_dir_all(root).map_err(cannot_write)?;
        let is_empty = fs::read_dir(root).map_err(cannot_write)?.next().is_none();
        if !is_empty && !root.join(MARKER).exists() {
            return Err(Complaint::new(
                Exit::Usage,
                format!("--out {}", root.display()),
                "holds files that are no demo's",
                "name a folder that is empty or does not exist yet",
            ));
        }
        fs::write(root.join(MARKER), "This folder was made by `highwater demo`, which may overwrite it.\n")
            .map_err(cannot_write)?;
        let folder = Self { root: root.to_owned() };
        folder.forget_earlier_results().map_err(cannot_write)?;
        Ok(folder)
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The recorded traffic.
    pub(crate) fn capture(&self) -> PathBuf {
        self.root.join("shop.capture")
    }

    /// What the recorder keeps in clear.
    pub(crate) fn masking(&self) -> PathBuf {
        self.root.join("masking.toml")
    }

    /// The replay at rising load.
    pub(crate) fn run(&self) -> PathBuf {
        self.root.join("shop.run")
    }

    /// The replay number `number` of the check.
    pub(crate) fn check_run(&self, number: usize) -> PathBuf {
        self.root.join(format!("check-{number}.run"))
    }

    /// What the check found.
    pub(crate) fn check(&self) -> PathBuf {
        self.root.join("check.json")
    }

    /// What the model found.
    pub(crate) fn model(&self) -> PathBuf {
        self.root.join("model.json")
    }

    /// The page.
    pub(crate) fn page(&self) -> PathBuf {
        self.root.join("index.html")
    }

    /// The invented history of traffic.
    pub(crate) fn history(&self) -> PathBuf {
        self.root.join("history.csv")
    }

    /// The forecast.
    pub(crate) fn forecast(&self) -> PathBuf {
        self.root.join("forecast")
    }

    /// What an earlier demo found must not be mistaken for what this one did.
    fn forget_earlier_results(&self) -> io::Result<()> {
        let results = [self.capture(), self.run(), self.check(), self.model(), self.page(), self.history()];
        for path in results.into_iter().chain((1..=CHECK_RUNS).map(|number| self.check_run(number))) {
            remove(&path)?;
        }
        Ok(())
    }
}

/// Removes a file that may not be there.
///
/// # Errors
/// When it is there and cannot be removed.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_folder_is_left_alone_and_an_earlier_demos_is_taken_over() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("report");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("thesis.txt"), "mine").unwrap();

        assert!(Folder::claim(&root).is_err());
        assert_eq!(fs::read(root.join("thesis.txt")).unwrap(), b"mine");

        fs::remove_file(root.join("thesis.txt")).unwrap();
        let folder = Folder::claim(&root).ok().unwrap();
        fs::write(folder.check(), "{}").unwrap();

        assert!(Folder::claim(&root).is_ok());
        assert!(!folder.check().exists());
    }
}
